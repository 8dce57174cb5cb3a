"""From bytes to the pool: how a transaction is checked once, off the event loop, and passed on.

The order is cheapest first: (for clients: room,) already known, decode, chain, nonce on chain, (for clients: command
and schema,) identity, then the signature in the verifier's threads, then the pool. Whether there is room for a client's
transaction is decided before it is decoded (``client_window``), and before anything but whether a block holds it is
looked up for it, which is done for a bounded number: who offers five times what the channel commits must not cost it
the time in which it would commit; what is not proven to be signed yet counts for whoever brings it, not for the
organisation it names (``entering``). What a client sent and what observers sent is pushed to the validators once; what
a validator sent is not pushed again (``p2p.gossip.audience``).

A verified transaction is offered to the gatherer before the pool, because a block may hold what our pool refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dawan_node.client_window import TARGET_MS, ClientWindow
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidTransaction
from dawan_node.execution.channel import GOVERNANCE, VALIDATOR, Credential, seats
from dawan_node.execution.executor import Executor
from dawan_node.mempool import Admission as PoolVerdict
from dawan_node.mempool import Mempool
from dawan_node.node.clock import Clock
from dawan_node.node.entering import Batch, Entering
from dawan_node.node.metrics import StageTimes
from dawan_node.p2p.gossip import TokenBucket
from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Transaction, claimed_id, claimed_key
from dawan_node.storage.channel_store import ChannelStore

#: Transactions whose signatures are being checked; about one second's work of two cores. Beyond it gossip is dropped
#: (it is repaired by the sender's pool, amendment L7). Clients are told to come back long before, by their window.
CHECKING_MAX: Final = 20_000

#: Keys whose records are remembered until the next block; each is a few hundred bytes, and of strangers there are many.
CREDENTIALS_MAX: Final = 4_096

#: Of what there is no room for, so many a second are looked for on the chain before they are told to come back: whoever
#: resumes after a restart sends again what is there, when everybody does and the window is full. A refusal costs some
#: 50 us (benchmarks, overload), a look in vain 3 to 5 more (with five million transactions), so all of them together
#: half a percent of a core; one that is found costs what it costs while there is room. At once as many as the
#: batches that an importer has under way.
LOOKUPS_PER_S: Final = 1_000


class SignatureChecks(Protocol):
    """``node.verifier.Verifier``."""

    async def verify(self, transactions: Sequence[Transaction], urgent: bool = False) -> list[bool]:
        """One verdict per transaction, in order; ``urgent`` ones go before those of clients."""
        ...


class Audience(Protocol):
    """Who hears of what was admitted or checked."""

    def checked(self, transactions: Sequence[tuple[Transaction, bool]]) -> None:
        """Signature verdicts of transactions a wanted block may miss."""
        ...

    def admitted(self, transactions: Sequence[Transaction], source: str) -> None:
        """New in the pool; ``source`` is the peer that brought them, empty for a client."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one envelope: waiting in the pool, on chain already at ``height``, or refused."""

    transaction: Transaction | None
    height: int | None = None
    refusal: InvalidTransaction | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """What a peer's transactions were worth: how many were its fault, and how many of no use to anybody here."""

    faults: int
    useless: int


class Admission:
    """The way into one channel's pool. Lives on the event loop; only signatures are checked elsewhere."""

    def __init__(
        self,
        chain_id: bytes,
        executor: Executor,
        store: ChannelStore,
        pool: Mempool,
        verifier: SignatureChecks,
        clock: Clock,
        stages: StageTimes,
        audience: Audience,
    ) -> None:
        self._chain_id: Final = chain_id
        self._executor: Final = executor
        self._store: Final = store
        self._pool: Final = pool
        self._verifier: Final = verifier
        self._clock: Final = clock
        self._stages: Final = stages
        self._audience: Final = audience
        #: What of clients may wait; told of every decided block by the channel.
        self.window: Final = ClientWindow(pool.limits.count_max)
        #: On their way into the pool. What peers gossiped counts too: four nodes whose clients all send would otherwise
        #: let in three times the window before they see each other's.
        self._entering: Final = Entering()
        self._lookups: Final = TokenBucket(LOOKUPS_PER_S, LOOKUPS_PER_S, clock.monotonic_ms())
        self._checking: set[bytes] = set()
        self._block_time_ms = 0
        self._credentials: dict[bytes, Credential | None] = {}  # as of the head, of whom something came since
        configuration = executor.configuration(store.state)
        #: Organisations whose people may send, kept current by the channel: they change in barrier blocks only.
        self.active_orgs = configuration.active_orgs
        #: Validators' keys, which may send what names their role; kept current likewise.
        self.seats = seats(configuration)
        #: Whether a block that is being gathered misses this leaf; the channel connects it.
        self.is_wanted: Callable[[bytes], bool] = lambda _: False

    @property
    def block_time_ms(self) -> int:
        """Timestamp of the decided head, kept current by the channel; setting it forgets what was looked up before."""
        return self._block_time_ms

    @block_time_ms.setter
    def block_time_ms(self, time_ms: int) -> None:
        self._block_time_ms = time_ms
        self._credentials.clear()

    def is_checking(self, leaf_hash: bytes) -> bool:
        """Whether this transaction is on its way into the pool."""
        return leaf_hash in self._checking

    async def submit(self, envelopes: Sequence[bytes], bearer: str = "") -> list[Verdict]:
        """Transactions of a client: one verdict each, in order. ``bearer``: who it is (``Caller.bearer``)."""
        batch = self._entering.begin(bearer)
        shut: dict[str, Verdict] = {}
        verdicts: list[Verdict] = []
        try:
            with self._stages.measure("decode", len(envelopes)):
                now_ms = self._clock.wall_ms()
                for envelope in envelopes:
                    leaf = sha256(b"\x00" + envelope)
                    turned_away = self._turn_away(envelope, leaf, batch, shut)
                    verdicts.append(turned_away or self._open(envelope, leaf, now_ms, batch, from_client=True))
            await self._finish(verdicts, "", batch)
        finally:
            batch.leave()
        return verdicts

    async def receive(self, envelopes: Sequence[bytes], peer: str) -> int:
        """Transactions that ``peer`` gossiped. Returns how many were malformed or wrongly signed: its fault."""
        return (await self.examine(envelopes, peer)).faults

    async def examine(self, envelopes: Sequence[bytes], peer: str) -> Received:
        """As ``receive``, and what of it was of no use: of an unknown key, expired, or on chain already."""
        verdicts: list[Verdict] = []
        batch = self._entering.begin(peer, is_peer=True)
        on_chain = 0
        try:
            with self._stages.measure("decode", len(envelopes)):
                now_ms = self._clock.wall_ms()
                for envelope in envelopes:
                    leaf = sha256(b"\x00" + envelope)
                    # Under load everybody sends everything again that waits for long (L7), and most of that is decided
                    # when it arrives: read no further.
                    if self._pool.was_decided(leaf):
                        on_chain += 1
                        continue
                    if leaf in self._pool or leaf in self._checking:
                        continue
                    if len(self._checking) + len(verdicts) > CHECKING_MAX:
                        continue
                    verdicts.append(self._open(envelope, leaf, now_ms, batch, from_client=False))
            await self._finish(verdicts, peer, batch)
        finally:
            batch.leave()
        codes = [verdict.refusal.code for verdict in verdicts if verdict.refusal is not None]
        on_chain += sum(1 for verdict in verdicts if verdict.height is not None)
        return Received(
            sum(1 for code in codes if code in _FAULTS), sum(1 for code in codes if code in _USELESS) + on_chain
        )

    def adopt(self, transactions: Sequence[Transaction]) -> None:
        """Take verified transactions of a block that was fetched into the pool, as far as it takes them."""
        now_ms = self._clock.wall_ms()
        for transaction in transactions:
            try:
                # Its block may be on chain by now, perhaps since before a restart: then nothing may hold it again.
                if self._height_of(transaction, now_ms) is None:
                    self._admit(transaction, True, now_ms)
            except InvalidTransaction:
                continue  # it is in a block anyway; the pool's own limits come first

    def organisation_of(self, public_key: bytes) -> str | None:
        """The organisation a key is registered with now, or votes for; None for unknown and revoked keys, and while the
        organisation is suspended."""
        credential = self._sender(public_key)
        return None if credential is None or credential.org not in self.active_orgs else credential.org

    def _sender(self, public_key: bytes) -> Credential | None:
        known = self._credentials
        credential = known.get(public_key, _UNKNOWN)
        if credential is _UNKNOWN:
            if len(known) >= CREDENTIALS_MAX:
                known.clear()
            found = self._executor.genesis.credential_of(public_key, self._credential)
            credential = known[public_key] = None if found is None or found.until_height else found
        return self.seats.get(public_key) if credential is None else credential

    def _check_seat(self, transaction: Transaction, sender: Credential) -> None:
        """A validator's key sends what names its role, as the executor has it; nothing else of it takes up room."""
        if sender.roles != (VALIDATOR,):
            return
        found = self._executor.registry.command(transaction.body.module, transaction.body.command)
        if found is None or not found[1].is_open_to(sender.roles, is_seat=True):
            raise _refusal(Code.E_ROLE, "a validator's key sends evidence only; people send with keys of their own")

    def _turn_away(self, envelope: bytes, leaf: bytes, batch: Batch, shut: dict[str, Verdict]) -> Verdict | None:
        """The refusal (1002) of a client's transaction while as much waits as the channel can do, or None.

        Nothing is decoded for it: a node that is offered several times what its channel commits refuses more than it
        takes, and what that costs is taken from what it commits. So what cannot be read either is told to come back
        first. What is on chain keeps its answer, as far as ``LOOKUPS_PER_S`` goes. ``shut`` has who was refused in this
        call already: no place becomes free in it.
        """
        key = claimed_key(envelope)
        sender = None if key is None else self._sender(key)
        if sender is None:
            return None  # it is refused for good, and that is what its client should read
        organisation = sender.org
        verdict = shut.get(organisation)
        if verdict is None:
            own, organisations = self._pool.share_of(organisation)
            entering, own_entering = batch.account(organisation)
            waiting = len(self._pool) + entering
            if self.window.is_open(waiting, own + own_entering, organisations, self._clock.monotonic_ms()):
                return None
            text = f"{waiting} transactions wait, more than this channel commits in {TARGET_MS} ms"
            verdict = shut[organisation] = Verdict(None, refusal=_refusal(Code.E_POOL_FULL, text))
        # What waits here has been let in, what a block held has its answer, what a block waits for is wanted.
        is_known = leaf in self._pool or self._pool.was_decided(leaf) or self.is_wanted(leaf)
        return None if is_known or self._is_found(envelope) else verdict

    def _is_found(self, envelope: bytes) -> bool:
        """Whether an older block holds it, or one from before this node was started; False also where too many ask."""
        if not self._lookups.take(1, self._clock.monotonic_ms()):
            return False
        tx_id = claimed_id(envelope)
        return tx_id is not None and self._store.blocks.find_tx(tx_id) is not None

    def _open(self, envelope: bytes, leaf: bytes, now_ms: int, batch: Batch, *, from_client: bool) -> Verdict:
        """Everything but the signature. ``batch`` counts what was let in; ``leaf`` is the envelope's leaf hash."""
        try:
            transaction = Transaction.decode(envelope, leaf)
            if transaction.body.chain_id != self._chain_id:
                raise _refusal(Code.E_WRONG_CHAIN, "the body names another chain")
            if from_client and leaf in self._pool:
                return Verdict(transaction)
            sender = self._sender(transaction.public_key)
            # Before the schema and the key: what is on chain keeps its answer, whatever changed since.
            height = self._height_of(transaction, now_ms)
            if height is not None:
                return Verdict(transaction, height)
            if from_client:
                body = transaction.body
                self._executor.registry.check_command(body.module, body.command, body.args)
            if sender is None or sender.org not in self.active_orgs:
                raise _refusal(Code.E_IDENTITY, "the signing key is not registered on this channel, or was revoked")
            self._check_seat(transaction, sender)
            # A signature costs more than everything before it: none is checked for what would not be taken anyway,
            # unless a block waits for it.
            if not self.is_wanted(leaf):
                self._pool.check_room(transaction, sender.org, now_ms, self._block_time_ms)
        except InvalidTransaction as refusal:
            return Verdict(None, refusal=refusal)
        batch.add(sender.org)
        return Verdict(transaction)

    def _height_of(self, transaction: Transaction, now_ms: int) -> int | None:
        """Where the transaction is on chain; raises when another body used its nonce."""
        used_until = self._store.state.nonce_used(transaction.public_key, transaction.body.nonce)
        if used_until is None:
            # The nonce index forgets what has expired, but who sends the same bytes hours later must not read that
            # they came too late, sign anew and pay twice.
            if transaction.body.valid_until_ms > max(now_ms, self._block_time_ms):
                return None
            place = self._store.blocks.find_tx(transaction.tx_id)
            return None if place is None else place[0]
        place = self._store.blocks.find_tx(transaction.tx_id)
        if place is None:
            if self._store.blocks.kept().oldest > 1:
                # This node came by snapshot a while ago: it knows that the nonce is used, not by which bytes.
                text = "this key used this nonce; if it was for these bytes, a node with older blocks has the receipt"
                raise _refusal(Code.E_NONCE_USED, text)
            raise _refusal(Code.E_NONCE_USED, "this key used this nonce for another body that is on chain")
        return place[0]

    async def _finish(self, verdicts: list[Verdict], source: str, batch: Batch) -> None:
        """Check signatures, then fill the pool; ``verdicts`` are replaced in place."""
        places = [
            place
            for place, verdict in enumerate(verdicts)
            if verdict.transaction is not None
            and verdict.height is None
            and verdict.transaction.leaf_hash not in self._pool
        ]
        transactions = [tx for place in places if (tx := verdicts[place].transaction) is not None]
        if not transactions:
            return
        leaves = {transaction.leaf_hash for transaction in transactions} - self._checking
        self._checking |= leaves
        try:
            valid = await self._verifier.verify(transactions)
        finally:
            self._checking -= leaves
        self._audience.checked(list(zip(transactions, valid, strict=True)))
        with self._stages.measure("admit", len(transactions)):
            now_ms = self._clock.wall_ms()
            admitted: list[Transaction] = []
            for place, transaction, is_valid in zip(places, transactions, valid, strict=True):
                try:
                    if self._admit(transaction, is_valid, now_ms):
                        admitted.append(transaction)
                except InvalidTransaction as refusal:
                    verdicts[place] = Verdict(transaction, refusal=refusal)
            if not all(valid):
                batch.unsigned()
            elif admitted and batch.brought_unproven:
                signers = {self.organisation_of(transaction.public_key) for transaction in admitted}
                batch.signed(signer for signer in signers if signer is not None)
        if admitted:
            self._audience.admitted(admitted, source)

    def _admit(self, transaction: Transaction, is_valid: bool, now_ms: int) -> bool:
        """Whether the transaction is new in the pool. Raises InvalidTransaction."""
        if not is_valid:
            raise _refusal(Code.E_SIGNATURE, "the signature is not the key's over 'dawan:tx:v1' LF body")
        organisation = self.organisation_of(transaction.public_key)
        if organisation is None:
            raise _refusal(Code.E_IDENTITY, "the signing key was revoked")
        return self._pool.add(transaction, organisation, now_ms, self._block_time_ms) is PoolVerdict.ACCEPTED

    def _credential(self, kind: type[Credential], key: bytes) -> Credential | None:
        value = self._store.state.get(GOVERNANCE, kind.spec.collection, key)
        return None if value is None else kind.spec.decode(value)


#: Not the same as None, which is a remembered "nobody enrolled this key".
_UNKNOWN: Final = Credential(b"", "", "", "", (), 0, 0)

#: What no honest peer passes on: it checked the same before.
_FAULTS: Final = frozenset({Code.E_MALFORMED, Code.E_SIGNATURE, Code.E_TOO_LARGE, Code.E_SUITE, Code.E_WRONG_CHAIN})
#: What an honest peer may pass on when it is some blocks behind or its clock differs, now and then.
_USELESS: Final = frozenset({Code.E_IDENTITY, Code.E_ROLE, Code.E_VALIDITY, Code.E_NONCE_USED})


def _refusal(code: Code, detail: str) -> InvalidTransaction:
    return InvalidTransaction(code, code.name, detail)
