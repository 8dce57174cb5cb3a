"""The daemon process: event loop, signals, exit code.

An operating error ends the process with a reason in the log and an exit code that an init system can act on: storage
in doubt is 74 (EX_IOERR), because a restart may repair it from peers; anything an operator must fix is 1.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Final

from dawan_node import failpoints
from dawan_node.errors import OperatorError, StorageError
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import node_clock
from dawan_node.node.config import Config, parse_address
from dawan_node.node.consortium import Consortium
from dawan_node.node.fail_stop import EXIT_STORAGE, FailStop, end, first_of
from dawan_node.node.home import Home, NodeKeys
from dawan_node.node.logs import fields
from dawan_node.node.node import Node
from dawan_node.node.verification import notices, verify_start
from dawan_node.storage.files import make_private_directory
from dawan_node.storage.lock import NodeLock

log = logging.getLogger(__name__)

#: The collector looks at young objects after so many more were made than freed, at those that survived it 20 rounds
#: later, and at all of them 50 rounds after that. Nearly everything a transaction leads to is freed by its reference
#: count; with the defaults of 700, 10 and 10 the collector still went over the pool and the blocks in flight several
#: times a second, a twentieth of a busy node's processor time. What it may find late is bounded: so many containers are
#: some 10 MB.
GC_THRESHOLDS: Final = (50_000, 20, 50)

#: Threads that verify and execute share the interpreter with the event loop; the default of 5 ms makes each hand-over
#: to a waiting thread that late, which adds up over the steps of a commit.
SWITCH_INTERVAL_S: Final = 0.001


def run_node(config: Config, home: Home, keys: NodeKeys) -> None:
    """Run the node until it is told to stop. Raises OperatorError; exits with 74 when storage is in doubt."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
    make_private_directory(home.data)
    lock = NodeLock.acquire_home(home.data)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(config, home, keys))
    except* OperatorError as group:
        raise first_of(group) from None
    except* StorageError as group:
        end(first_of(group), home.data)
        sys.exit(EXIT_STORAGE)
    finally:
        lock.release()


def _arm_failpoint(faults: bool) -> None:
    """Arm the failpoint of the environment, if there is one. Raises OperatorError."""
    wanted = os.environ.get(failpoints.VARIABLE)
    if wanted is None:
        return
    if not faults:
        raise OperatorError(
            f"{failpoints.VARIABLE} is set",
            "it would kill this node, which is for local test networks alone",
            f"Unset {failpoints.VARIABLE}, or set [devnet] faults = true in node.toml of a test network.",
        )
    try:
        failpoints.arm(wanted)
    except ValueError as error:
        raise OperatorError(
            f"{failpoints.VARIABLE} cannot be honoured",
            str(error),
            "Give NAME or NAME:COUNT; the names are in dawan_node/failpoints.py.",
        ) from None


async def _run(config: Config, home: Home, keys: NodeKeys) -> None:
    _arm_failpoint(config.devnet.faults)
    consortium = consortium_file.load(home.consortium_file)
    clock = node_clock(home.data, faults=config.devnet.faults)
    problems = verify_start(home, config.node, consortium, clock.now())
    if problems:
        raise problems[0]
    _require_free_addresses(config)
    _report_what_to_know(config, home, consortium)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    fail_stop = FailStop(home.data)
    while True:
        node = Node(config, home, keys, consortium, clock, fail_stop)
        loop.add_signal_handler(signal.SIGHUP, node.look_at_files)
        # What exists now lives as long as the node; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        await node.run(stop)
        if stop.is_set() or not node.must_reopen:
            return
        gc.unfreeze()
        log.info("node_reopens", extra=fields(node=config.node.name))


def _report_what_to_know(config: Config, home: Home, consortium: Consortium) -> None:
    """Nothing here is wrong; but an operator who does not know it will be surprised one day."""
    for text in notices(home, config.node, consortium):
        log.warning("notice", extra=fields(text=text))
    for channel in consortium.channels_for(config.node.org):
        facts = consortium_file.channel_facts(consortium.document, channel)
        if facts.crash_only:  # amendment A10
            log.warning(
                "crash_only",
                extra=fields(channel=channel, n=facts.n, text="one validator that lies can fork this channel"),
            )


def _require_free_addresses(config: Config) -> None:
    """Every address can be listened on, asked before anything is opened: a validator must not join and leave again
    because its metrics have no port. Raises OperatorError."""
    for section, listen in (("p2p", config.p2p.listen), ("rpc", config.rpc.listen), ("ops", config.ops.listen)):
        host, port = parse_address(listen)
        try:
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError as error:
            raise OperatorError(
                f"cannot listen on {listen}",
                os.strerror(error.errno) if error.errno else str(error),
                f"Stop what uses it, or choose another address under [{section}] listen in node.toml.",
            ) from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (extra ``fast``), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
