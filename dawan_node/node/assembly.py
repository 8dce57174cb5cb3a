"""Making a network out of what its parties bring (``network assemble``).

Every party makes its own keys in its own home and hands over a signed, public ``join-request.toml``. One of them puts
what these bring into the template that all agreed on; the result is ``consortium.toml``, one PEM file per organisation
and the genesis bytes of each channel, the same bytes whoever assembles and in whatever order the requests come. Every
party then recomputes all of it with ``network verify``: nobody has to trust the one who assembled, and no secret leaves
its home.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec

from dawan_node.crypto.certificates import to_pem
from dawan_node.errors import ConfigError
from dawan_node.node import consortium
from dawan_node.node.consortium import Consortium, Document, Identity, Node
from dawan_node.node.consortium_text import render
from dawan_node.node.join_request import JoinRequest
from dawan_node.node.join_review import review
from dawan_node.node.public_files import replace_files

_Entry = TypeVar("_Entry", Node, Identity)


def assemble(source: str, template: Document, requests: Sequence[tuple[str, JoinRequest]], now: datetime) -> Consortium:
    """The template with every party's keys, addresses and CA filled in.

    ``source`` and the first half of each pair name files in errors. Raises ConfigError: a request that is not
    genuine, recent and made for this template, one for what the template does not know or knows under another
    organisation or role, a key that is still missing.
    """
    roots = review(source, template, requests, now)
    builder = _Builder(source, template)
    for name, request in requests:
        builder.add(name, request)
    document = builder.document(roots)
    consortium.check_complete(source, document)
    assembled = Consortium(document, {org.id: roots[org.id] for org in document.org})
    for channel in assembled.channels:
        assembled.genesis(channel)  # raises now what would otherwise be found halfway through writing
    return assembled


def files(assembled: Consortium) -> dict[str, bytes]:
    """What a consortium's folder holds, by path below it; ``consortium.toml`` last, because it names the others.

    The bytes depend on nothing but the consortium, so any party can check them by doing the same. Raises ConfigError.
    """
    document = _with_one_file_per_org(assembled.document)
    found = {f"{org.id}.pem": to_pem(assembled.roots[org.id]).encode() for org in document.org}
    for channel in assembled.channels:
        found[f"genesis/{channel}.bin"] = assembled.genesis(channel).encoded
    return found | {"consortium.toml": render(document).encode()}


def write(assembled: Consortium, folder: Path) -> list[Path]:
    """Write ``files`` into ``folder``; their paths. Raises ConfigError."""
    return replace_files(folder, files(assembled))


class _Builder:
    """Puts each party's contribution in its place of the template."""

    def __init__(self, source: str, template: Document) -> None:
        self._source = source
        self._template = template
        self._roles = {node.name: "validator" for node in template.validator}
        self._roles |= {node.name: "observer" for node in template.observer}
        self._nodes = {node.name: node for node in (*template.validator, *template.observer)}
        self._identities = {identity.name: identity for identity in template.identity}

    def add(self, source: str, request: JoinRequest) -> None:
        """One reviewed request, which must name only what the template has for its organisation."""
        node = self._claim(source, "node", request.name, self._nodes.get(request.name))
        if request.role != self._roles[node.name]:
            _refuse(
                f"{source}: node {node.name} is {request.role}",
                f"{self._source} has it as {self._roles[node.name]}",
                "Agree on one of them; then its owner makes the request again.",
            )
        self._nodes[node.name] = msgspec.structs.replace(
            node, public_key=request.public_key, addresses=request.addresses
        )
        for given in request.identity:
            identity = self._claim(source, "identity", given.name, self._identities.get(given.name))
            self._identities[identity.name] = msgspec.structs.replace(identity, public_key=given.public_key)

    def document(self, roots: dict[str, tuple[bytes, ...]]) -> Document:
        """The filled template."""
        for org in self._template.org:
            if org.id not in roots:
                _refuse(
                    f"organisation {org.id} has no CA certificate",
                    "none of the join-requests brings one",
                    "Add the join-request of the node whose home holds keys/ca.",
                )
        filled = msgspec.structs.replace(
            _with_one_file_per_org(self._template),
            validator=tuple(self._nodes[node.name] for node in self._template.validator),
            observer=tuple(self._nodes[node.name] for node in self._template.observer),
            identity=tuple(self._identities[identity.name] for identity in self._template.identity),
        )
        # Read back from its own text: what is written is what was checked.
        return consortium.parse_document(self._source, msgspec.toml.decode(render(filled)))

    def _claim(self, source: str, kind: str, name: str, entry: _Entry | None) -> _Entry:
        if entry is None:
            _refuse(
                f"{source}: {kind} {name!r} is not in {self._source}",
                "only what all parties agreed on is assembled",
                "Correct the name, or add it to the template; a network that runs already takes it in by vote.",
            )
        return entry


def _with_one_file_per_org(document: Document) -> Document:
    return msgspec.structs.replace(
        document, org=tuple(msgspec.structs.replace(org, ca=(f"{org.id}.pem",)) for org in document.org)
    )


def _refuse(what: str, why: str, fix: str) -> NoReturn:
    raise ConfigError(what, why, fix)
