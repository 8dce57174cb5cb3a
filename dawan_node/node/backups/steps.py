"""What follows a restored backup: the commands, in order (docs/backup.md, docs/rekey.md).

The home that a backup was restored into was made by ``init``, so it has a new key and an empty log; what is left is to
put that key in the place of the lost one, by vote, on every channel the node validates (amendment U6).
"""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from dawan_node.node import consortium as consortium_file
from dawan_node.node.backups.manifest import Manifest
from dawan_node.node.home import Home
from dawan_node.node.rekey_steps import admin_of, voting_lines


def steps_to_vote(home: Home, path: Path, manifest: Manifest, name: str, org: str) -> tuple[str, ...]:
    """The lines for the restored home at ``path``; one of an observer only has to run. Raises ConfigError."""
    document = consortium_file.load(home.consortium_file).document
    restored = {channel.channel for channel in manifest.channels}
    channels = [each.name for each in document.channel if name in each.validators and each.name in restored]
    run = f"dawan-node run --home {path}    # it observes, and catches up from its peers"
    if not channels:
        return (run,)
    voting = f"dawan-node run --home {path}    # observes, and votes once enacted; the old {name} must never run again"
    proposal = f"rekey-{name}"
    # Nobody talks to this home before its key is voted in, so the URL is that of a node that runs.
    asking = f"--key {quote(admin_of(document, org))} --home {quote(str(path))} --rpc URL"
    request = path / "network" / "validator-request.toml"
    lines = [
        f"dawan-node network validator-request --home {quote(str(path))} --from {quote(str(path / 'network'))}",
        f"dawan-node network replace-validator {quote(str(request))} {asking}"
        f"    # URL of any node of {org} or, from its own machine, of another that runs",
        *voting_lines(proposal, channels, asking),
    ]
    return (*lines, voting)
