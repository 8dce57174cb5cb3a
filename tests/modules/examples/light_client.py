"""One of each command of ``light_client``, and everything that can become of clients, reservations and commitments."""

from __future__ import annotations

from dawan_node.primitives.block import Header, Result
from dawan_node.testing.module_kit import ModuleKit
from tests.modules.channels_kit import believe
from tests.modules.examples.notebook import Notebook
from tests.modules.light_client_kit import PEOPLE, Pair, module, probe, refdata


def story() -> list[Notebook]:
    pair = Pair()
    notebooks = [Notebook(pair.reader), Notebook(pair.source)]
    third = ModuleKit([probe, module, refdata], PEOPLE, orgs=["third"])
    believe(pair.reader, "third", third, ["probe"])
    # Passed on or given back, with the source told of the commitment in between or not.
    for number, (told_before, to) in enumerate([(True, "hk"), (True, ""), (False, "hk"), (False, "")]):
        _reservation(pair, f"R-{number}", told_before, to)
    assert pair.advance(pair.rekey()) == ""
    _conflict(pair)
    believe(pair.reader, "source", pair.source, ["light_client", "probe"])
    return notebooks


def _reservation(pair: Pair, number: str, told_before: bool, to: str) -> None:
    name = f"anna/{number}"
    assert pair.reserved(number=number, asset=f"box {number}") == ""
    assert pair.committed(pair.reservation_proof(name), orgs=["hk"]) == ""
    if told_before:
        assert pair.settled(pair.commitment_proof(name), name) == ""
    ended = pair.reader.run("anna", "conclude", {"commitment": pair.commitment(name), "to": to})
    assert ended.code == 0, ended.reason
    assert pair.settled(pair.commitment_proof(name), name) == ""


def _conflict(pair: Pair) -> None:
    """Two blocks at one height, both certified."""
    pair.note("any")
    execution = pair.source.blocks[-1]
    first = pair.at_source.finality()
    fields = [getattr(execution.header, name) for name in Header.__struct_fields__]
    fields[Header.__struct_fields__.index("timestamp_ms")] += 1
    header = Header(*fields)
    rest = [getattr(execution.result, name) for name in Result.__struct_fields__[2:]]
    result = Result(header.height, header.hash, *rest)
    second = pair.at_source.forged(header, result, execution.next_validators)
    args = {"source": "source", "first": first, "second": second}
    receipt = pair.reader.run("ben", "report_conflict", args, module="light_client")
    assert receipt.code == 0, receipt.reason
