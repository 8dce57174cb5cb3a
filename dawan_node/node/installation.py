"""Taking over the public files of a network into a home (``network verify --from FOLDER``).

Nothing is written before everything is right, and a chain this home already has blocks of is never given another
genesis: the votes this node signed belong to the old one.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node import consortium as consortium_file
from dawan_node.node.assembly import files
from dawan_node.node.config import NodeSection
from dawan_node.node.consortium import Consortium
from dawan_node.node.home import Home
from dawan_node.node.public_files import replace_files
from dawan_node.node.verification import check_genesis_files, check_registered_authorities, verify_home


def check_folder(home: Home, node: NodeSection, folder: Path, now: datetime) -> tuple[Consortium, list[OperatorError]]:
    """The consortium in ``folder`` and every reason why this home must not take it over.

    Raises ConfigError when the folder holds no readable consortium at all.
    """
    found = consortium_file.load(folder / home.consortium_file.name)
    return found, [*verify_home(home, node, found, now, folder=folder), *_check_running(home, found)]


def check_public_files(home: Home, folder: Path, found: Consortium, now: datetime) -> list[OperatorError]:
    """Every reason why this home must not take over ``found`` from ``folder``, whether or not this node is in it."""
    return [
        *check_genesis_files(folder, found),
        *check_registered_authorities(found, now, tolerated=("expired",)),
        *_check_running(home, found),
    ]


def install(home: Home, checked: Consortium) -> list[Path]:
    """Put a consortium that ``check_folder`` found right into HOME/network; the paths. Raises ConfigError.

    What is written is computed from what was checked, not copied from a folder that may change meanwhile.
    """
    return replace_files(home.network, files(checked))


def _check_running(home: Home, found: Consortium) -> list[OperatorError]:
    """Every channel this home has a ledger of keeps its genesis."""
    if not home.data.is_dir():
        return []
    problems: list[OperatorError] = []
    for database in sorted(home.data.glob("*/db")):
        channel = database.parent.name
        path = home.genesis_file(channel)
        if channel not in found.channels:
            why = "this home has a ledger of it, and the new consortium has no such channel"
        elif not path.exists():
            why = f"this home has a ledger of it, and {path} is missing, so nobody can say of which genesis"
        elif path.read_bytes() != found.genesis(channel).encoded:
            why = f"this home has a ledger of it, which began with another genesis than 0x{_chain(found, channel)}"
        else:
            continue
        problems.append(
            ConfigError(f"channel {channel} runs in this home", why, "Use another --home for the other network.")
        )
    return problems


def _chain(found: Consortium, channel: str) -> str:
    return found.genesis(channel).chain_id.hex()
