"""What execution itself must know of a channel: who may sign, which parameters hold, what is frozen, who votes.

These records belong to the module ``governance``, the only one that writes them; the executor reads them before each
command. The genesis is the single state entry of height 0, so nothing of it is copied: a record is looked up in the
state first and in the genesis when the state has none (copy on write).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeVar

from msgspec.structs import replace as replace_struct

from dawan_node.execution.entity import Entity
from dawan_node.execution.keys import key_of
from dawan_node.primitives.genesis import DEFAULT_PARAMS, Genesis
from dawan_node.primitives.validators import ValidatorSet

GOVERNANCE: Final = "governance"

#: The state entry of height 0 and of no other: collection, with the empty key, and the genesis bytes as its value.
GENESIS_COLLECTION: Final = "genesis"

#: One state entry per block for the nonces it used (formats A.5, amendment U10).
REPLAY_COLLECTION: Final = "replay"

ORG_ADMIN: Final = "org_admin"

#: The one role of a validator's own key while it is in force (``seats``). No person holds it.
VALIDATOR: Final = "validator"

E = TypeVar("E", bound=Entity)
Lookup = Callable[[type[E], bytes], E | None]


class Identity(Entity, collection="identity", schema=1, exported=True):
    """A named signer of an organisation, as of now. ``since_height``: when this key and these roles took effect."""

    name: str
    org: str
    roles: tuple[str, ...]
    suite: str
    public_key: bytes
    status: Literal["active", "revoked"]
    since_height: int

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_name": lambda identity: [(identity.name,)],
        "by_org": lambda identity: [(identity.org, identity.name)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Credential(Entity, collection="credential", schema=1):
    """What one public key stood for, and from which height to which (0: until now). Never deleted or reused, so
    today's state proves who was who at any height."""

    public_key: bytes
    suite: str
    name: str
    org: str
    roles: tuple[str, ...]
    from_height: int
    until_height: int

    indexes = {  # noqa: RUF012
        "by_name": lambda credential: [(credential.name, credential.from_height)],
    }

    def primary_key(self) -> bytes:
        return self.public_key


OrgStatus = Literal["active", "suspended", "removed"]


class Configuration(Entity, collection="configuration", schema=1):
    """The channel's configuration where it differs from the genesis: written only by ``governance.enact``, that is
    only in barrier blocks (amendment U11). ``validators`` are (name, org, suite, public key), ``orgs`` (id, founding,
    status) in order of id; a record written before organisations could join has none and means those of the genesis.
    """

    params: tuple[tuple[str, int], ...]
    validators: tuple[tuple[str, str, str, bytes], ...]
    frozen_modules: tuple[str, ...]
    org_roles: tuple[tuple[str, str], ...]
    since_height: int
    orgs: tuple[tuple[str, bool, OrgStatus], ...] = ()

    def primary_key(self) -> bytes:
        return CONFIGURATION_KEY

    def param(self, name: str) -> int:
        """A channel parameter. Raises KeyError on an unknown name."""
        return dict(self.params)[name]

    @property
    def active_orgs(self) -> frozenset[str]:
        """The organisations whose people may send transactions and whose nodes are served."""
        return frozenset([org for org, _, status in self.orgs if status == "active"])

    @property
    def active_founders(self) -> tuple[str, ...]:
        """The founding organisations that may vote now, in order."""
        return tuple([org for org, founding, status in self.orgs if founding and status == "active"])


CONFIGURATION_KEY: Final = b"current"


class Organisation(Entity, collection="organisation", schema=1, exported=True):
    """An organisation as of now. ``ca``: the certificates (DER) its nodes' certificates must end in, root first;
    ``names``: language tag and name, in order of tag; ``since_height``: when this record took effect."""

    id: str
    names: tuple[tuple[str, str], ...]
    founding: bool
    ca: tuple[bytes, ...]
    status: OrgStatus
    since_height: int

    indexes = {"by_id": lambda organisation: [(organisation.id,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.id)


class NodeRecord(Entity, collection="node", schema=1, exported=True):
    """A node that its organisation registered: the key of its hello and where it says it listens. Validators need
    none: theirs is the configuration's; a record for one only adds addresses."""

    name: str
    org: str
    suite: str
    public_key: bytes
    addresses: tuple[str, ...]
    status: Literal["active", "removed"]
    since_height: int

    indexes = {  # noqa: RUF012
        "by_name": lambda node: [(node.name,)],
        "by_org": lambda node: [(node.org, node.name)],
        "by_key": lambda node: [(node.public_key, node.name)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.name)


class RevocationRecord(Entity, collection="revocation", schema=1, exported=True):
    """The newest certificate revocation lists an organisation published (RFC 5280 section 5, DER, one for each of its
    authorities at most). The chain keeps them as bytes: what an X.509 library says of them may differ between nodes,
    so each node judges them for itself."""

    org: str
    lists: tuple[bytes, ...]
    since_height: int

    indexes = {"by_org": lambda record: [(record.org,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.org)


@dataclass(frozen=True, slots=True)
class GenesisView:
    """The parsed genesis, indexed once: it never changes, so every block shares it."""

    genesis: Genesis
    identities: MappingProxyType[str, Identity]
    credentials: MappingProxyType[bytes, Credential]
    configuration: Configuration
    organisations: MappingProxyType[str, Organisation]

    @classmethod
    def of(cls, genesis: Genesis) -> GenesisView:
        """Index ``genesis``."""
        return cls(
            genesis,
            MappingProxyType(
                {
                    entry.name: Identity(
                        entry.name, entry.org, tuple(entry.roles), entry.suite, entry.public_key, "active", 0
                    )
                    for entry in genesis.identities
                }
            ),
            MappingProxyType(
                {
                    entry.public_key: Credential(
                        entry.public_key, entry.suite, entry.name, entry.org, tuple(entry.roles), 0, 0
                    )
                    for entry in genesis.identities
                }
            ),
            Configuration(
                tuple(sorted({**DEFAULT_PARAMS, **{p.name: p.value for p in genesis.params}}.items())),
                tuple([(entry.name, entry.org, entry.suite, entry.public_key) for entry in genesis.validators]),
                (),
                tuple(sorted({(entry.org, role) for entry in genesis.identities for role in entry.roles})),
                0,
                tuple([(org.id, org.founding, "active") for org in genesis.orgs]),
            ),
            MappingProxyType(
                {
                    org.id: Organisation(org.id, (("en", org.name),), org.founding, tuple(org.ca), "active", 0)
                    for org in genesis.orgs
                }
            ),
        )

    def credential_of(self, public_key: bytes, get: Lookup[Credential]) -> Credential | None:
        """The record of a key, whether it still holds or not; None for a key nobody enrolled."""
        return get(Credential, public_key) or self.credentials.get(public_key)

    def identity_of(self, name: str, get: Lookup[Identity]) -> Identity | None:
        """The identity of that name, whether active or revoked."""
        return get(Identity, key_of(name)) or self.identities.get(name)

    def organisation_of(self, org: str, get: Lookup[Organisation]) -> Organisation | None:
        """The organisation of that id, whatever its status."""
        return get(Organisation, key_of(org)) or self.organisations.get(org)

    def configuration_of(self, get: Lookup[Configuration]) -> Configuration:
        """The configuration in force."""
        found = get(Configuration, CONFIGURATION_KEY)
        if found is None:
            return self.configuration
        return found if found.orgs else replace_struct(found, orgs=self.configuration.orgs)


def seats(configuration: Configuration) -> MappingProxyType[bytes, Credential]:
    """What each key that votes under ``configuration`` stands for as a sender: its organisation, and nothing but the
    role ``validator``. No record of it exists: the configuration is the record."""
    return MappingProxyType(
        {
            public_key: Credential(public_key, suite, name, org, (VALIDATOR,), configuration.since_height, 0)
            for name, org, suite, public_key in configuration.validators
        }
    )


def validator_set(configuration: Configuration) -> ValidatorSet:
    """The set that votes under ``configuration``."""
    return ValidatorSet([(suite, public_key) for _, _, suite, public_key in configuration.validators])
