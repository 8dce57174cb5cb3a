"""The real node program, with a liar around the consensus of each of its channels.

    python byzantine_node.py BEHAVIOUR run --home HOME ...

Everything after BEHAVIOUR goes to ``dawan-node`` as it is. The node is honest until it is sent SIGUSR1, and again after
SIGUSR2; each lie is a line ``lie channel=... what=...`` in its log.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dawan_node.cli.main import main
from dawan_node.node.channel import Channel
from dawan_node.node.logs import fields
from tests.node.liars import LIARS, Liar

log = logging.getLogger("dawan_node.lies")


def run(behaviour: str, arguments: list[str]) -> None:
    liars: list[Liar] = []
    build = Channel.__init__

    def build_lying(channel: Channel, *args: Any, **kwargs: Any) -> None:
        build(channel, *args, **kwargs)
        kind = LIARS[behaviour]
        liars.append(
            kind(
                channel,
                random.Random(channel.chain_id),
                lambda what: log.warning("lie", extra=fields(channel=channel.name, what=what)),
            )
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: [liar.start() for liar in liars])
        loop.add_signal_handler(signal.SIGUSR2, lambda: [liar.stop() for liar in liars])

    sys.argv = ["dawan-node", *arguments]
    with mock.patch.object(Channel, "__init__", build_lying):
        main()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2:])
