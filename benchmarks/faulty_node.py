"""The real node program with one fault in it, which is on from SIGUSR1 to SIGUSR2.

    python -m benchmarks.faulty_node slow-disk:50 run --home HOME ...     # every sync takes 50 ms longer
    python -m benchmarks.faulty_node double-voter run --home HOME ...     # an attacker of the simulator's list

Everything after the first argument goes to ``dawan-node`` as it is. An attacker has the node's own key and stands
between its replica and its links, as ``dawan_node.testing.simulator.possessed`` has it in virtual time: it is the same
code over real links. The first line it does on purpose is logged once as ``fault begins``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

from dawan_node.cli.main import main
from dawan_node.consensus.messages import Message, decode_message
from dawan_node.node.channel import Channel
from dawan_node.p2p.framing import Topic
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.testing.attackers import Attacker, Forger
from dawan_node.testing.attackers.attacker import TICK_MS
from dawan_node.testing.attackers.plans import MASKS, Chameleon
from dawan_node.testing.simulator.possessed import Position, Possessed

log = logging.getLogger("dawan_node.faults")

ATTACKERS: Final[dict[str, type[Attacker]]] = {kind.name: kind for kind in (*MASKS, Chameleon)}
SLOW_DISK: Final = "slow-disk"


class Demon(Possessed):
    """``Possessed`` over the links of a real channel. What the simulator's node is to it, a stand-in is here."""

    def __init__(self, kind: type[Attacker], channel: Channel) -> None:
        super().__init__(kind, 0)
        self.is_active = False
        self._channel: Final = channel
        driver, replica = channel.driver, channel.driver.replica
        signer = replica._state.signer
        if signer is None:
            raise SystemExit(f"{channel.name}: only a validator's node can be an attacker's")
        key = signer._key  # type: ignore[attr-defined]
        self.attacker = kind(Forger(key, real_signatures=True), random.Random(channel.chain_id))
        self._own_name = channel._names_by_key[key.public_key]
        self._send, self._real = channel._links.send, driver._sender
        self._node: Any = SimpleNamespace(
            name=self._own_name,
            life=SimpleNamespace(replica=replica),
            clock=driver._clock,
            channel=channel,
            scene=SimpleNamespace(
                genesis=SimpleNamespace(chain_id=channel.chain_id),
                timers=replica._state.timers,
                nodes=[
                    SimpleNamespace(name=name, key=SimpleNamespace(public_key=public))
                    for public, name in channel._names_by_key.items()
                ],
                world=SimpleNamespace(counts=Counter()),
                network=SimpleNamespace(transmit=self._transmit),
            ),
        )
        # A liar does not stop when it sees a vote of its own that its log does not have (amendment U6).
        replica._state.stop_for_own_key = lambda statement: None  # type: ignore[method-assign]
        replica._finality.is_forged_in_my_name = lambda certificate, validators: False  # type: ignore[method-assign]
        honest_slot, lying_slot = replica.proposal_slot, self._proposal_slot
        replica.proposal_slot = lambda: (  # type: ignore[method-assign]
            lying_slot(self._node, honest_slot) if self.is_active else honest_slot()
        )
        tell = replica.executed
        replica.executed = lambda block_hash, result, rules=None: (  # type: ignore[method-assign]
            self._executed(tell, block_hash, result, rules) if self.is_active else tell(block_hash, result, rules)
        )
        reap, pool = channel.pool.reap, channel.pool
        pool.reap = lambda *limits: (  # type: ignore[method-assign]
            self._reap(self._node, pool, reap, *limits) if self.is_active else reap(*limits)
        )
        hear = driver.message

        def overhear(message: Message, link: int) -> None:
            if self.is_active and link >= 0:
                self._overheard(message, link)
            hear(message, link)

        driver.message = overhear  # type: ignore[method-assign]
        driver._sender = SimpleNamespace(consensus=self._consensus, again=self._real.again)  # type: ignore[misc]
        links = SimpleNamespace(
            **{name: getattr(channel._links, name) for name in dir(channel._links) if name[0] != "_"}
        )
        links.send = self._other
        channel._links = links  # type: ignore[misc]

    def begin_lying(self) -> None:
        """From now on, until ``be_honest``."""
        if not self.is_active:
            self.is_active = True
            log.warning("fault begins: %s on %s", type(self.attacker).name, self._channel.name)
            self._tick_again()

    def be_honest(self) -> None:
        self.is_active = False

    def _tick_again(self) -> None:
        if self.is_active:
            self.tick(self._node)
            asyncio.get_running_loop().call_later(TICK_MS / 1000, self._tick_again)

    def _consensus(self, validators: Any, to: tuple[int, ...] | None, payload: bytes) -> None:
        position = self._position(self._node)
        if not self.is_active or position is None:
            self._real.consensus(validators, to, payload)
            return
        assert self.attacker is not None
        receivers = to if to is not None else tuple(index for index in range(validators.n) if index != position.own)
        self._launch(self._node, position, self.attacker.send(decode_message(payload), receivers, position))

    def _other(self, name: str, chain_id: bytes, topic: Topic, payload: bytes) -> Any:
        if self.is_active and any(name == known.name for known in self._node.scene.nodes):
            kept = self.other(self._node, name, topic, payload)
            if kept is None:
                return True  # as if it had left
            payload = kept
        return self._send(name, chain_id, topic, payload)

    def _overheard(self, message: Message, link: int) -> None:
        position = self._position(self._node)
        if position is not None and link != position.own:
            assert self.attacker is not None
            self._launch(self._node, position, self.attacker.heard(link, message, position))

    def _transmit(self, node: Any, name: str, topic: Topic, payload: bytes, delay_ms: int = 0) -> None:
        if delay_ms:
            loop = asyncio.get_running_loop()
            loop.call_later(delay_ms / 1000, self._send, name, self._channel.chain_id, topic, payload)
        else:
            self._send(name, self._channel.chain_id, topic, payload)

    @staticmethod
    def _index(node: Any, position: Position, name: str) -> int | None:
        for known in node.scene.nodes:
            if known.name == name:
                return position.validators.index_of(known.key.public_key)
        return None


class SlowDisk:
    """Each sync of the write-ahead log and each synced write of LevelDB takes ``extra_s`` longer, in the thread that
    asked for it."""

    def __init__(self, extra_s: float) -> None:
        self._extra_s = extra_s
        self._is_active = False
        self._fdatasync, self._write = os.fdatasync, LevelDBStore.write

    def patches(self) -> list[Any]:
        def fdatasync(descriptor: Any) -> None:
            self._fdatasync(descriptor)
            self._wait()

        def write(store: LevelDBStore, *args: Any, **kwargs: Any) -> None:
            self._write(store, *args, **kwargs)
            if kwargs.get("sync"):
                self._wait()

        return [mock.patch.object(os, "fdatasync", fdatasync), mock.patch.object(LevelDBStore, "write", write)]

    def start(self) -> None:
        self._is_active = True
        log.warning("fault begins: %s", SLOW_DISK)

    def stop(self) -> None:
        self._is_active = False

    def _wait(self) -> None:
        if self._is_active:
            time.sleep(self._extra_s)


def run(fault: str, arguments: list[str]) -> None:
    """Run ``dawan-node`` with the fault. Raises SystemExit for one that there is not."""
    starts: list[Callable[[], None]] = []
    stops: list[Callable[[], None]] = []
    patches: list[Any] = []
    kind, _, extra_ms = fault.partition(":")
    if kind == SLOW_DISK:
        disk = SlowDisk(float(extra_ms or "50") / 1000)
        patches += disk.patches()
        starts.append(disk.start)
        stops.append(disk.stop)
    elif kind not in ATTACKERS:
        raise SystemExit(f"there is no fault {fault!r}; there are {SLOW_DISK}:MS, {', '.join(ATTACKERS)}")
    build = Channel.__init__

    def build_faulty(channel: Channel, *args: Any, **kwargs: Any) -> None:
        build(channel, *args, **kwargs)
        if kind in ATTACKERS:
            demon = Demon(ATTACKERS[kind], channel)
            starts.append(demon.begin_lying)
            stops.append(demon.be_honest)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: [start() for start in starts])
        loop.add_signal_handler(signal.SIGUSR2, lambda: [stop() for stop in stops])

    sys.argv = ["dawan-node", *arguments]
    patches.append(mock.patch.object(Channel, "__init__", build_faulty))
    for patch in patches:
        patch.start()
    main()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
