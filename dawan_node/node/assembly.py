"""Making a network out of what its parties bring (``init`` and ``network assemble``).

Every party makes its own keys in its own home and hands over a public ``party.toml``: names, public keys, addresses,
CA certificate. One of them puts these into the template that all agreed on; the result is ``consortium.toml``, one
PEM file per organisation and the genesis bytes of each channel. Every party then recomputes the genesis with
``network verify``; nobody has to trust the one who assembled, and no secret leaves its home.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import msgspec

from dawan_node.crypto.certificates import check_authorities, from_pem, to_pem
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node import consortium
from dawan_node.node.consortium import Consortium, Document, Identity, Node, Part
from dawan_node.node.toml_file import convert, read_toml

_Entry = TypeVar("_Entry", Node, Identity)


class PartyIdentity(Part, frozen=True):
    """A key the party made for somebody who will send transactions."""

    name: str
    public_key: str


class Party(Part, frozen=True):
    """``party.toml``: what one node's ``init`` hands over. All of it is public."""

    format: Literal[1]
    name: str
    org: str
    public_key: str
    addresses: tuple[str, ...]
    ca: str = ""  # PEM; only from the party that holds the organisation's authority
    identity: tuple[PartyIdentity, ...] = ()

    def render(self) -> str:
        """The file's text."""
        lines = [
            "# Public: what this node gives to `network assemble`. No secret is in it.",
            "format = 1",
            f"name = {_text(self.name)}",
            f"org = {_text(self.org)}",
            f"public_key = {_text(self.public_key)}",
            f"addresses = {_texts(self.addresses)}",
        ]
        if self.ca:
            lines.append(f'ca = """\n{self.ca}"""')
        for identity in self.identity:
            lines += [
                "",
                "[[identity]]",
                f"name = {_text(identity.name)}",
                f"public_key = {_text(identity.public_key)}",
            ]
        return "\n".join(lines) + "\n"


def load_party(path: Path) -> Party:
    """A ``party.toml``. Raises ConfigError."""
    return convert(str(path), read_toml(path), Party)


def assemble(source: str, template: Document, parties: Sequence[tuple[str, Party]], now: datetime) -> Consortium:
    """The template with every party's keys, addresses and CA filled in.

    ``source`` and the first half of each pair name files in errors. Raises ConfigError: a party that the template
    does not know or knows under another organisation, a key that is still missing, an unusable CA certificate.
    """
    builder = _Builder(source, template)
    for name, party in parties:
        builder.add(name, party)
    document = builder.document(now)
    consortium.check_complete(source, document)
    return Consortium(document, {org: tuple(found) for org, found in builder.roots.items()})


def write(assembled: Consortium, folder: Path) -> list[Path]:
    """Write ``consortium.toml``, the CA files and the genesis files into ``folder``; their paths. Raises ConfigError.

    The bytes depend on nothing but the consortium, so any party can check them by doing the same.
    """
    files = {folder / "consortium.toml": render(assembled.document).encode()}
    for org in assembled.document.org:
        files[folder / f"{org.id}.pem"] = to_pem(assembled.roots[org.id]).encode()
    for channel in assembled.channels:
        files[folder / "genesis" / f"{channel}.bin"] = assembled.genesis(channel).encoded
    try:
        (folder / "genesis").mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            path.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} cannot be written", error.strerror or "unknown reason", "Check the folder."
        ) from None
    return list(files)


def render(document: Document) -> str:
    """The text of a ``consortium.toml`` that reads back as ``document``; the same text for the same document."""
    moment = document.created.astimezone(UTC)
    lines = [
        "# The facts all parties share; made by `network assemble`, checked by `network verify`.",
        "format = 1",
        f"network = {_text(document.network)}",
        f"created = {moment.strftime('%Y-%m-%dT%H:%M:%S')}.{moment.microsecond // 1000:03d}Z",
    ]
    for org in document.org:
        names = msgspec.structs.asdict(org.names)
        encoded = {field.name: field.encode_name for field in msgspec.structs.fields(org.names)}
        lines += ["", "[[org]]", f"id = {_text(org.id)}"]
        lines += [f"names.{encoded[name]} = {_text(value)}" for name, value in names.items()]
        lines.append(f"founding = {'true' if org.founding else 'false'}")
        if org.operator:
            lines.append(f"operator = {_text(org.operator)}")
        lines.append(f"ca = {_texts(org.ca)}")
    for kind, nodes in (("validator", document.validator), ("observer", document.observer)):
        for node in nodes:
            lines += ["", f"[[{kind}]]", f"name = {_text(node.name)}", f"org = {_text(node.org)}"]
            lines += [f"public_key = {_text(node.public_key)}", f"addresses = {_texts(node.addresses)}"]
    for identity in document.identity:
        lines += ["", "[[identity]]", f"name = {_text(identity.name)}", f"org = {_text(identity.org)}"]
        lines += [f"roles = {_texts(identity.roles)}", f"public_key = {_text(identity.public_key)}"]
    for channel in document.channel:
        lines += ["", "[[channel]]", f"name = {_text(channel.name)}", f"orgs = {_texts(channel.orgs)}"]
        lines += [f"validators = {_texts(channel.validators)}", f"modules = {_texts(channel.modules)}"]
        lines += [f"params.{name} = {value}" for name, value in sorted(channel.params.items())]
        for name, policy in sorted(channel.policy.items()):
            lines += [f"policy.{name} = {{ votes = {policy.votes}, electorate = {_text(policy.electorate)} }}"]
    return "\n".join(lines) + "\n"


class _Builder:
    """Collects the parties' contributions and puts each in its place of the template."""

    def __init__(self, source: str, template: Document) -> None:
        self._source = source
        self._template = template
        self._nodes = {node.name: node for node in (*template.validator, *template.observer)}
        self._identities = {identity.name: identity for identity in template.identity}
        self._given_by: dict[str, str] = {}
        self.roots: dict[str, list[bytes]] = {}

    def add(self, source: str, party: Party) -> None:
        node = self._claim(source, "node", party.name, party.org, self._nodes.get(party.name))
        self._nodes[node.name] = msgspec.structs.replace(
            node, public_key=party.public_key, addresses=party.addresses or node.addresses
        )
        for given in party.identity:
            identity = self._claim(source, "identity", given.name, party.org, self._identities.get(given.name))
            self._identities[identity.name] = msgspec.structs.replace(identity, public_key=given.public_key)
        if party.ca:
            self._add_authority(source, party)

    def document(self, now: datetime) -> Document:
        for org in self._template.org:
            if org.id not in self.roots:
                _refuse(
                    f"organisation {org.id} has no CA certificate",
                    "none of the party.toml files brings one",
                    "Add the party.toml of the node whose home holds keys/ca.",
                )
            try:
                check_authorities(org.id, self.roots[org.id], now)
            except UntrustedCertificate as error:
                _refuse(f"the CA certificate of {org.id} is refused", str(error), "Let its owner make a new one.")
        filled = msgspec.structs.replace(
            self._template,
            org=tuple(msgspec.structs.replace(org, ca=(f"{org.id}.pem",)) for org in self._template.org),
            validator=tuple(self._nodes[node.name] for node in self._template.validator),
            observer=tuple(self._nodes[node.name] for node in self._template.observer),
            identity=tuple(self._identities[identity.name] for identity in self._template.identity),
        )
        # Read back from its own text: what is written is what was checked.
        return consortium.parse_document(self._source, msgspec.toml.decode(render(filled)))

    def _claim(self, source: str, kind: str, name: str, org: str, entry: _Entry | None) -> _Entry:
        """The template's entry, which exists, is of that organisation and is given once."""
        key = f"{kind} {name}"
        if entry is None:
            _refuse(
                f"{source}: {key} is not in {self._source}",
                "only what all parties agreed on can join",
                "Correct the name, or add it to the template.",
            )
        if entry.org != org:
            _refuse(f"{source}: {key} is of {org}", f"{self._source} has it under {entry.org}", "Correct one of them.")
        if key in self._given_by:
            _refuse(f"{source}: {key} comes twice", f"{self._given_by[key]} brings it too", "Leave one of them out.")
        self._given_by[key] = source
        return entry

    def _add_authority(self, source: str, party: Party) -> None:
        try:
            found = from_pem(party.ca)
        except UntrustedCertificate as error:
            _refuse(f"{source}: ca", str(error), "Ask its owner for the file again.")
        if self.roots.setdefault(party.org, found) != found:
            _refuse(
                f"{source}: ca",
                f"another party.toml of {party.org} brings a different certificate",
                "Nodes of one organisation share one authority: init --ca FOLDER.",
            )


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's but for DEL, which no name may contain."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _texts(values: Sequence[str]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"


def _refuse(what: str, why: str, fix: str) -> NoReturn:
    raise ConfigError(what, why, fix)
