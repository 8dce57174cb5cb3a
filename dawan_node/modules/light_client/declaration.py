"""What the light client module declares: clients and epochs of other channels, uses of proofs, reservations here for
processes there, commitments here to assets there; events; errors.

Reasons are API: a client branches on them, and a reason keeps its meaning for ever.
"""

from __future__ import annotations

from typing import Final, Literal

from dawan_node.execution.module import Entity, Event, Instant, Module, key_of

#: This module's own name, under which another channel keeps the other half of a reservation.
NAME: Final = "light_client"

ClientState = Literal["ACTIVE", "FROZEN"]
#: ``RESERVED -> CONFIRMED -> PASSED | RELEASED``, or directly; the lock's own end is not a state but a time.
ReservationState = Literal["RESERVED", "CONFIRMED", "PASSED", "RELEASED"]
#: ``COMMITTED -> PASSED | RETURNED``.
CommitmentState = Literal["COMMITTED", "PASSED", "RETURNED"]

#: The asset is not free before the reservation's end.
BINDING_STATES: Final[tuple[ReservationState, ...]] = ("RESERVED", "CONFIRMED")


class Client(Entity, collection="client", schema=1, exported=True):
    """A source channel: ``source`` is its name, ``chain_id`` the hash of its genesis, ``modules`` those whose records
    are believed. Proofs of the epochs from ``first_epoch`` to ``epoch`` count; FROZEN: none does, until a vote."""

    source: str
    chain_id: bytes
    modules: tuple[str, ...]
    first_epoch: int
    epoch: int
    state: ClientState
    resolution: str

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_source": lambda client: [(client.source,)],
        "by_chain": lambda client: [(client.chain_id,)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.source)


class Epoch(Entity, collection="epoch", schema=1, exported=True):
    """The validators of one epoch of a source channel, in order of key, and its heights; ``last`` 0: not over yet."""

    chain_id: bytes
    epoch: int
    first: int
    last: int
    validators: tuple[tuple[str, bytes], ...]
    valset_hash: bytes
    learned_ms: Instant

    indexes = {"by_chain": lambda epoch: [(epoch.chain_id, epoch.epoch)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.chain_id, self.epoch)


class ClientChange(Entity, collection="client_change", schema=1):
    """A client put to the vote: which channel, from which epoch on, who votes in that epoch, whom to believe.
    ``standing``: how the client stood then, empty for none."""

    proposal: str
    subject: str
    source: str
    chain_id: bytes
    epoch: int
    first: int
    validators: tuple[tuple[str, bytes], ...]
    modules: tuple[str, ...]
    standing: str = ""

    def primary_key(self) -> bytes:
        return key_of(self.proposal)


class Use(Entity, collection="proof_use", schema=1, exported=True):
    """A proof that was used for a purpose; never deleted: once means for ever. ``statement`` names what it says."""

    statement: bytes
    purpose: str
    module: str
    subject: str
    chain_id: bytes
    height: int
    used_ms: Instant

    indexes = {"by_subject": lambda use: [(use.module, use.subject, use.purpose)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.statement, self.purpose)


class Reservation(Entity, collection="reservation", schema=1, exported=True):
    """An asset of this channel that its owner bound to one process on another channel.

    ``reservation`` is ``owner/number``. ``consumer``: that channel's chain id; ``purpose`` and ``process``: for what
    and for whom it is reserved there. ``facts`` say what the asset is, for that channel's module. ``recipients``: who
    can get it, and their organisations. It can be committed to before ``commit_by_ms``, in the time of that channel,
    and binds until ``until_ms``.
    """

    reservation: str
    module: str
    asset: str
    facts: tuple[tuple[str, str], ...]
    owner: str
    org: str
    consumer: bytes
    purpose: str
    process: str
    recipients: tuple[tuple[str, str], ...]
    commit_by_ms: Instant
    until_ms: Instant
    recipient: str
    state: ReservationState

    indexes = {  # noqa: RUF012
        "by_asset": lambda r: [(r.module, r.asset, -r.until_ms)],
        # The one that lasts longest comes first: it alone says whether the asset is bound.
        "binding": lambda r: [(r.module, r.asset, -r.until_ms)] if r.state in BINDING_STATES else [],
        "by_owner": lambda r: [(r.owner, r.reservation)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.reservation)


class Commitment(Entity, collection="commitment", schema=1, exported=True):
    """What this channel made of a reservation on another one: who relies on it, and what became of that.

    The key is ``<chain id of the source in hexadecimal>/<reservation>``, the same whatever the source is called here:
    that no such record exists has to be provable. ``recipient_org``: to whose order the asset passes.
    """

    commitment: str
    chain_id: bytes
    source: str
    reservation: str
    asset_module: str
    asset: str
    facts: tuple[tuple[str, str], ...]
    recipient_orgs: tuple[str, ...]
    module: str
    purpose: str
    process: str
    until_ms: Instant
    recipient_org: str
    committed_ms: Instant
    ended_ms: Instant
    state: CommitmentState

    indexes = {  # noqa: RUF012
        "by_process": lambda c: [(c.module, c.process, c.commitment)],
        "relied_on": lambda c: [(c.chain_id, c.asset_module, c.asset, -c.until_ms)] if c.state == "COMMITTED" else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.commitment)


class ClientRegistered(Event):
    source: str
    chain_id: bytes
    epoch: int


class ClientAdvanced(Event):
    """``first``: the first height of the new epoch."""

    source: str
    epoch: int
    first: int


class ClientFrozen(Event):
    """Two certified blocks, or two results of one, at one height: the source's quorum contradicted itself."""

    source: str
    height: int


class Reserved(Event):
    reservation: str
    asset: str
    consumer: bytes
    process: str
    commit_by_ms: Instant
    until_ms: Instant


class ReservationConfirmed(Event):
    reservation: str


class ReservationPassed(Event):
    reservation: str
    recipient: str


class ReservationReleased(Event):
    """``unused``: nobody committed in time; otherwise the process over there ended."""

    reservation: str
    unused: bool


class Committed(Event):
    commitment: str
    asset: str
    process: str
    until_ms: Instant


class CommitmentEnded(Event):
    """What the source channel has to learn: carry a proof of the commitment there."""

    commitment: str
    state: CommitmentState


ERRORS: Final = {
    # Clients
    "E_SOURCE": "A source channel has a channel's name and another chain id than this channel and its other sources.",
    "E_VALSET": "The validators are no usable set, or not those that the certified block names.",
    "E_EPOCH": "The epoch and its first height contradict each other: epoch 0 begins at height 1, a later one higher.",
    "E_MODULES": "A source needs 1 to 16 different modules whose records are believed.",
    "E_UNKNOWN_CHANGE": "No client of that proposal was put to the vote.",
    "E_CLIENT_CHANGED": "The client is not as it was when this was put to the vote: propose it anew.",
    "E_UNKNOWN_CLIENT": "This channel has no client of that channel.",
    "E_CLIENT_FROZEN": "The client is frozen: its channel certified two blocks at one height. A vote starts it anew.",
    "E_NOT_EPOCH_END": "The block does not end the epoch that the client is in.",
    "E_NO_CONFLICT": "The two proofs do not prove different blocks or results of one height.",
    # Proofs
    "E_PROOF": "The proof proves nothing here: not a source's, of an epoch not known, above its end, or tampered with.",
    "E_PROOF_USED": "The proof was used for this purpose already.",
    "E_PROOF_STALE": "The proof has too little life left, or is too old.",
    "E_PROOF_SCOPE": "Records of that module of the source channel are not believed here.",
    "E_PROOF_SUBJECT": "The proof is about another record than the one needed here.",
    "E_PROOF_CHANNEL": "What is proven was made for another channel.",
    "E_PROOF_PURPOSE": "What is proven was made for another purpose or process.",
    "E_PURPOSE": "A purpose and a subject have 1 to 100 bytes, without the bytes 0 and 1.",
    # Reservations and commitments
    "E_RESERVATION": "A reservation's number has 1 to 40 letters, digits and hyphens; names and facts are limited.",
    "E_DUP_RESERVATION": "The owner already used this number, or the asset is reserved until a time that has not come.",
    "E_UNKNOWN_RESERVATION": "There is no such reservation of the asset's module.",
    "E_RESERVATION_TIME": "The times are not in order, or the reservation does not last as long as it is needed.",
    "E_RESERVATION_STATE": "The reservation is in a state in which this is not possible.",
    "E_NOT_EXPIRED": "The other channel can still commit: its block was made before the reservation's term was over.",
    "E_NOT_OWNER": "The reservation was made by another organisation than the sender's.",
    "E_RECIPIENT": "The organisation is none of those that the asset can pass to.",
    "E_UNKNOWN_COMMITMENT": "There is no such commitment of the calling module.",
    "E_COMMITMENT_STATE": "The commitment has ended.",
    "E_RELIED_ON": "Another process of this channel still relies on the asset.",
    "E_COMMITMENT_OVER": "The reservation ends too soon for a proof of this to reach its channel.",
}

module: Final = Module(
    NAME,
    version=1,
    entities=(Client, Epoch, ClientChange, Use, Reservation, Commitment),
    events=(
        ClientRegistered,
        ClientAdvanced,
        ClientFrozen,
        Reserved,
        ReservationConfirmed,
        ReservationPassed,
        ReservationReleased,
        Committed,
        CommitmentEnded,
    ),
    errors=ERRORS,
    uses=("governance", "refdata"),
)
