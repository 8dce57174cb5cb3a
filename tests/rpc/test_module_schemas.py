"""The descriptions of the modules this package ships, as JSON users meet them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dawan_node.execution.describe import describe_module
from dawan_node.execution.registry import Registry, load_module
from dawan_node.rpc import values
from dawan_node.rpc.json_schema import for_json
from dawan_node.rpc.schemas import ModuleSchemas, schema_in
from dawan_node.rpc.values import BadValue
from tests.rpc.fake_node import NOW_MS, TOY
from tests.rpc.test_values import PAY_JSON, PAY_LEDGER

SHIPPED = ("governance", "receivable", "refdata", "kernel", "title", "logistics", "lc", "light_client")
MODULES = {name: describe_module(load_module(name, 1)) for name in SHIPPED}


@pytest.mark.parametrize("notation", [TOY, for_json(TOY)], ids=["ledger", "json"])
def test_arguments_are_read_along_either_notation(notation: dict[str, Any]) -> None:
    schema = schema_in(notation, "commands", "pay")
    assert schema is not None
    assert values.from_json(PAY_JSON, schema, "args", notation) == PAY_LEDGER
    with pytest.raises(BadValue) as caught:
        values.from_json({**PAY_JSON, "document": "0x00"}, schema, "args", notation)
    assert caught.value.path == "args.document"
    with pytest.raises(BadValue) as caught:
        values.from_json({"to": "x"}, schema, "args", notation)
    assert caught.value.path == "args.amount"


def test_the_json_notation_describes_what_is_written() -> None:
    shown = for_json(TOY)["$defs"]
    assert shown["Pay"]["properties"]["due"] == {"type": "string", "format": "date-time", "x-ledger-name": "due_ms"}
    assert shown["Pay"]["properties"]["ttl_ms"] == {"type": "integer", "minimum": 1}
    assert shown["Pay"]["properties"]["document"]["pattern"] == "^0x[0-9a-f]{64}$"
    assert shown["Money"]["properties"].keys() == {"currency", "amount"}


@pytest.mark.parametrize("name", MODULES)
def test_no_notation_of_the_ledger_is_left_for_json_users(name: str) -> None:
    shown = json.dumps(for_json(MODULES[name]))
    assert "contentEncoding" not in shown
    assert "instant-ms" not in shown


@pytest.mark.parametrize("name", MODULES)
def test_every_command_query_entity_and_event_has_a_schema(name: str) -> None:
    schemas = ModuleSchemas(lambda _: MODULES[name])
    for section in ("commands", "queries", "entities", "events"):
        for entry in MODULES[name][section]:
            schema, root = schemas(name, section, entry)
            assert schema is not None, (section, entry)
            assert values.resolve(schema, root or {}).get("type") == "object", (section, entry)
    for query in MODULES[name]["queries"]:
        assert schemas(name, "items", query)[0] is not None


def test_a_real_invoice_is_read_into_arguments_the_module_accepts() -> None:
    document = MODULES["receivable"]
    schema = schema_in(document, "commands", "record_invoice")
    assert schema is not None
    written = {
        "number": "INV-001",
        "buyer": "core-1",
        "issue_date": "2025-11-24",
        "due_date": "2026-05-20",
        "total": {"currency": "CNY", "amount": "1000000.00"},
        "document": "0x" + "ab" * 32,
    }
    args = values.from_json(written, schema, "args", document)
    assert args["total"] == ["CNY", 100_000_000]
    assert args["document"] == b"\xab" * 32
    Registry.load([("governance", 1), ("receivable", 1)]).check_command("receivable", "record_invoice", args)
    assert values.to_json(args, schema, document) == written


def test_a_module_nobody_knows_types_nothing() -> None:
    schemas = ModuleSchemas(lambda _: TOY)
    assert schemas("toy", "events", "Unknown") == (None, TOY)
    assert values.to_json({"at_ms": NOW_MS}, *schemas("toy", "events", "Unknown")) == {"at_ms": NOW_MS}
