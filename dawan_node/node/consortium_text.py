"""The text of a ``consortium.toml``: one text for one document, so that files can be compared and hashed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from dawan_node.node.consortium import Document


def render(document: Document) -> str:
    """The text of a ``consortium.toml`` that reads back as ``document``; the same text for the same document."""
    lines = [
        "# The facts all parties share; made by `network assemble`, checked by `network verify`.",
        "format = 1",
        f"network = {toml_text(document.network)}",
        f"created = {instant(document.created)}",
    ]
    for org in document.org:
        names = msgspec.structs.asdict(org.names)
        encoded = {field.name: field.encode_name for field in msgspec.structs.fields(org.names)}
        lines += ["", "[[org]]", f"id = {toml_text(org.id)}"]
        lines += [f"names.{encoded[name]} = {toml_text(value)}" for name, value in names.items()]
        lines.append(f"founding = {'true' if org.founding else 'false'}")
        if org.operator:
            lines.append(f"operator = {toml_text(org.operator)}")
        lines.append(f"ca = {toml_list(org.ca)}")
    for kind, nodes in (("validator", document.validator), ("observer", document.observer)):
        for node in nodes:
            lines += ["", f"[[{kind}]]", f"name = {toml_text(node.name)}", f"org = {toml_text(node.org)}"]
            lines += [f"public_key = {toml_text(node.public_key)}", f"addresses = {toml_list(node.addresses)}"]
    for identity in document.identity:
        lines += ["", "[[identity]]", f"name = {toml_text(identity.name)}", f"org = {toml_text(identity.org)}"]
        lines += [f"roles = {toml_list(identity.roles)}", f"public_key = {toml_text(identity.public_key)}"]
    for channel in document.channel:
        lines += ["", "[[channel]]", f"name = {toml_text(channel.name)}", f"orgs = {toml_list(channel.orgs)}"]
        lines += [f"validators = {toml_list(channel.validators)}", f"modules = {toml_list(channel.modules)}"]
        lines += [f"params.{name} = {value}" for name, value in sorted(channel.params.items())]
        for name, policy in sorted(channel.policy.items()):
            lines += [f"policy.{name} = {{ votes = {policy.votes}, electorate = {toml_text(policy.electorate)} }}"]
    return "\n".join(lines) + "\n"


def instant(moment: datetime) -> str:
    """A point in time as TOML writes it, in UTC, with milliseconds."""
    moment = moment.astimezone(UTC)
    # Not strftime("%Y"): its digits depend on the platform for years below 1000.
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def toml_text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's but for DEL, which no name may contain."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_list(values: Sequence[str]) -> str:
    """A TOML array of strings on one line."""
    return f"[{', '.join(toml_text(value) for value in values)}]"
