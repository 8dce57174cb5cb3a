"""Genesis: the bytes a channel starts from; their hash is the chain id (formats A.3).

Every party of a consortium builds the same bytes from the same public files, so the chain id says at once whose
keys, which modules and which rules a channel has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from dawan_node.crypto.hashing import ZERO_HASH, tagged_hash
from dawan_node.crypto.merkle import EMPTY_ROOT
from dawan_node.crypto.signatures import check_public_key
from dawan_node.errors import InvalidEncoding, InvalidGenesis, InvalidKey
from dawan_node.primitives.block import Result
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Sint, Uint, decode_struct, decoder_for
from dawan_node.primitives.names import is_identifier, is_label
from dawan_node.primitives.transaction import TX_BYTES_MAX
from dawan_node.primitives.validators import ValidatorSet

GENESIS_TAG: Final = b"dawan:genesis:v1"
GENESIS_BYTES_MAX: Final = 4 * 1024 * 1024

#: Channel parameters with their defaults. Acceptance rules read them, so they are never local settings (U13).
DEFAULT_PARAMS: Final = MappingProxyType(
    {
        # One batch amortises votes, fsyncs and tree updates over so many transactions (consensus.md 1.4).
        "block_txs_max": 1_000,
        # The largest body a replica fetches in one view on a 2.5 Mbit/s link is far below this; LAN default (M7).
        "block_bytes_max": 4 * 1024 * 1024,
        # How far ahead a client may sign; bounds the nonce index (design section 4).
        "tx_lifetime_ms_max": 3_600_000,
        # Blocks in flight: ceil(commit round trip / execution time) + 1 on a LAN (consensus.md 1.4).
        "window": 4,
        # Steps one transaction may use (design section 11): thousands of entity reads, well under 100 ms.
        "tx_steps_max": 10_000,
    }
)

#: The most a transaction may live, whatever the channel says: the nonce index and replay entries cover 24 hours.
TX_LIFETIME_MS_CEILING: Final = 24 * 3_600_000

#: A block's body with its lists, header and links must fit one frame of 5 MiB when it is fetched by a late node.
BLOCK_BYTES_CEILING: Final = 4 * 1024 * 1024

#: The largest transaction fits every block; a smaller limit could shut out the one that would raise the limit again.
BLOCK_BYTES_FLOOR: Final = TX_BYTES_MAX

#: The most blocks in flight, whatever the channel says: memory and the lists of consensus messages grow with it
#: (consensus.md 1.14; 1.17 wants 16 on a WAN).
WINDOW_CEILING: Final = 64


class OrgEntry(ProtocolStruct, frozen=True):
    """An organisation and its certificate authority: DER certificates, root first."""

    id: str
    name: str
    founding: bool
    ca: list[bytes]


class ValidatorEntry(ProtocolStruct, frozen=True):
    """A validator's name (also its node's), organisation and voting key."""

    name: str
    org: str
    suite: str
    public_key: bytes


class IdentityEntry(ProtocolStruct, frozen=True):
    """A user key and its sorted roles."""

    name: str
    org: str
    roles: list[str]
    suite: str
    public_key: bytes


class ModuleEntry(ProtocolStruct, frozen=True):
    """A module version; ``code_hash`` of zeros leaves the code unpinned."""

    name: str
    version: Uint
    code_hash: Bytes32


class ParamEntry(ProtocolStruct, frozen=True):
    """A channel parameter."""

    name: str
    value: Sint


class PolicyEntry(ProtocolStruct, frozen=True):
    """How many of which organisations decide proposals of a kind."""

    kind: str
    votes: Uint
    electorate: Literal["founding", "members"]


class Genesis(ProtocolStruct, frozen=True, dict=True, gc=True):
    """The first state of a channel. Lists are sorted by their first element, without duplicates."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    network: str
    channel: str
    created_ms: Uint
    orgs: list[OrgEntry]
    validators: list[ValidatorEntry]
    identities: list[IdentityEntry]
    modules: list[ModuleEntry]
    params: list[ParamEntry]
    policies: list[PolicyEntry]

    @classmethod
    def decode(cls, data: bytes) -> Genesis:
        """Decode and check. Raises InvalidGenesis."""
        try:
            genesis = decode_struct(_decoder, data, GENESIS_BYTES_MAX)
        except InvalidEncoding as error:
            raise InvalidGenesis(str(error)) from None
        genesis.check()
        return genesis

    def check(self) -> None:
        """Require every rule that lets a channel start. Raises InvalidGenesis naming the first broken one."""
        for kind, name in (("network", self.network), ("channel", self.channel)):
            if not is_label(name):
                raise InvalidGenesis(f"{kind} name {name!r} is not a well-formed name")
        _require_sorted("orgs", (org.id for org in self.orgs))
        _require_sorted("validators", (validator.name for validator in self.validators))
        _require_sorted("identities", (identity.name for identity in self.identities))
        _require_sorted("modules", (module.name for module in self.modules))
        _require_sorted("params", (param.name for param in self.params))
        _require_sorted("policies", (policy.kind for policy in self.policies))
        orgs = {org.id for org in self.orgs}
        for name in [*orgs, *(v.name for v in self.validators), *(i.name for i in self.identities)]:
            if not is_label(name):
                raise InvalidGenesis(f"{name!r} is not a well-formed name")
        for validator in self.validators:
            _check_member(validator, orgs)
        for identity in self.identities:
            _check_member(identity, orgs)
        keys = [identity.public_key for identity in self.identities]
        if len(set(keys)) != len(keys):
            raise InvalidGenesis("two identities share one public key")
        for identity in self.identities:
            _require_sorted(f"roles of {identity.name}", identity.roles)
        roles = (role for identity in self.identities for role in identity.roles)
        identifiers = [*(m.name for m in self.modules), *(p.name for p in self.params), *roles]
        for name in identifiers:
            if not is_identifier(name):
                raise InvalidGenesis(f"{name!r} is not a well-formed identifier")
        if "governance" not in {module.name for module in self.modules}:
            raise InvalidGenesis("every channel runs the module governance")
        self._check_params()
        _ = self.validator_set  # raises on an empty set, duplicate or unusable keys

    def _check_params(self) -> None:
        for param in self.params:
            if param.name in DEFAULT_PARAMS and param.value < 1:
                raise InvalidGenesis(f"parameter {param.name} must be at least 1")
        if self.param("window") > WINDOW_CEILING:
            raise InvalidGenesis(f"window is at most {WINDOW_CEILING}: consensus messages list no more blocks")
        if self.param("block_bytes_max") < BLOCK_BYTES_FLOOR:
            raise InvalidGenesis(f"block_bytes_max is at least {BLOCK_BYTES_FLOOR}: every transaction must fit a block")
        if self.param("block_bytes_max") > BLOCK_BYTES_CEILING:
            raise InvalidGenesis(f"block_bytes_max is at most {BLOCK_BYTES_CEILING}: a block travels in one frame")
        if self.param("tx_lifetime_ms_max") > TX_LIFETIME_MS_CEILING:
            raise InvalidGenesis(f"tx_lifetime_ms_max is at most {TX_LIFETIME_MS_CEILING} (24 hours)")

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes."""
        return self.encode()

    @cached_property
    def chain_id(self) -> bytes:
        """``Hash("dawan:genesis:v1", genesis)``: the channel's identity, and the block hash of height 0."""
        return tagged_hash(GENESIS_TAG, self.encoded)

    @cached_property
    def validator_set(self) -> ValidatorSet:
        """The validators of epoch 0."""
        return ValidatorSet([(validator.suite, validator.public_key) for validator in self.validators])

    def param(self, name: str) -> int:
        """A channel parameter, its default where the genesis does not set it. Raises KeyError on an unknown name."""
        for param in self.params:
            if param.name == name:
                return param.value
        return DEFAULT_PARAMS[name]

    def result(self, state_root: bytes) -> Result:
        """``result(0)`` for the state root after governance has written the genesis."""
        return Result(0, self.chain_id, ZERO_HASH, state_root, EMPTY_ROOT, self.validator_set.hash)


def _check_member(member: ValidatorEntry | IdentityEntry, orgs: set[str]) -> None:
    if member.org not in orgs:
        raise InvalidGenesis(f"{member.name} belongs to {member.org!r}, which is not an organisation here")
    try:
        check_public_key(member.suite, member.public_key)
    except InvalidKey as error:
        raise InvalidGenesis(f"the key of {member.name}: {error}") from None


def _require_sorted(what: str, names: Iterable[str]) -> None:
    listed = list(names)
    if any(a >= b for a, b in itertools.pairwise(listed)):
        raise InvalidGenesis(f"{what} must be sorted by their first element, without duplicates")


_decoder = decoder_for(Genesis)
