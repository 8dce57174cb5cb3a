"""What an operator does after a validator forgot what it signed: the commands, in order (docs/rekey.md).

A node whose log is lost or older than its database, that was restored from a backup, or that runs from a copy of
another's folder only observes until its validator key is replaced on chain (amendment U6). Everything that tells an
operator so prints these lines, so that there is one way and it is written down once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def rekey_steps(home: Path, name: str, org: str, channels: Sequence[str] = ()) -> tuple[str, ...]:
    """The commands for validator ``name`` of ``org``, whose old home is ``home``, one line each.

    ``channels`` are those it validates; without any, CHANNEL stands in their place.
    """
    new = home.parent / f"{home.name}-new"
    request = new / "network" / "validator-request.toml"
    proposal = f"rekey-{name}"
    lines = [
        f"dawan-node init --home {new} --name {name} --org {org} --ca {home / 'keys' / 'ca'}"
        " --listen HOST:PORT --advertise HOST:PORT",
        f"dawan-node network validator-request --home {new} --from {home / 'network'}",
        f"dawan-node network replace-validator {request} --key ADMIN",
    ]
    for channel in channels or ("CHANNEL",):
        lines += [
            f"dawan-node network vote {proposal} --approve -c {channel} --key ADMIN    # each organisation that votes",
            f"dawan-node network enact {proposal} -c {channel} --key ADMIN",
        ]
    return (*lines, f"dawan-node run --home {new}    # in place of the node in {home}, which is stopped first")
