"""What the protocol itself costs: the real replica with everything around it faked.

    scripts/bench replica [--heights N] [--json FILE]

n replicas decide one block after the other over a queue in memory (``dawan_node.testing.bare_network``): bodies are at
hand, execution is a hash, nothing is logged, signatures are hashes, and each message is decoded once for all receivers.
What is left is the state machine: judging messages, counting votes, building certificates, proposing.

Reads: microseconds of processor time per block and replica, and per message; divide the former by the transactions of
a block (hundreds under load) for the protocol's share of a transaction. ``per_message_us`` should not depend on n; that
``per_block_us`` grows with n is what all-to-all votes cost. ``view change`` is one change of view by everybody, with
nothing prepared.
"""

from __future__ import annotations

import time

from benchmarks.timing import parser_of, tell
from dawan_node.testing.bare_network import BareNetwork


def decide(n: int, heights: int, window: int) -> dict[str, float]:
    """``heights`` blocks by ``n`` replicas with ``window`` proposals in flight."""
    network = BareNetwork(n, window=window, heights=heights, guarded=True)
    started = time.thread_time()
    network.propose()
    network.settle()
    elapsed = time.thread_time() - started
    assert not network.violations
    if any(node.replica.height != heights for node in network.nodes):
        raise SystemExit(f"{n} replicas did not decide {heights} blocks")
    return {
        "per_block_us": elapsed * 1e6 / heights / n,
        "per_message_us": elapsed * 1e6 / network.delivered,
        "messages": network.delivered / heights / n,
    }


def change_view(n: int, changes: int) -> dict[str, float]:
    """``changes`` changes of view, one after the other."""
    network = BareNetwork(n, heights=1)
    started = time.thread_time()
    for view in range(1, changes + 1):
        network.pass_time()
        network.change_view(view)
        network.settle()
    elapsed = time.thread_time() - started
    if any(node.replica.status().view != changes for node in network.nodes):
        raise SystemExit(f"{n} replicas did not change views {changes} times")
    return {
        "per_block_us": elapsed * 1e6 / changes / n,
        "per_message_us": elapsed * 1e6 / network.delivered,
        "messages": network.delivered / changes / n,
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--heights", type=int, default=200)
    parser.add_argument("--passes", type=int, default=5)
    options = parser.parse_args()
    figures = {}
    for n in (4, 7, 10, 22):
        for window in (1, 4):
            heights = max(10, options.heights * 4 // n)
            passes = [decide(n, heights, window) for _ in range(options.passes)]
            best = min(passes, key=lambda each: each["per_block_us"])
            figures[f"n = {n}, {window} in flight: one block"] = best
    for n in (4, 7, 10, 22):
        passes = [change_view(n, 10) for _ in range(options.passes)]
        figures[f"n = {n}: one view change"] = min(passes, key=lambda each: each["per_block_us"])
    tell(figures, options.json)


if __name__ == "__main__":
    main()
