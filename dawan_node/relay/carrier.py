"""Carrying proofs from a source to a target: what is due, what it proves, and what became of it.

Every proof is verified here as the target will verify it, before a transaction is spent on it: a node that lies, or is
behind, or of another network, is named instead. What the target knows already is not sent, so whoever asks twice, or
began again after a crash, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dawan_node.crypto.signatures import verify
from dawan_node.errors import DawanError
from dawan_node.primitives.codes import Code
from dawan_node.primitives.light_client import (
    Statement,
    TrustedEpoch,
    next_validators,
    verified_block,
    verified_state,
)
from dawan_node.relay.errands import Errand, Outcome, advance, commitment_key, leads_to, settlement
from dawan_node.relay.refusals import Reason, RelayRefused, understood
from dawan_node.relay.source import Proven, Source
from dawan_node.relay.target import BINDING, LIGHT_CLIENT, TITLE, KnownSource, Reservation, Target

#: Settlements of one call: together below a mebibyte, which a node takes as one request.
BATCH: Final = 25
#: Bytes of arguments of one call, for channels with many validators, whose proofs are longer.
BATCH_BYTES: Final = 1024 * 1024
#: Of a transaction's 64 KiB, what is left for a proof beside the rest of it.
PROOF_ROOM: Final = 64 * 1024 - 1024
_SUITE: Final = "ed25519"


class Sending(Protocol):
    """Signs commands and hands them in until each has an answer; remembers on disk what is under way."""

    def send(self, errands: Sequence[Errand]) -> list[Outcome]:
        """An answer to each, in order."""

    def resume(self) -> int:
        """Hand in again what was under way when something broke, the same bytes; how many are open still."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of a reservation: its new state, or why not."""

    errand: Errand
    outcome: Outcome

    @property
    def is_done(self) -> bool:
        """Whether this transaction did it."""
        return self.outcome.is_known and self.outcome.code == 0


class Carrier:
    """Carries what ``source`` proves to ``target``, by transactions of ``sending``."""

    def __init__(self, source: Source, target: Target, sending: Sending, say: Callable[[Carried], None]) -> None:
        """``say`` hears of every transaction. Raises RelayRefused: E_OTHER_CHAIN for a channel and itself."""
        if source.chain_id == target.chain_id:
            why = f"{source.channel} and {target.channel} are one channel"
            raise RelayRefused(Reason.OTHER_CHAIN, why, "Name two: on one channel nothing needs a proof.")
        self.source: Final = source
        self.target: Final = target
        self.sending: Final = sending
        self._say: Final = say
        # Those that proofs of the moment are judged by; fetched anew with every look at the client.
        self._epochs: dict[int, TrustedEpoch] = {}

    # -- epochs

    def advance(self) -> KnownSource:
        """Bring the target's client into the source's newest epoch, one epoch after the other: nothing but the blocks
        that ended them is fetched.

        Raises RelayRefused: E_UNKNOWN_CLIENT, E_OTHER_CHAIN, E_CLIENT_FROZEN, E_BAD_PROOF, E_CERTIFICATE_STALE,
        E_HEIGHT_PRUNED, and the module's reason when the chain refuses.
        """
        self._epochs.clear()
        known = self.target.known(self.source.channel, self.source.chain_id)
        while (end := self.source.epoch_end(known.epoch)) is not None:
            proof = self.source.finality(end.height)
            trusted = self.target.epoch(known.chain_id, known.epoch)
            block = verified_block(proof, trusted, _is_signed)
            if block is None or next_validators(*block, end.validators) is None:
                why = (
                    f"what the node gives as the end of epoch {known.epoch} of {self.source.channel} proves no such end"
                )
                raise RelayRefused(Reason.BAD_PROOF, why, "Ask another node of that channel.")
            carried = self._send([advance(known.name, known.epoch, proof, end.validators)])[0]
            before, known = known, self.target.known(self.source.channel, self.source.chain_id)
            # Another relay may have been first; then this one was refused and nothing is wrong.
            if known.epoch <= before.epoch:
                raise ChainRefused(carried)
        return known

    # -- records

    def verified(self, proven: Proven, known: KnownSource) -> Statement:
        """What a proof says, as the target will judge it.

        Raises RelayRefused: E_OTHER_CHAIN, E_CERTIFICATE_STALE, E_BAD_PROOF, E_TOO_LARGE.
        """
        header = proven.header
        if header.chain_id != known.chain_id:
            why = f"the proof is of the chain 0x{header.chain_id.hex()}, and {known.name} is 0x{known.chain_id.hex()}"
            raise RelayRefused(Reason.OTHER_CHAIN, why, "Ask a node of the network that was voted for.")
        if not known.first_epoch <= header.epoch <= known.epoch:
            why = (
                f"it is signed by validators of epoch {header.epoch}, and {self.target.channel} believes those of "
                f"{known.first_epoch} to {known.epoch}"
            )
            raise RelayRefused(Reason.CERTIFICATE_STALE, why, "Ask for a newer height, or a node that is not behind.")
        trusted = self._epochs.get(header.epoch)
        if trusted is None:
            trusted = self._epochs[header.epoch] = self.target.epoch(known.chain_id, header.epoch)
        if trusted.last is not None and header.height > trusted.last:
            why = f"height {header.height} is signed by keys whose time ended at {trusted.last}"
            raise RelayRefused(Reason.CERTIFICATE_STALE, why, "Ask another node: this one follows keys that are void.")
        said = verified_state(proven.proof, trusted, _is_signed)
        if said is None:
            why = f"the proof of height {header.height} does not verify"
            raise RelayRefused(Reason.BAD_PROOF, why, "Ask another node of that channel.")
        if len(proven.proof) > PROOF_ROOM:
            why = f"the proof has {len(proven.proof):,} bytes, a transaction holds {PROOF_ROOM:,}"
            raise RelayRefused(Reason.TOO_LARGE, why, "Ask for the newest height, whose proof has no links.")
        return said

    def prove(
        self, module: str, collection: str, key: bytes, at: int | str = "latest", known: KnownSource | None = None
    ) -> tuple[Proven, Statement]:
        """A record of the source with its proof, and what that says, verified. Brings the target's client up to it.

        ``known``: the client as it was a moment ago. Raises RelayRefused and what ``advance`` does.
        """
        known = known or self.advance()
        proven = self.source.prove(module, collection, key, at)
        if proven.header.chain_id == known.chain_id and proven.header.epoch > known.epoch:
            # An epoch ended between the two questions.
            known = self.advance()
        said = self.verified(proven, known)
        if (said.module, said.collection, said.key) != (module, collection, key):
            raise RelayRefused(Reason.BAD_ANSWER, "the proof is about another record", "Ask another node.")
        return proven, said

    # -- reservations

    def settle(self, name: str, at: int | str = "latest") -> Carried | str:
        """Bring to one reservation what became of it; its state when it has nothing to learn any more.

        Raises RelayRefused: E_NO_MODULE, E_NO_RECORD, E_OTHER_CHAIN, E_NOTHING_YET, E_RECORD_OLD, and what ``prove``
        does; ChainRefused.
        """
        self.target.require_module(TITLE)
        found = self.target.reservation(name)
        if found is None:
            why = f"{self.target.channel} has no reservation {name} of a title"
            raise RelayRefused(Reason.NO_RECORD, why, "It is named OWNER/NUMBER; is --to the channel of the title?")
        if found.consumer != self.source.chain_id:
            why = f"{name} is reserved for the chain 0x{found.consumer.hex()}, which {self.source.channel} is not"
            raise RelayRefused(Reason.OTHER_CHAIN, why, "Name that channel with --from.")
        if found.state not in BINDING:
            return found.state
        errand = self._settlement(found, at, None)
        if errand is None:
            if found.state == "CONFIRMED" and at == "latest":
                return found.state
            raise self._nothing(found, at)
        carried = self._send([errand])[0]
        if not carried.outcome.is_known:
            return carried
        if not carried.is_done:
            # Another relay may have been first.
            now = self.target.reservation(name)
            if now is not None and now.state == errand.leads_to:
                return now.state
            raise ChainRefused(carried)
        return carried

    def due(self, page: Sequence[Reservation], time_ms: int) -> tuple[list[Reservation], list[Reservation]]:
        """Of a page, those that a proof of the source would move now, and those whose term nobody has used yet.

        ``time_ms``: of the source's newest block.
        """
        mine = [each for each in page if each.consumer == self.source.chain_id and each.state in BINDING]
        keys = [commitment_key(self.target.chain_id, each.name) for each in mine]
        states = [_state_of(value) for value in self.source.values(LIGHT_CLIENT, "commitment", keys)]
        due = [each for each, state in zip(mine, states, strict=True) if leads_to(each, state, time_ms)]
        unused = [each for each, state in zip(mine, states, strict=True) if state is None and each not in due]
        return due, [each for each in unused if each.state == "RESERVED"]

    def settlements(
        self, due: Sequence[Reservation], known: KnownSource
    ) -> Iterator[tuple[Reservation, Errand | RelayRefused | None]]:
        """The errand of each, None where its proof moves nothing after all, or why there is none."""
        for reservation in due:
            try:
                yield reservation, self._settlement(reservation, "latest", known)
            except RelayRefused as refused:
                yield reservation, refused

    def carry(self, errands: Sequence[Errand]) -> Iterator[Carried]:
        """Send settlements, a bounded number of them at a time."""
        batch: list[Errand] = []
        size = 0
        for errand in errands:
            length = len(errand.args["proof"])
            if batch and (len(batch) >= BATCH or size + length > BATCH_BYTES):
                yield from self._send(batch)
                batch, size = [], 0
            batch.append(errand)
            size += length
        if batch:
            yield from self._send(batch)

    def _settlement(self, found: Reservation, at: int | str, known: KnownSource | None) -> Errand | None:
        key = commitment_key(self.target.chain_id, found.name)
        proven, said = self.prove(LIGHT_CLIENT, "commitment", key, at, known)
        state = leads_to(found, None if said.value is None else _state_of(proven.value), said.time_ms)
        return settlement(found, proven.proof, said.id, state) if state else None

    def _nothing(self, found: Reservation, at: int | str) -> RelayRefused:
        where = f"at height {at}" if at != "latest" else "now"
        why = f"what {self.source.channel} has of {found.name} {where} moves nothing: it is {found.state} here"
        if found.state == "CONFIRMED":
            return RelayRefused(Reason.RECORD_OLD, why, "Leave out --at: an older record says less than is known.")
        fix = "Nobody committed to it, and the term is not over in a block of that channel: try again later."
        return RelayRefused(Reason.NOTHING_YET, why, fix)

    def _send(self, errands: Sequence[Errand]) -> list[Carried]:
        outcomes = self.sending.send(errands)
        carried = [Carried(errand, outcome) for errand, outcome in zip(errands, outcomes, strict=True)]
        for each in carried:
            self._say(each)
            if each.outcome.is_known and each.outcome.code in (Code.E_IDENTITY, Code.E_ROLE):
                why = f"{each.errand.module}.{each.errand.command} on {self.target.channel}: {each.outcome.reason}"
                raise RelayRefused(Reason.KEY_NOT_ALLOWED, why, "Name another key: this one may not send there.")
        return carried


class ChainRefused(DawanError):
    """The target's chain refused what was carried, or nobody knows yet; ``carried`` says which."""

    def __init__(self, carried: Carried) -> None:
        super().__init__(f"{carried.errand.about}: {carried.outcome.reason}")
        self.carried = carried


def _state_of(value: Any) -> str | None:
    if value is None:
        return None
    with understood("a commitment"):
        return str(value["state"])


def _is_signed(public_key: bytes, tag: bytes, data: bytes, signature: bytes) -> bool:
    return verify(_SUITE, public_key, tag, data, signature)
