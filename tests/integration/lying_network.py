"""A network of four real nodes, one of which is the lying program, and what the other three say about it."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from network_kit import CHANNEL, Network

from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.errors import DawanError

PROGRAM = Path(__file__).with_name("byzantine_node.py")


class _Processes(Processes):
    """One node runs another program."""

    def __init__(self, devnet: Devnet, liar: DevnetNode, behaviour: str) -> None:
        super().__init__(devnet)
        self._liar = liar
        self._behaviour = behaviour

    def command(self, node: DevnetNode) -> list[str]:
        python, _, _, *arguments = command = super().command(node)
        return [python, str(PROGRAM), self._behaviour, *arguments] if node == self._liar else command


class LyingNetwork(Network):
    """The liar is honest until ``lie``."""

    def __init__(self, folder: Path, behaviour: str, *, is_primary: bool) -> None:
        """``is_primary``: the liar is the primary of view 0, else one of the other three."""
        super().__init__(folder, 4)
        validators = self.genesis.validator_set
        self.liar_index = (validators.primary(self.chain_id, 0, 0) + (0 if is_primary else 2)) % validators.n
        key = validators.public_keys[self.liar_index]
        self.liar = self.devnet.find(next(entry.name for entry in self.genesis.validators if entry.public_key == key))
        self.honest = tuple(node for node in self.nodes if node != self.liar)
        self.processes = _Processes(self.devnet, self.liar, behaviour)

    def start_all(self) -> None:
        """Start the nodes; nothing is committed yet, so everybody is in view 0."""
        for node in self.nodes:
            self.processes.start(node)
        for node in self.nodes:
            self.wait_answering(node)
        self.wait_linked()

    def lie(self) -> None:
        self._tell_liar(signal.SIGUSR1)

    def be_honest(self) -> None:
        self._tell_liar(signal.SIGUSR2)

    def _tell_liar(self, which: signal.Signals) -> None:
        pid = self.processes.pid(self.liar)
        assert pid is not None, f"the liar ended: {self.processes.last_words(self.liar)}"
        os.kill(pid, which)

    @property
    def lies(self) -> Counter[str]:
        """How often it lied about the channel, by kind of lie."""
        lines = re.findall(rf'lie channel={CHANNEL} what="?([^"\n]+)', self._log(self.liar))
        return Counter(lines)

    def accusations(self) -> dict[str, set[tuple[str, int]]]:
        """What each honest node can prove: (kind of lie, validator index) by node."""
        pattern = re.compile(rf"evidence channel={CHANNEL} kind=(\S+) voter=(\d+)")
        return {
            node.name: {(kind, int(voter)) for kind, voter in pattern.findall(self._log(node))} for node in self.honest
        }

    def is_replaced(self) -> bool:
        """Whether all honest nodes have left view 0 and another than the liar is their primary."""
        try:
            states = [self.ask(node, "pbft_status", CHANNEL) for node in self.honest]
        except DawanError:
            return False
        return all(state["view"] > 0 and state["primary"] != self.liar.name for state in states)

    def _log(self, node: DevnetNode) -> str:
        return self.processes.log_file(node).read_text(encoding="utf-8", errors="replace")


@contextmanager
def lying(folder: Path, behaviour: str, *, is_primary: bool = True) -> Iterator[LyingNetwork]:
    """A running network whose liar lies from now on; stopped at the end, whatever happens."""
    network = LyingNetwork(folder / "net", behaviour, is_primary=is_primary)
    try:
        network.start_all()
        network.lie()
        yield network
    finally:
        network.processes.stop(network.nodes)
