"""Frames per second: encoding, decoding, and through one real TLS link on loopback.

    python -m benchmarks.framing [--seconds 1.0] [--loop asyncio|uvloop]

Read it like this: a validator at 1,800 transactions a second handles a few hundred consensus frames and gossip batches
a second, so any figure in the tens of thousands means that framing is not the limit. ``link`` counts both ends, sender
and receiver sharing one process and one core.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.timing import parser_of, tell
from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.crypto.trust import Trust
from dawan_node.node.clock import SystemClock
from dawan_node.p2p.framing import KIB, MIB, FrameDecoder, Topic, encode_frame
from dawan_node.p2p.meeting import LocalIdentity
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerAddress, PeerId, Role

CHAIN = hashlib.sha256(b"trade").digest()
SIZES = (200, KIB, 64 * KIB, 4 * MIB)


def per_second(work: Callable[[], int], seconds: float) -> float:
    """How many units a second ``work`` does; it returns how many it did."""
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        done += work()
    return done / elapsed


def bench_encode(size: int, seconds: float) -> float:
    payload = bytes(size)

    def work() -> int:
        for _ in range(100 if size < MIB else 1):
            encode_frame(Topic.SYNC, CHAIN, payload)
        return 100 if size < MIB else 1

    return per_second(work, seconds)


def bench_decode(size: int, seconds: float) -> float:
    """Decode as a link does: from reads of 64 KiB that do not end where frames end."""
    frame = encode_frame(Topic.SYNC, CHAIN, bytes(size))
    count = max(1, 2 * MIB // len(frame))
    stream = frame * count
    reads = [stream[at : at + 64 * KIB] for at in range(0, len(stream), 64 * KIB)]

    def work() -> int:
        decoder = FrameDecoder()
        return sum(len(decoder.feed(read)) for read in reads)

    return per_second(work, seconds)


class Counter:
    """A handler that counts what arrives."""

    def __init__(self) -> None:
        self.messages = 0
        self.up = asyncio.Event()

    def on_message(self, peer: PeerId, chain_id: bytes, topic: Topic, payload: bytes) -> None:
        self.messages += 1

    def on_peer_up(self, peer: PeerId, chain_ids: frozenset[bytes]) -> None:
        self.up.set()

    def on_peer_down(self, peer: PeerId) -> None:
        self.up.clear()


async def bench_link(size: int, seconds: float) -> float:
    """Messages a second from one network to another over TLS 1.3."""
    now = datetime.now(UTC)
    authority = make_authority("gz", now)
    keys = {name: PrivateKey.generate() for name in ("gz1", "gz2")}
    handlers = {name: Counter() for name in keys}

    def network(name: str, listen: str | None, peers: list[PeerAddress]) -> Network:
        identity = LocalIdentity(
            network="bench",
            name=name,
            org="gz",
            role=Role.VALIDATOR,
            key=keys[name],
            tls=issue_node_certificate(authority, "gz", name, [], now),
        )
        trust = Trust({"gz": [authority.certificate]})
        return Network(identity, peers, trust, lambda certificate: (CHAIN,), listen, handlers[name], SystemClock())

    server = network("gz2", "127.0.0.1:0", [PeerAddress("gz1", "gz", keys["gz1"].public_key)])
    await server.start()
    address = server.listen_address
    assert address is not None
    client = network("gz1", None, [PeerAddress("gz2", "gz", keys["gz2"].public_key, (address,))])
    await client.start()
    await asyncio.gather(*(handler.up.wait() for handler in handlers.values()))
    payload = bytes(size)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        while client.send("gz2", CHAIN, Topic.SYNC, payload):
            pass
        await asyncio.sleep(0)
    sent = handlers["gz2"].messages
    elapsed = time.perf_counter() - started
    await client.stop()
    await server.stop()
    return sent / elapsed


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each measurement takes")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    loop_factory = None
    if options.loop == "uvloop":
        import uvloop

        loop_factory = uvloop.new_event_loop
    figures = {}
    for size in SIZES:
        encode = bench_encode(size, options.seconds)
        decode = bench_decode(size, options.seconds)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            link = runner.run(bench_link(size, options.seconds))
        figures[f"{size:,} bytes, {options.loop}"] = {
            "encode/s": encode,
            "decode/s": decode,
            "link/s": link,
            "link MB/s": link * size / 1e6,
        }
    tell(figures, options.json)


if __name__ == "__main__":
    main()
