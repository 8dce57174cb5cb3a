"""What governance declares: records, arguments, events, errors.

``Identity``, ``Credential`` and ``Configuration`` are defined beside the executor, which reads them before every
command; this module alone writes them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from dawan_node.execution.module import (
    Args,
    Configuration,
    Credential,
    Entity,
    Event,
    Identity,
    Instant,
    Module,
    NodeRecord,
    Organisation,
    OrgStatus,
    RevocationRecord,
    ShortText,
    key_of,
)
from dawan_node.primitives.evidence import PROOF_BYTES_MAX

#: A proposal is decided within 30 days of block time or lapses: administrators meet monthly, and an old majority
#: must not be enacted under circumstances nobody voted on.
VOTING_MS: Final = 30 * 24 * 3_600_000

ProposalStatus = Literal["open", "passed", "rejected", "enacted"]

#: What a proposal changes; the name is also the kind of the policy that counts its votes, where the genesis has one.
ProposalKind = Literal[
    "parameter",
    "freeze",
    "unfreeze",
    "org_role",
    "validator_added",
    "validator_key",
    "validator_removed",
    "org",
    "org_ca",
    "org_active",
    "org_suspended",
    "org_removed",
    # A change of another module's data, which that module carries out (``resolutions``).
    "resolution",
]

#: Of these kinds one proposal at most is open or passed at a time (amendment L13).
VALIDATOR_KINDS: Final[tuple[ProposalKind, ...]] = ("validator_added", "validator_key", "validator_removed")

#: A root, the one that replaces it, and issuing authorities of both (``crypto.certificates`` looks at so many).
AUTHORITIES_MAX: Final = 8
#: Certificates, lists and addresses must fit one entity (32 KiB) together with what stands beside them.
AUTHORITY_BYTES_MAX: Final = 3 * 1024
REVOCATION_BYTES_MAX: Final = 24 * 1024
#: Addresses of one node: two families at two sites and some to spare.
ADDRESSES_MAX: Final = 8
#: Nodes of one organisation on one channel: validators, observers, and those that replace them.
NODES_PER_ORG_MAX: Final = 32

CertificateBytes = Annotated[bytes, msgspec.Meta(min_length=1, max_length=AUTHORITY_BYTES_MAX)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Address = Annotated[str, msgspec.Meta(min_length=3, max_length=255)]


class NodeEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node that joins together with its organisation."""

    name: ShortText
    suite: ShortText
    public_key: bytes
    addresses: tuple[Address, ...]


class Proposal(Entity, collection="proposal", schema=1, exported=True):
    """A change that organisations vote on. ``electorate`` and ``needed`` are fixed when it opens.

    ``subject`` is the parameter, module, organisation or validator; ``value`` a parameter's new value; ``role`` a role
    to grant; ``suite`` and ``public_key`` a validator's new key, or that of a new organisation's first administrator
    ``admin``; ``names`` and ``ca`` belong to a new organisation, ``nodes`` to it or to the validator;
    ``possession`` is the new key's own signature (``primitives.seat``). What a kind does not use is empty.
    """

    id: str
    kind: ProposalKind
    subject: str
    value: int
    role: str
    suite: str
    public_key: bytes
    proposer: str
    opened_ms: Instant
    closes_ms: Instant
    electorate: tuple[str, ...]
    needed: int
    approvals: tuple[str, ...]
    refusals: tuple[str, ...]
    status: ProposalStatus
    enacted_height: int
    names: tuple[tuple[str, str], ...] = ()
    ca: tuple[bytes, ...] = ()
    admin: str = ""
    nodes: tuple[NodeEntry, ...] = ()
    opened_height: int = 0
    possession: bytes = b""

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_id": lambda proposal: [(proposal.id,)],
        "by_status": lambda proposal: [(proposal.status, proposal.id)],
        # Apart from the others: whoever opens a hundred large proposals must not use up the steps of such a change.
        "validator_changes": lambda proposal: (
            [(proposal.status, proposal.id)] if proposal.kind in VALIDATOR_KINDS else []
        ),
    }

    def primary_key(self) -> bytes:
        return key_of(self.id)


class PastOrganisation(Entity, collection="past_organisation", schema=1):
    """What an organisation's record said from one height until another: never changed, so that today's state tells
    whose certificates were whose at any height. Writing it is what changing an ``Organisation`` begins with."""

    id: str
    ca: tuple[bytes, ...]
    status: OrgStatus
    from_height: int
    until_height: int

    indexes = {"by_id": lambda past: [(past.id, past.from_height)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.id, self.from_height)


class ValidatorEpoch(Entity, collection="validator_epoch", schema=1):
    """Who votes in an epoch after the first, from which height and block time on: written when the change is enacted,
    never changed, so that today's state tells whose signature a vote of any epoch was. Epoch 0 is the genesis."""

    number: int
    from_height: int
    since_ms: Instant
    validators: tuple[tuple[str, str, str, bytes], ...]

    indexes = {  # noqa: RUF012
        "by_number": lambda epoch: [(epoch.number,)],
        "newest": lambda epoch: [(-epoch.number,)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.number)


class ValidatorKey(Entity, collection="validator_key", schema=1, exported=True):
    """A key that votes or voted, for which validator, from which height to which (0: still), and how that ended.

    Never deleted, and no key gets a second record. A key of the genesis has none before it ends; it votes from 1.
    """

    public_key: bytes
    suite: str
    name: str
    org: str
    from_height: int
    until_height: int
    ended: Literal["", "replaced", "removed"]

    indexes = {"by_name": lambda term: [(term.name, term.from_height)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return self.public_key


class Evidence(Entity, collection="evidence", schema=1, exported=True):
    """That the holder of a validator's key signed two statements no honest validator signs. Never changed or deleted,
    one per key, epoch and kind; what follows from it is for the organisations to decide. ``proof`` proves it by itself
    (``primitives.evidence``); ``recorded_by`` is the validator that sent it in."""

    public_key: bytes
    epoch: int
    kind: str
    validator: str
    org: str
    proof: bytes
    height: int
    time_ms: Instant
    recorded_by: str
    tx_id: bytes

    indexes = {  # noqa: RUF012
        "by_height": lambda evidence: [(evidence.height, evidence.validator, evidence.epoch, evidence.kind)],
        "by_validator": lambda evidence: [(evidence.validator, evidence.epoch, evidence.kind)],
    }

    def primary_key(self) -> bytes:
        return evidence_key(self.public_key, self.epoch, self.kind)


def evidence_key(public_key: bytes, epoch: int, kind: str) -> bytes:
    """Where the evidence of one kind against one key in one epoch is, if there is any."""
    return key_of(public_key, epoch, kind)


class Enrol(Args):
    """A new identity of the sender's own organisation."""

    name: ShortText
    roles: list[str]
    suite: ShortText
    public_key: bytes


class Revoke(Args):
    """An identity that may no longer sign."""

    name: ShortText


class Rotate(Args):
    """A new key for an identity; the old one ends."""

    name: ShortText
    suite: ShortText
    public_key: bytes


class ProposeParameter(Args):
    """A new value of a channel parameter."""

    id: ShortText
    name: ShortText
    value: int


class ProposeFreeze(Args):
    """Stop (or, with ``frozen`` false, resume) all commands of a module."""

    id: ShortText
    module: ShortText
    frozen: bool


class ProposeOrgRole(Args):
    """Let the administrators of an organisation give a reserved role to their identities."""

    id: ShortText
    org: ShortText
    role: ShortText


class ProposeValidator(Args):
    """One more validator of the sender's organisation: its key, where its node listens (empty: as registered), and the
    key's signature over its claim to this seat (``primitives.seat``)."""

    id: ShortText
    validator: ShortText
    suite: ShortText
    public_key: bytes
    addresses: list[Address]
    possession: Signature


class ProposeValidatorKey(Args):
    """Another key for a validator of the sender's organisation, with the same beside it."""

    id: ShortText
    validator: ShortText
    suite: ShortText
    public_key: bytes
    addresses: list[Address]
    possession: Signature


class ProposeValidatorRemoval(Args):
    """A validator that is to vote no longer."""

    id: ShortText
    validator: ShortText


class ProposeOrg(Args):
    """A new member organisation: its names by language tag, its certificate authorities (DER, root first), its first
    administrator's key and the nodes it starts with."""

    id: ShortText
    org: ShortText
    names: dict[str, ShortText]
    ca: list[CertificateBytes]
    admin: ShortText
    suite: ShortText
    public_key: bytes
    nodes: list[NodeEntry]


class ProposeOrgStatus(Args):
    """Suspend an organisation, let it back, or remove it for good."""

    id: ShortText
    org: ShortText
    status: OrgStatus


class ProposeOrgCa(Args):
    """Other certificate authorities for an organisation, root first; they replace the registered ones."""

    id: ShortText
    org: ShortText
    ca: list[CertificateBytes]


class RegisterNode(Args):
    """A node of the sender's organisation; one that is registered already gets this key and these addresses."""

    name: ShortText
    suite: ShortText
    public_key: bytes
    addresses: list[Address]


class RemoveNode(Args):
    """A node of the sender's organisation that takes part no longer."""

    name: ShortText


class PublishRevocations(Args):
    """The newest revocation lists (DER) of the sender's organisation; they replace those published before."""

    lists: list[Annotated[bytes, msgspec.Meta(min_length=1, max_length=REVOCATION_BYTES_MAX)]]


class Vote(Args):
    """The sender's organisation approves or refuses."""

    proposal: ShortText
    approve: bool


class Enact(Args):
    """Put a passed proposal into effect."""

    proposal: ShortText


class RecordEvidence(Args):
    """A proof against one validator (``primitives.evidence``)."""

    proof: Annotated[bytes, msgspec.Meta(min_length=1, max_length=PROOF_BYTES_MAX)]


class Tick(Args):
    """Nothing: a transaction that makes a block, so that block time moves on an idle channel."""


class IdentityEnrolled(Event):
    name: str
    org: str
    roles: list[str]
    public_key: bytes


class IdentityRevoked(Event):
    name: str
    org: str


class IdentityRotated(Event):
    name: str
    org: str
    public_key: bytes


class ProposalOpened(Event):
    id: str
    kind: str
    subject: str
    closes_ms: Instant


class VoteCast(Event):
    id: str
    org: str
    approve: bool
    status: str


class ProposalEnacted(Event):
    id: str
    kind: str
    subject: str


class ValidatorsChanged(Event):
    """Another set votes from ``from_height`` on: ``n`` validators, of which ``tolerated`` may be faulty and ``quorum``
    decide."""

    epoch: int
    from_height: int
    n: int
    tolerated: int
    quorum: int


class EvidenceRecorded(Event):
    validator: str
    org: str
    kind: str
    epoch: int
    public_key: bytes
    recorded_by: str


class NodeRegistered(Event):
    name: str
    org: str
    public_key: bytes


class NodeRemoved(Event):
    name: str
    org: str


class RevocationsPublished(Event):
    org: str
    lists: int


module = Module(
    "governance",
    version=1,
    entities=(
        Identity,
        Credential,
        Configuration,
        Proposal,
        Organisation,
        PastOrganisation,
        NodeRecord,
        RevocationRecord,
        ValidatorEpoch,
        ValidatorKey,
        Evidence,
    ),
    events=(
        IdentityEnrolled,
        IdentityRevoked,
        IdentityRotated,
        ProposalOpened,
        VoteCast,
        ProposalEnacted,
        ValidatorsChanged,
        EvidenceRecorded,
        NodeRegistered,
        NodeRemoved,
        RevocationsPublished,
    ),
    errors={
        "E_NAME": "A name is 1 to 32 of a-z, 0-9 and '-', a letter first.",
        "E_EXISTS": "This name is taken; names are never reused.",
        "E_UNKNOWN": "There is no such identity, proposal, organisation, module, parameter or validator.",
        "E_NOT_ADMIN": "Only an organisation's administrator puts something to the vote.",
        "E_OTHER_MODULE": "Another module carries this resolution out, by a command of its own.",
        "E_OTHER_ORG": "Administrators act for their own organisation only.",
        "E_REVOKED": "The identity is revoked.",
        "E_KEY": "The key is not usable for its suite.",
        "E_KEY_USED": "This key is or was registered on this channel, or is proposed; keys are never reused.",
        "E_ROLES": "Roles are 1 to 32 well-formed names in ascending order without duplicates.",
        "E_ROLE_RESERVED": "The organisation may not give this role; propose it with propose_org_role.",
        "E_LAST_ADMIN": "The organisation would be left without an administrator.",
        "E_VALUE": "The parameter's value is outside its bounds.",
        "E_NOT_ELECTOR": "The organisation does not vote on this proposal.",
        "E_VOTED": "The organisation has voted already.",
        "E_CLOSED": "The proposal is no longer open.",
        "E_NOT_PASSED": "The proposal has not been passed by enough organisations.",
        "E_OPEN_CHANGE": "Another change of the validators is open; one at a time.",
        "E_VALIDATORS": "A channel has 1 to 64 validators.",
        "E_POSSESSION": "The claim to the seat is not signed by the new key.",
        "E_GOVERNANCE": "Governance itself cannot be frozen.",
        "E_CERTIFICATE": "An organisation has 1 to 8 different certificates that no other one registered.",
        "E_ADDRESS": "An address is host:port or [IPv6]:port; a node has at most 8.",
        "E_LIMIT": "The organisation has as many nodes as it may.",
        "E_STATUS": "The organisation has this status already, or was removed for good.",
        "E_SEATS": "The organisation holds validators of this channel.",
        "E_STALE": "What the proposal would change was changed since it was opened; propose it again.",
        "E_LAST_FOUNDER": "No active founding organisation would be left.",
        "E_EVIDENCE": "The proof is not well formed.",
        "E_EVIDENCE_CHAIN": "The statements were made on another chain.",
        "E_NO_CONTRADICTION": "An honest validator may have signed both statements.",
        "E_NOT_VALIDATOR": "The key did not vote in that epoch.",
        "E_NOT_SIGNED": "A statement is not signed by that key.",
        "E_EPOCH": "There was no such epoch yet.",
        "E_EPOCH_OVER": "That epoch ended too long ago: a key that was replaced may be in anybody's hands.",
        "E_DUP_EVIDENCE": "This kind of evidence against that key in that epoch is recorded already.",
    },
)
