"""A test network that was created: its nodes, where they listen, and the files that say so.

Light, because every ``devnet`` command needs it; ``devnet_creation`` makes such networks.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dawan_node.errors import OperatorError

if TYPE_CHECKING:
    from dawan_node.crypto.signatures import PrivateKey
    from dawan_node.node.home import Home

STATE_FILE: Final = "devnet.json"


@dataclass(frozen=True, slots=True)
class DevnetNode:
    """One node of the network and where it listens."""

    name: str
    org: str
    p2p: str
    rpc: str
    ops: str

    @property
    def rpc_url(self) -> str:
        """JSON-RPC."""
        return f"http://{self.rpc}"

    @property
    def ops_url(self) -> str:
        """Health, metrics, fault injection."""
        return f"http://{self.ops}"


@dataclass(frozen=True, slots=True)
class Devnet:
    """A network that was created in ``folder``."""

    folder: Path
    nodes: tuple[DevnetNode, ...]

    @property
    def passphrase_file(self) -> Path:
        """One passphrase for all keys of the test network."""
        return self.folder / "passphrase"

    @property
    def environment_file(self) -> Path:
        """Shell variables with the URLs, and the path to this program; the examples of the README source it."""
        return self.folder / "env"

    def home(self, node: DevnetNode) -> Home:
        """The node's folder."""
        from dawan_node.node.home import Home

        return Home(self.folder / node.name)

    def links_kept(self) -> dict[str, int]:
        """How many links each node keeps up, by its name: with many nodes, observers keep a few."""
        from dawan_node.node.consortium import load
        from dawan_node.p2p.link_plan import links_kept
        from dawan_node.p2p.peers import Role

        consortium = load(self.home(self.nodes[0]).consortium_file)
        votes = {node.name: consortium.is_validator(node.name) for node in self.nodes}
        validators = sum(votes.values())
        return {
            name: links_kept(validators, len(votes) - validators, Role.VALIDATOR if is_one else Role.OBSERVER)
            for name, is_one in votes.items()
        }

    def find(self, text: str) -> DevnetNode:
        """A node by name or by its number from 0. Raises OperatorError."""
        for number, node in enumerate(self.nodes):
            if text in (node.name, str(number)):
                return node
        names = ", ".join(f"{number} = {node.name}" for number, node in enumerate(self.nodes))
        raise OperatorError(f"there is no node {text!r}", f"the nodes are {names}", "Name one of them.")

    def identity_keys(self) -> dict[str, PrivateKey]:
        """The key of every identity, unlocked: what the demo signs with."""
        from dawan_node.crypto.keystore import load_signing_key

        passphrase = self.passphrase_file.read_bytes().strip()
        keys: dict[str, PrivateKey] = {}
        for node in self.nodes:
            home = self.home(node)
            for path in sorted(home.keys.glob("*.key.json")):
                name = path.name.removesuffix(".key.json")
                if name not in ("node", "tls"):
                    keys[name] = load_signing_key(path, passphrase)
        return keys

    def save(self) -> None:
        """Write the state file and the environment file."""
        state = {"nodes": [asdict(node) for node in self.nodes]}
        (self.folder / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        # So that the commands on `devnet up`'s screen work as printed, wherever the virtual environment is.
        lines = [f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"]
        lines.append(f"export DAWAN_RPC={self.nodes[0].rpc_url}")
        for node in self.nodes:
            lines.append(f"export {node.name.upper().replace('-', '_')}_RPC={node.rpc_url}")
            lines.append(f"export {node.name.upper().replace('-', '_')}_OPS={node.ops_url}")
        self.environment_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(folder: Path) -> Devnet:
    """The network that was created in ``folder``. Raises OperatorError when there is none."""
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        return Devnet(folder, tuple(DevnetNode(**node) for node in state["nodes"]))
    except FileNotFoundError:
        raise OperatorError(
            f"there is no test network in {folder}", f"{STATE_FILE} is missing", "Start one: dawan-node devnet up."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            f"{folder / STATE_FILE} cannot be used", str(error), "Remove the folder and run `dawan-node devnet up`."
        ) from None


def exists(folder: Path) -> bool:
    """Whether a network was created in ``folder``."""
    return (folder / STATE_FILE).exists()
