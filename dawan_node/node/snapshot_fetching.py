"""Catching up by snapshot: when this node needs one, fetching it, and making it the channel's database.

A snapshot is fetched when the node is further behind than executing blocks is worth, or when it gets no further and
every peer that answers has pruned the next block. Block catch-up waits meanwhile (``snapshot_attempts`` says how long),
and goes on if the snapshot cannot be had. Parts are verified in a thread and kept as they come; a restart goes on with
what was kept.

When all parts are here the new database is built beside the old one. Then the write-ahead log gets a record of the
snapshot's block, as of any block that catch-up brings, and the node opens itself anew: opening puts the new database
in its place (``snapshot_install.adopt``) and restores everything above it as after any start, signing floor included
(amendments U6, U7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

from dawan_node import failpoints
from dawan_node.consensus.records import DecidedRecord, RecordKind
from dawan_node.crypto.signatures import Verify
from dawan_node.errors import InvalidMessage, OperatorError
from dawan_node.execution.executor import Executor
from dawan_node.node.channel_parts import Links
from dawan_node.node.clock import Clock
from dawan_node.node.keeping import Keeping
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.logs import fields
from dawan_node.node.runtime import Jobs, Runtime
from dawan_node.node.snapshot_attempts import RETRY_MS, Attempts
from dawan_node.node.snapshot_install import build, discard, is_built
from dawan_node.node.snapshot_keeper import epoch_proofs
from dawan_node.node.syncing import Syncing
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.block_store import BlockStore
from dawan_node.storage.wal import WalRecord
from dawan_node.sync import Anchor
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_fetch import SnapshotFetch
from dawan_node.sync.snapshot_format import Manifest
from dawan_node.sync.snapshot_messages import (
    EpochReply,
    PartReply,
    SnapshotAnswer,
    SnapshotOffer,
    TrustedEpoch,
)
from dawan_node.sync.snapshot_parts import Arrived

log = logging.getLogger(__name__)

#: Behind and without a new block for so long: perhaps the blocks that are needed are not kept anywhere any more.
STUCK_MS: Final = 5_000
#: What a snapshot must bring, as a part of the distance from which on one is fetched: less, and blocks are cheaper.
GAIN_PART: Final = 4
_OVERTAKEN: Final = "blocks have come further than it meanwhile"
PROGRESS_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """For ``status``: what is being fetched, in parts."""

    height: int
    parts: int
    parts_total: int


class SnapshotFetching:
    """The fetching side of one channel. Lives on the event loop."""

    def __init__(
        self,
        name: str,
        chain_id: bytes,
        keeping: Keeping,
        executor: Executor,
        blocks: BlockStore,
        syncing: Syncing,
        verify: Verify,
        runtime: Runtime,
        links: Links,
        log_writer: LogWriter | None,
        clock: Clock,
        reopen: Callable[[], None],
        genesis: ValidatorSet,
        knows_of: Callable[[CommitCertificate, ValidatorSet], bool],
    ) -> None:
        """``reopen``: have the node close and open everything again. ``genesis``: the first validators. ``knows_of``:
        False where a certificate holds a vote of this node's key that is not in its log; the replica has stopped."""
        self._name: Final = name
        self._chain_id: Final = chain_id
        self._behind: Final = keeping.snapshot_behind
        self._incoming: Final = keeping.incoming
        self._executor: Final = executor
        self._blocks: Final = blocks
        self._syncing: Final = syncing
        self._verify: Final = verify
        self._links: Final = links
        self._log_writer: Final = log_writer
        self._runtime: Final = runtime
        self._clock: Final = clock
        self._reopen: Final = reopen
        self._genesis: Final = genesis
        self._knows_of: Final = knows_of
        self._jobs: Final[Jobs] = runtime.jobs(f"fetch-{name}", lambda: None)
        self._fetch: SnapshotFetch | None = None
        self._is_for_pruned = False
        self._attempts: Final = Attempts()
        self._ids: Final = count(1)  # a late answer to one attempt must not pass for one to the next
        self._is_taking_up = False
        self._is_building = False
        self._is_handing_over = False
        self._has_looked = False
        self._height = -1
        self._moved_ms = 0
        self._said_ms = 0

    def status(self) -> SnapshotStatus | None:
        """What is being fetched, None when nothing is."""
        chosen = None if self._fetch is None else self._fetch.chosen
        if self._fetch is None or chosen is None:
            return None
        parts, total = self._fetch.progress
        return SnapshotStatus(chosen[1].height, parts, total)

    def holds_blocks(self) -> bool:
        """Whether block catch-up must wait: a snapshot is being fetched, or about to be."""
        if self._is_building or self._is_handing_over:
            return True
        fetch, attempts = self._fetch, self._attempts
        if fetch is not None and fetch.chosen is not None:
            return attempts.holds(self._clock.monotonic_ms(), *fetch.progress, fetch.has_holders)
        if fetch is not None or self._is_taking_up:
            return not (self._is_for_pruned or attempts.has_failed)
        return self._is_far() and not attempts.has_failed

    def close(self) -> None:
        """Finish what runs in the thread."""
        self._jobs.close()

    # Events

    def peer_up(self, peer: str) -> None:
        """A link is up."""
        now_ms = self._clock.monotonic_ms()
        self._attempts.peer_up(now_ms, is_idle=self._fetch is None)
        if self._fetch is not None:
            self._fetch.peer_up(peer, now_ms)
            self._pump()

    def peer_gone(self, peer: str) -> None:
        """A link is gone."""
        if self._fetch is not None:
            self._fetch.peer_gone(peer, self._clock.monotonic_ms())
            self._pump()

    def on_answer(self, peer: str, answer: SnapshotAnswer) -> None:
        """What was asked for, or not."""
        if self._fetch is None:
            return
        now_ms = self._clock.monotonic_ms()
        if isinstance(answer, SnapshotOffer):
            self._fetch.offer_arrived(peer, answer, now_ms)
        elif isinstance(answer, EpochReply):
            self._fetch.epochs_arrived(peer, answer, now_ms)
        elif isinstance(answer, PartReply):
            self._fetch.part_arrived(peer, answer, now_ms)
        self._pump()

    def tick(self, now_ms: int, anchor: Anchor) -> None:
        """Time has passed; ``anchor`` is the head of the store. Raises what must stop the node."""
        if self._jobs.failure is not None:
            raise self._jobs.failure
        if self._is_handing_over or self._is_building or self._is_taking_up:
            return
        if not self._has_looked:
            self._has_looked = True
            if is_built(self._incoming):
                self._hand_over()
                return
        if anchor.height != self._height:
            self._height, self._moved_ms = anchor.height, now_ms
        if self._fetch is None:
            self._begin_if_needed(now_ms, anchor)
            return
        chosen = self._fetch.chosen
        if chosen is not None and chosen[1].height <= anchor.height:
            self._give_up(_OVERTAKEN)
            self._jobs.submit(self._drop, self._dropped)
            return
        self._fetch.tick(now_ms)
        self._pump()
        status = self.status()
        if status is not None and now_ms - self._said_ms >= PROGRESS_MS:
            self._said_ms = now_ms
            log.info(
                "snapshot_fetching",
                extra=fields(
                    channel=self._name, height=status.height, parts=status.parts, parts_total=status.parts_total
                ),
            )

    # Beginning and ending

    def _is_far(self) -> bool:
        """Whether it is time for a snapshot because of the distance alone."""
        if not self._behind or not self._attempts.may_begin(self._clock.monotonic_ms()):
            return False
        return self._syncing.catch_up.target - self._syncing.anchor.height > self._behind

    def _begin_if_needed(self, now_ms: int, anchor: Anchor) -> None:
        if not self._behind or not self._attempts.may_begin(now_ms):
            return
        catch_up = self._syncing.catch_up.status()
        is_far = self._is_far()
        is_stuck = catch_up.active and now_ms - self._moved_ms >= STUCK_MS
        if not is_far and self._syncing.catch_up.target:  # 0: too few are connected to say so
            self._attempts.level()
        if not is_far and not is_stuck:
            return
        self._is_for_pruned = not is_far
        trusted = TrustedEpoch(anchor.epoch, anchor.height + 1, anchor.validators)
        above = anchor.height + (self._behind // GAIN_PART if is_far else 0)
        fetch = SnapshotFetch(self._chain_id, above, trusted, now_ms, self._verify, self._ids)
        if is_far:
            log.info(
                "snapshot_wanted",
                extra=fields(channel=self._name, height=anchor.height, target=catch_up.target),
            )
        self._attempts.begun()
        self._is_taking_up = True  # nothing else until the thread has read what was kept
        self._jobs.submit(lambda: self._take_up(fetch), lambda resumed: self._begun(fetch, resumed))

    def _take_up(self, fetch: SnapshotFetch) -> str:
        """In the thread: go on with what an earlier attempt kept, or clear it away; in words."""
        try:
            kept = self._incoming.manifest()
            if kept is not None:
                fetch.resume(Chosen.decode(kept), self._incoming.part)
                return "resumed"
        except InvalidMessage as error:
            why = str(error)
        except OSError as error:
            return error.strerror or str(error)
        else:
            why = ""
        said = [f"an earlier attempt is dropped: {why}"] if why else []
        failure = self._drop()
        return "; ".join([*said, failure] if failure else said)

    def _drop(self) -> str | None:
        """In the thread: clear away what is of no use; what the disk said against it."""
        try:
            discard(self._incoming)
        except OSError as error:
            return error.strerror or str(error)
        return None

    def _dropped(self, failure: str | None) -> None:
        if failure is not None:
            log.warning("snapshot_left_over", extra=fields(channel=self._name, why=failure, path=self._incoming.path))

    def _begun(self, fetch: SnapshotFetch, how: str) -> None:
        self._is_taking_up = False
        if how:
            log.info("snapshot_kept_parts", extra=fields(channel=self._name, outcome=how))
        self._fetch = fetch
        now_ms = self._clock.monotonic_ms()
        if fetch.chosen is not None:
            self._attempts.chose(now_ms)
        for peer in self._links.connected(self._chain_id):
            fetch.peer_up(peer.name, now_ms)
        self._pump()

    def _give_up(self, why: str) -> None:
        fetch, self._fetch = self._fetch, None
        self._attempts.failed(
            self._clock.monotonic_ms(),
            # One that was chosen and could not be had would be chosen again.
            lacked_peers=fetch is not None and not fetch.has_chosen,
            awaits_offers=fetch is not None and fetch.awaits_offers,
        )
        if not self._is_for_pruned:
            log.warning(
                "snapshot_given_up", extra=fields(channel=self._name, why=why, next="blocks are fetched instead")
            )

    # What the machine wants

    def _pump(self) -> None:
        while self._fetch is not None and not self._is_building and (ready := self._fetch.ready()):
            for peer, request in ready.requests:
                self._links.send(peer, self._chain_id, Topic.SYNC, request.encode())
            for blame in ready.blames:
                log.warning("snapshot_peer_failed", extra=fields(channel=self._name, peer=blame.peer, why=blame.reason))
                if blame.proven:
                    self._links.report_violation(blame.peer, blame.reason)
            if ready.alarm:
                goes_on = "no snapshot of that epoch or a later one is taken"
                log.critical("epoch_ends_contradict", extra=fields(channel=self._name, why=ready.alarm, next=goes_on))
            if ready.failure:
                self._give_up(ready.failure)
                return
            if ready.chosen is not None and not self._choose(self._fetch, ready.chosen):
                return
            for arrived in ready.arrived:
                self._verify_part(self._fetch, arrived)
            if ready.is_complete:
                self._build()

    def _choose(self, fetch: SnapshotFetch, chosen: Chosen) -> bool:
        """Whether to fetch what was chosen; then it is kept before any part."""
        now_ms = self._clock.monotonic_ms()
        says_so = any(oldest <= self._height + 1 for oldest in fetch.oldest_blocks())
        if self._is_for_pruned and says_so and now_ms - self._moved_ms < RETRY_MS:
            # Somebody has the next block and is only slow. If it lies, it has sent none the next time either.
            self._fetch = None
            self._attempts.postponed(now_ms)
            return False
        height = Manifest.decode(chosen.manifest).header.height
        if height <= self._syncing.anchor.height:
            self._give_up(_OVERTAKEN)
            return False
        self._attempts.chose(now_ms)
        log.info("snapshot_chosen", extra=fields(channel=self._name, height=height, parts=fetch.progress[1]))

        def keep() -> str | None:
            below = tuple(epoch_proofs(self._blocks, 0, fetch.epoch))
            try:
                discard(self._incoming)
                self._incoming.path.mkdir(parents=True, mode=0o700)
                self._incoming.write_manifest(Chosen(chosen.manifest, chosen.epochs, below).encode())
            except OSError as error:
                return error.strerror or str(error)
            failpoints.reach("fetch.after_choice")
            return None

        self._jobs.submit(keep, lambda failure: self._kept(fetch, failure))
        return True

    def _kept(self, fetch: SnapshotFetch, failure: str | None) -> None:
        if failure is not None and self._fetch is fetch:
            self._give_up(failure)

    def _verify_part(self, fetch: SnapshotFetch, arrived: Arrived) -> None:
        def verify() -> bytes | InvalidMessage | OSError:
            try:
                outcome = arrived.rule.verify(arrived.data)
                self._incoming.write_part(arrived.part, arrived.data)
            except (InvalidMessage, OSError) as error:
                return error
            failpoints.reach("fetch.after_part")
            return outcome

        def verified(outcome: bytes | InvalidMessage | OSError) -> None:
            if self._fetch is not fetch:
                return
            if isinstance(outcome, OSError):
                self._give_up(outcome.strerror or str(outcome))
                return
            fetch.checked(arrived, outcome, self._clock.monotonic_ms())
            self._pump()

        self._jobs.submit(verify, verified)

    def _build(self) -> None:
        self._is_building = True
        log.info("snapshot_complete", extra=fields(channel=self._name, next="a database is made of it"))

        def job() -> str | None:
            try:
                self._incoming.sync()
                failpoints.reach("fetch.before_build")
                build(self._incoming, self._executor)
            except InvalidMessage as error:
                failure = self._drop()
                return f"{error}; {failure}" if failure else str(error)
            except OperatorError as error:
                return str(error)
            except OSError as error:
                return error.strerror or str(error)
            return None

        self._jobs.submit(job, self._built)

    def _built(self, failure: str | None) -> None:
        self._is_building = False
        if failure is not None:
            self._give_up(failure)
            return
        self._hand_over()

    def _hand_over(self) -> None:
        self._is_handing_over = True
        self._runtime.start(self._log_and_reopen())

    async def _log_and_reopen(self) -> None:
        try:
            kept = self._incoming.manifest()
            if kept is None:
                raise InvalidMessage("the manifest is not there any more")
            chosen = Chosen.decode(kept)
            finality = FinalityProof.decode(Manifest.decode(chosen.manifest).finality)
            certificates = chosen.certificates(self._genesis)
        except (OSError, InvalidMessage) as error:
            self._is_handing_over = False
            self._give_up(str(error))
            return
        if not all(self._knows_of(certificate, validators) for certificate, validators in certificates):
            # The log must not come to look current (U6). The node opens itself anew without a voice, and then takes it.
            log.critical("snapshot_waits", extra=fields(channel=self._name, why="this key's votes are forgotten here"))
            return
        header = Header.decode(finality.header)
        if header.height <= self._syncing.anchor.height:
            # What was on its way when it was chosen has been executed since. It would take the node back.
            self._is_handing_over = False
            self._give_up(_OVERTAKEN)
            self._jobs.submit(self._drop, self._dropped)
            return
        record = DecidedRecord(
            header,
            Result.decode(finality.result),
            tuple((Header.decode(above), Result.decode(outcome)) for above, outcome in finality.links),
            CommitCertificate.decode(finality.certificate),
        )
        failpoints.reach("fetch.before_log")
        if self._log_writer is not None:
            await self._log_writer.append([WalRecord(self._chain_id, int(RecordKind.SYNCED), record.encode())])
        failpoints.reach("fetch.after_log")
        log.info(
            "snapshot_ready",
            extra=fields(channel=self._name, height=header.height, next="the node opens itself anew with it"),
        )
        self._reopen()
