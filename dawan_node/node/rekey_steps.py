"""What an operator does after a validator forgot what it signed: the commands, in order (docs/rekey.md).

A node whose log is lost or older than its database, that was restored from a backup, or that runs from a copy of
another's folder only observes until its validator key is replaced on chain (amendment U6). Everything that tells an
operator so prints these lines, so that there is one way and it is written down once. They can be pasted as they stand:
the old home says where the node listens and which key its administrator has, and its node, which observes, passes the
transactions on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from dawan_node.node.config import Config
from dawan_node.node.consortium import Document

ADMIN_ROLE = "org_admin"


def admin_of(document: Document, org: str) -> str:
    """The key that ``org`` proposes and votes with: its first administrator's, ADMIN where the file names none."""
    names = [entry.name for entry in document.identity if entry.org == org and ADMIN_ROLE in entry.roles]
    return names[0] if names else "ADMIN"


def listening(config: Config) -> str:
    """The options that give a new home the addresses of this one."""
    options = [("--listen", config.p2p.listen)]
    options += [("--advertise", address) for address in config.p2p.advertise]
    options += [("--rpc-listen", config.rpc.listen), ("--ops-listen", config.ops.listen)]
    return " ".join(f"{option} {quote(address)}" for option, address in options)


def voting_lines(proposal: str, channels: Sequence[str], options: str) -> list[str]:
    """How a proposal is voted on and enacted on each channel; ``options`` name key, home and node."""
    lines: list[str] = []
    for channel in channels:
        lines += [
            f"dawan-node network vote {proposal} --approve -c {channel} {options}"
            "    # and each other organisation that votes, with its own --key and --home",
            f"dawan-node network enact {proposal} -c {channel} {options}",
        ]
    return lines


def rekey_steps(
    home: Path,
    name: str,
    org: str,
    channels: Sequence[str] = (),
    *,
    addresses: str = "--listen HOST:PORT --advertise HOST:PORT",
    admin: str = "ADMIN",
) -> tuple[str, ...]:
    """The commands for validator ``name`` of ``org``, whose old home is ``home``, one line each.

    ``channels`` are those it validates; without any, CHANNEL stands in their place. ``addresses`` as ``listening`` has
    them, ``admin`` as ``admin_of`` does.
    """
    old, new = home.absolute(), home.absolute().with_name(f"{home.absolute().name}-new")
    asking = f"--key {quote(admin)} --home {quote(str(old))}"
    lines = [
        f"dawan-node init --home {quote(str(new))} --name {name} --org {org} --ca {quote(str(old / 'keys' / 'ca'))}"
        f" {addresses}",
        f"dawan-node network validator-request --home {quote(str(new))} --from {quote(str(old / 'network'))}",
        f"dawan-node network replace-validator {quote(str(new / 'network' / 'validator-request.toml'))} {asking}",
        *voting_lines(f"rekey-{name}", channels or ("CHANNEL",), asking),
    ]
    return (
        *lines,
        f"dawan-node run --home {quote(str(new))}    # in place of the node in {old}, which is stopped first",
    )
