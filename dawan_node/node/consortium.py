"""``consortium.toml``: who the parties are and which channels they share (formats D).

The file holds public facts only. From the same file, and the CA certificates it names, every party computes the
same genesis bytes for each channel, and so the same chain id: comparing one hash compares everything.

    format = 1
    network = "dawan"
    created = 2026-09-01T00:00:00Z
    [[org]]        id, names.{en, zh-Hans, zh-Hant, pt}, founding, operator, ca = ["gz.pem"]
    [[validator]]  name, org, public_key, addresses
    [[observer]]   name, org, public_key, addresses
    [[identity]]   name, org, roles, public_key
    [[channel]]    name, orgs, validators, modules = ["receivable@1"], [channel.params], [channel.policy]

``operator`` is the organisation whose people run an organisation's nodes; without it, the organisation itself. Nodes
under one operator fail and lie together, so node.fault_facts counts seats by operator.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import msgspec

from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import ConfigError, InvalidGenesis
from dawan_node.node.config import parse_address
from dawan_node.node.fault_facts import ChannelFacts, fault_facts
from dawan_node.node.home import read_certificates
from dawan_node.node.toml_file import convert, nearest, read_toml
from dawan_node.primitives.genesis import (
    DEFAULT_PARAMS,
    Genesis,
    IdentityEntry,
    ModuleEntry,
    OrgEntry,
    ParamEntry,
    PolicyEntry,
    ValidatorEntry,
)
from dawan_node.primitives.names import is_identifier, is_label

# Every channel runs it: without governance nobody could ever be added or removed.
GOVERNANCE: Final = "governance@1"
_UNPINNED: Final = bytes(32)
# Control, format (direction marks among them), surrogate, line and paragraph separators.
_UNREADABLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the file."""


class Names(Part, frozen=True):
    """An organisation's name in the alliance's four languages."""

    en: str
    zh_hans: str = msgspec.field(name="zh-Hans")
    zh_hant: str = msgspec.field(name="zh-Hant")
    pt: str


class Org(Part, frozen=True):
    """An organisation. ``ca`` names PEM files beside this file, root first."""

    id: str
    names: Names
    founding: bool = False
    operator: str = ""
    ca: tuple[str, ...] = ()


class Node(Part, frozen=True):
    """A validator or observer. ``public_key`` is empty in a template; ``network assemble`` fills it."""

    name: str
    org: str
    public_key: str = ""
    addresses: tuple[str, ...] = ()


class Identity(Part, frozen=True):
    """A key that may send transactions, and what it may do."""

    name: str
    org: str
    roles: tuple[str, ...]
    public_key: str = ""


class Policy(Part, frozen=True):
    """How many organisations of the electorate decide."""

    votes: Annotated[int, msgspec.Meta(ge=1)]
    electorate: Literal["founding", "members"] = "founding"


class Channel(Part, frozen=True):
    """One ledger: its organisations, validators, modules and rules."""

    name: str
    orgs: tuple[str, ...]
    validators: tuple[str, ...]
    modules: tuple[str, ...] = ()
    params: dict[str, int] = {}
    policy: dict[str, Policy] = {}


class Document(Part, frozen=True):
    """The file as it is written."""

    format: Literal[1]
    network: str
    created: datetime
    org: tuple[Org, ...]
    validator: tuple[Node, ...]
    channel: tuple[Channel, ...]
    observer: tuple[Node, ...] = ()
    identity: tuple[Identity, ...] = ()


@dataclass(frozen=True, slots=True)
class Consortium:
    """A complete, checked ``consortium.toml`` with the CA certificates it names."""

    document: Document
    roots: Mapping[str, tuple[bytes, ...]]  # organisation -> CA certificates, DER, root first

    @property
    def network(self) -> str:
        """The network's name."""
        return self.document.network

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names in the order of the file."""
        return tuple(channel.name for channel in self.document.channel)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Validators, then observers."""
        return (*self.document.validator, *self.document.observer)

    def node(self, name: str) -> Node | None:
        """The validator or observer of that name."""
        return next((node for node in self.nodes if node.name == name), None)

    def is_validator(self, name: str) -> bool:
        """Whether the node votes anywhere (the others observe)."""
        return any(node.name == name for node in self.document.validator)

    def channels_for(self, org: str) -> tuple[str, ...]:
        """The channels an organisation belongs to: its nodes hear of no others."""
        return tuple(channel.name for channel in self.document.channel if org in channel.orgs)

    def genesis(self, name: str) -> Genesis:
        """The genesis of a channel, the same bytes for every party. Raises ConfigError."""
        channel = _channel(self.document, name)
        try:
            genesis = self._genesis(channel)
            genesis.check()
        except InvalidGenesis as error:
            raise ConfigError(
                f"channel {name} has no valid genesis", str(error), "Correct consortium.toml with all parties."
            ) from None
        return genesis

    def _genesis(self, channel: Channel) -> Genesis:
        members = set(channel.orgs)
        orgs = [org for org in self.document.org if org.id in members]
        policies = dict.fromkeys(("default", "validator"), _default_policy(orgs)) | channel.policy
        return Genesis(
            version=1,
            network=self.document.network,
            channel=channel.name,
            created_ms=(self.document.created - _EPOCH) // timedelta(milliseconds=1),
            orgs=[
                OrgEntry(org.id, org.names.en, org.founding, list(self.roots[org.id]))
                for org in sorted(orgs, key=lambda org: org.id)
            ],
            validators=[
                ValidatorEntry(node.name, node.org, ED25519, public_key_bytes(node.public_key))
                for node in sorted(self.document.validator, key=lambda node: node.name)
                if node.name in channel.validators
            ],
            identities=[
                IdentityEntry(
                    identity.name, identity.org, sorted(identity.roles), ED25519, public_key_bytes(identity.public_key)
                )
                for identity in sorted(self.document.identity, key=lambda identity: identity.name)
                if identity.org in members
            ],
            modules=[ModuleEntry(*split_module(text), _UNPINNED) for text in sorted({*channel.modules, GOVERNANCE})],
            params=[ParamEntry(name, value) for name, value in sorted(channel.params.items())],
            policies=[PolicyEntry(kind, policy.votes, policy.electorate) for kind, policy in sorted(policies.items())],
        )


def load(path: Path) -> Consortium:
    """A complete consortium: every key filled in, every CA file readable. Raises ConfigError."""
    document = load_document(path)
    check_complete(str(path), document)
    roots = {
        org.id: tuple(certificate for name in org.ca for certificate in read_certificates(path.parent / name))
        for org in document.org
    }
    return Consortium(document, roots)


def load_document(path: Path) -> Document:
    """The file as written, keys possibly still empty (a template), but consistent. Raises ConfigError."""
    return parse_document(str(path), read_toml(path))


def parse_document(source: str, table: object) -> Document:
    """A parsed TOML table as a consistent document; ``source`` is named in errors. Raises ConfigError."""
    document = convert(source, table, Document)
    _Checker(source, document).check()
    return document


def is_complete(document: Document) -> bool:
    """Whether nothing is missing that ``network assemble`` fills in; a template is not complete."""
    return not _missing(document)


def check_complete(source: str, document: Document) -> None:
    """Require every key, address and CA file of a document. Raises ConfigError naming what is missing."""
    missing = _missing(document)
    if missing:
        raise ConfigError(
            f"{source} is not complete",
            f"{missing[0]} is missing" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "Let every party run `init` and `network join-request`, then run `network assemble` with their requests.",
        )


def channel_facts(document: Document, name: str) -> ChannelFacts:
    """What a channel of the document survives; a template is enough. Raises ConfigError for an unknown channel."""
    channel = _channel(document, name)
    operators = {org.id: org.operator or org.id for org in document.org}
    orgs = {node.name: node.org for node in document.validator}
    return fault_facts(
        name, (operators[orgs[node]] for node in channel.validators), (operators[org] for org in channel.orgs)
    )


def is_readable(text: str) -> bool:
    """Whether a name for people holds nothing that moves a terminal's cursor or turns the direction of the text.

    1 to 200 characters: twice the longest name of the alliance's members, and still one line.
    """
    return 1 <= len(text) <= 200 and not any(unicodedata.category(c) in _UNREADABLE for c in text)


def public_key_bytes(text: str) -> bytes:
    """The bytes of ``0x`` and lower-case hex; empty for anything else, which the genesis refuses by its length."""
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return b""
    return data if text == "0x" + data.hex() else b""  # fromhex also takes spaces and capitals


def split_module(text: str) -> tuple[str, int]:
    """``("receivable", 1)`` for ``receivable@1``. Raises ValueError with a sentence."""
    name, at, version = text.partition("@")
    if not at or not is_identifier(name) or not version.isascii() or not version.isdigit() or int(version) < 1:
        raise ValueError(f"{text!r} is not a module and version such as receivable@1")
    return name, int(version)


def _missing(document: Document) -> list[str]:
    missing = [f"public_key of {kind} {entry.name}" for kind, entry in keyed_entries(document) if not entry.public_key]
    missing += [f"addresses of validator {node.name}" for node in document.validator if not node.addresses]
    return missing + [f"ca of organisation {org.id}" for org in document.org if not org.ca]


def _channel(document: Document, name: str) -> Channel:
    for channel in document.channel:
        if channel.name == name:
            return channel
    names = [channel.name for channel in document.channel]
    raise ConfigError(f"there is no channel {name!r} in the consortium", nearest(name, names), "Check the name.")


def _default_policy(orgs: list[Org]) -> Policy:
    """Design section 7: more than half of the founding organisations; of all members where none is founding."""
    founding = sum(org.founding for org in orgs)
    if founding:
        return Policy(votes=founding // 2 + 1, electorate="founding")
    return Policy(votes=len(orgs) // 2 + 1, electorate="members")


def keyed_entries(document: Document) -> list[tuple[str, Node | Identity]]:
    """Every entry that has a public key, with the name of its table."""
    return [
        *(("validator", node) for node in document.validator),
        *(("observer", node) for node in document.observer),
        *(("identity", identity) for identity in document.identity),
    ]


class _Checker:
    """The rules between the tables: one method per table, each error naming the file and the entry."""

    def __init__(self, source: str, document: Document) -> None:
        self._source = source
        self._document = document
        self._orgs = {org.id for org in document.org}

    def check(self) -> None:
        document = self._document
        if not is_label(document.network):
            self._refuse(f"network = {document.network!r}", "a name is [a-z][a-z0-9-]{0,31}")
        if document.created.tzinfo is None:
            self._refuse("created has no time zone", "every party must read the same instant; write ...Z")
        if not 1970 <= document.created.year < 9999:
            self._refuse("created", "block time counts from 1970")
        if document.created.microsecond % 1000:
            self._refuse("created is finer than a millisecond", "block time is in milliseconds")
        self._check_names("organisation", [org.id for org in document.org])
        self._check_names("node", [node.name for node in (*document.validator, *document.observer)])
        self._check_names("identity", [identity.name for identity in document.identity])
        self._check_names("channel", [channel.name for channel in document.channel])
        for org in document.org:
            for text in msgspec.structs.astuple(org.names):
                if not is_readable(text):
                    self._refuse(
                        f"names of organisation {org.id}: {text!r}",
                        "a name is 1 to 200 characters without control or direction marks",
                    )
            if org.operator:
                self._check_org(f"operator of organisation {org.id}", org.operator)
            for name in org.ca:
                if Path(name).name != name:
                    self._refuse(f"ca of organisation {org.id}: {name!r}", "a CA file lies beside consortium.toml")
        for kind, entry in keyed_entries(document):
            self._check_member(kind, entry)
        for channel in document.channel:
            self._check_channel(channel)

    def _check_member(self, kind: str, entry: Node | Identity) -> None:
        self._check_org(f"{kind} {entry.name}", entry.org)
        if entry.public_key and len(public_key_bytes(entry.public_key)) != 32:
            self._refuse(f"public_key of {kind} {entry.name}", "a key is 0x and 64 lower-case hexadecimal digits")
        if isinstance(entry, Identity):
            for role in entry.roles:
                if not is_identifier(role):
                    self._refuse(f"role {role!r} of identity {entry.name}", "a role is [a-z][a-z0-9_]{0,31}")
            return
        for address in entry.addresses:
            try:
                parse_address(address)
            except ValueError as error:
                self._refuse(f"addresses of {kind} {entry.name}", str(error))

    def _check_channel(self, channel: Channel) -> None:
        title = f"channel {channel.name}"
        for org in channel.orgs:
            self._check_org(title, org)
        validators = {node.name: node for node in self._document.validator}
        for name in channel.validators:
            if name not in validators:
                self._refuse(f"{title}: there is no validator {name!r}", nearest(name, list(validators)))
            if validators[name].org not in channel.orgs:
                self._refuse(
                    f"{title}: validator {name} is of {validators[name].org}", "that organisation is not on the channel"
                )
        for listed, what in ((channel.orgs, "orgs"), (channel.validators, "validators"), (channel.modules, "modules")):
            if len(set(listed)) != len(listed):
                self._refuse(f"{title}: {what}", "an entry stands there twice")
        if not channel.validators:
            self._refuse(f"{title}: validators", "a channel needs at least one")
        names = []
        for text in channel.modules:
            try:
                names.append(split_module(text)[0])
            except ValueError as error:
                self._refuse(f"{title}: modules", str(error))
        if len(set(names)) != len(names):
            self._refuse(f"{title}: modules", "one module stands there in two versions")
        for name in channel.params:
            if name not in DEFAULT_PARAMS:
                self._refuse(f"{title}: unknown parameter {name!r}", nearest(name, list(DEFAULT_PARAMS)))
        for kind in channel.policy:
            if not is_identifier(kind):
                self._refuse(f"{title}: policy {kind!r}", "a kind is [a-z][a-z0-9_]{0,31}")

    def _check_org(self, where: str, org: str) -> None:
        if org not in self._orgs:
            self._refuse(f"{where}: there is no organisation {org!r}", nearest(org, list(self._orgs)))

    def _check_names(self, kind: str, names: list[str]) -> None:
        for name, count in Counter(names).items():
            if not is_label(name):
                self._refuse(f"{kind} name {name!r}", "a name is [a-z][a-z0-9-]{0,31}")
            if count > 1:
                self._refuse(f"{kind} {name} stands there {count} times", "names are unique in a consortium")

    def _refuse(self, what: str, why: str) -> NoReturn:
        raise ConfigError(f"{self._source}: {what}", why, "Correct it.")
