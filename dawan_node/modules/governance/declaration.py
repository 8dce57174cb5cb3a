"""What governance declares: records, arguments, events, errors.

``Identity``, ``Credential`` and ``Configuration`` are defined beside the executor, which reads them before every
command; this module alone writes them.
"""

from __future__ import annotations

from typing import Final, Literal

from dawan_node.execution.module import (
    Args,
    Configuration,
    Credential,
    Entity,
    Event,
    Identity,
    Instant,
    Module,
    ShortText,
    key_of,
)

#: A proposal is decided within 30 days of block time or lapses: administrators meet monthly, and an old majority
#: must not be enacted under circumstances nobody voted on.
VOTING_MS: Final = 30 * 24 * 3_600_000

ProposalStatus = Literal["open", "passed", "rejected", "enacted"]

#: What a proposal changes; the name is also the kind of the policy that counts its votes, where the genesis has one.
ProposalKind = Literal["parameter", "freeze", "unfreeze", "org_role", "validator"]


class Proposal(Entity, collection="proposal", schema=1, exported=True):
    """A change that organisations vote on. ``electorate`` and ``needed`` are fixed when it opens.

    ``subject`` is the parameter, module, organisation or validator; ``value`` a parameter's new value; ``role`` a role
    to grant; ``suite`` and ``public_key`` a validator's new key. What a kind does not use is empty.
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

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_id": lambda proposal: [(proposal.id,)],
        "by_status": lambda proposal: [(proposal.status, proposal.id)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.id)


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
    """A new voting key for a validator."""

    id: ShortText
    validator: ShortText
    suite: ShortText
    public_key: bytes


class Vote(Args):
    """The sender's organisation approves or refuses."""

    proposal: ShortText
    approve: bool


class Enact(Args):
    """Put a passed proposal into effect."""

    proposal: ShortText


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


module = Module(
    "governance",
    version=1,
    entities=(Identity, Credential, Configuration, Proposal),
    events=(
        IdentityEnrolled,
        IdentityRevoked,
        IdentityRotated,
        ProposalOpened,
        VoteCast,
        ProposalEnacted,
    ),
    errors={
        "E_NAME": "A name is 1 to 32 of a-z, 0-9 and '-', a letter first.",
        "E_EXISTS": "This name is taken; names are never reused.",
        "E_UNKNOWN": "There is no such identity, proposal, organisation, module, parameter or validator.",
        "E_OTHER_ORG": "Administrators act for their own organisation only.",
        "E_REVOKED": "The identity is revoked.",
        "E_KEY": "The key is not usable for its suite.",
        "E_KEY_USED": "This key is or was registered on this channel; keys are never reused.",
        "E_ROLES": "Roles are 1 to 32 well-formed names in ascending order without duplicates.",
        "E_ROLE_RESERVED": "The organisation may not give this role; propose it with propose_org_role.",
        "E_LAST_ADMIN": "The organisation would be left without an administrator.",
        "E_VALUE": "The parameter's value is outside its bounds.",
        "E_NOT_ELECTOR": "The organisation does not vote on this proposal.",
        "E_VOTED": "The organisation has voted already.",
        "E_CLOSED": "The proposal is no longer open.",
        "E_NOT_PASSED": "The proposal has not been passed by enough organisations.",
        "E_OPEN_CHANGE": "Another change of the validators is open; one at a time.",
        "E_GOVERNANCE": "Governance itself cannot be frozen.",
    },
)
