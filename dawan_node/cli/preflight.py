"""What a change of the validators would mean now: n, f, q before and after, and who is live (amendment L13).

The chain judges a change by its state alone, because liveness looks different from every node. So the commands that
propose, approve and enact one look first, from the node they talk to, and refuse what would leave fewer live validators
than a quorum: from that block on the channel would decide nothing, not even the way back.

A validator counts as live when the asked node has a link with it, it is not behind, and it signed one of the last
blocks. Of a channel with fewer than ``BLOCKS_MIN`` blocks the last is not asked: who was slow for so few blocks is not
dead. A new key counts as live only if its node is linked already, as an observer is; a re-keyed home is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import print_table
from dawan_node.primitives.validators import fault_bound, quorum

if TYPE_CHECKING:
    from dawan_node.rpc.client import Client

#: Certificates looked at: a validator that votes, however slowly, is among the first q of some of so many.
BLOCKS_MAX: Final = 64
BLOCKS_MIN: Final = 16
#: Nodes say how far they are once a second, in which a busy channel decides tens of blocks; further behind is away.
BEHIND_MAX: Final = 200

#: Kinds of proposals that change the validators.
KINDS: Final = ("validator_added", "validator_key", "validator_removed")


@dataclass(frozen=True, slots=True)
class Validator:
    """One line of the picture. ``state`` says in words why ``live``, or why not."""

    name: str
    org: str
    live: bool
    state: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Before and after. ``live_after`` counts validators of the changed set that are live now."""

    channel: str
    before: tuple[Validator, ...]
    n_after: int
    live_after: int

    @property
    def live_before(self) -> int:
        return sum(each.live for each in self.before)

    @property
    def stalls(self) -> bool:
        """Whether the changed set would decide nothing until somebody else comes back."""
        return self.live_after < quorum(self.n_after)

    def warnings(self) -> list[str]:
        """What voters should weigh."""
        n, after = len(self.before), self.n_after
        found = []
        if fault_bound(after) < fault_bound(n):
            found.append(
                f"with {after} validators f drops from {fault_bound(n)} to {fault_bound(after)}"
                + (": one validator that lies can fork the channel" if not fault_bound(after) else "")
            )
        elif not fault_bound(after):
            found.append(f"{after} validators bear no liar (f = 0)")
        if after < n and quorum(after) == quorum(n):
            found.append(f"the quorum stays {quorum(n)} although one validator less is there")
        if self.live_after == quorum(after) and after > 1:
            found.append("exactly a quorum is live after it: the channel stops when one more of them stops")
        return found

    def show(self) -> None:
        """For eyes, to standard error, where every command of a proposal says what it is about to do."""
        n = len(self.before)
        print_table(
            {"name": "VALIDATOR", "org": "ORGANISATION", "live": "LIVE", "state": "SEEN FROM HERE"},
            [{"name": v.name, "org": v.org, "live": v.live, "state": v.state} for v in self.before],
        )
        for title, count, live in (("now", n, self.live_before), ("after", self.n_after, self.live_after)):
            click.echo(f"  {title:<6} n = {count}, f = {fault_bound(count)}, quorum = {quorum(count)}, live = {live}")
        for warning in self.warnings():
            click.echo(f"  warning: {warning}")


def check(client: Client, channel: str, kind: str, name: str, public_key: str, *, override: bool) -> Picture:
    """Look, show, and refuse what would stop the channel unless ``override``. Raises CommandFailed."""
    picture = look(client, channel, kind, name, public_key)
    picture.show()
    if picture.stalls and not override:
        n = picture.n_after
        raise CommandFailed(
            ExitCode.FAILED,
            f"{kind} {name} on channel {channel} is not sent",
            f"of {n} validators {picture.live_after} would be live, {quorum(n)} are needed: the channel would stop",
            "Bring the missing validators back first, or give --even-if-it-stops.",
        )
    if picture.stalls:
        click.echo("  warning: the channel will stand still until more validators are live", err=True)
    return picture


def look(client: Client, channel: str, kind: str, name: str, public_key: str) -> Picture:
    """The picture from one node: its links, its own state, and the last blocks' certificates."""
    listed = client.chain_getValidators(channel, "latest")["validators"]
    own = client.node_status()["node"]
    state = client.pbft_status(channel)
    peers = {peer["name"]: peer for peer in client.net_peers() if channel in peer["channels"]}
    blocks, signers = _signers(client, channel, {each["name"] for each in listed}, int(state["epoch"]))
    before = tuple(
        Validator(
            each["name"],
            each["org"],
            *_seen(each["name"], own, state, peers.get(each["name"]), blocks, signers, channel),
        )
        for each in listed
    )
    live = {each.name for each in before if each.live}
    names = {each.name for each in before}
    if kind == "validator_removed":
        names, live = names - {name}, live - {name}
    elif kind == "validator_key":
        live = live - {name}
    else:
        names = names | {name}
        peer = peers.get(name)
        if name == own or (peer is not None and not _is_behind(peer, channel)):
            live = live | {name}
    return Picture(channel, before, len(names), len(live))


def _signers(client: Client, channel: str, names: set[str], epoch: int) -> tuple[int, set[str]]:
    """How many blocks of this epoch were looked at, newest first, and who signed one of them."""
    height = int(client.chain_head(channel)["height"])
    looked, found = 0, set[str]()
    for at in range(height, max(0, height - BLOCKS_MAX), -1):
        block = client.chain_getBlock(channel, at)
        if int(block["header"]["epoch"]) != epoch:
            break
        looked += 1
        found |= set(block["commit"]["signers"])
        if names <= found:
            break
    return looked, found


def _seen(
    name: str,
    own: str,
    state: dict[str, Any],
    peer: dict[str, Any] | None,
    blocks: int,
    signers: set[str],
    channel: str,
) -> tuple[bool, str]:
    if name == own:
        works = state["state"] in ("normal", "view_change")
        return works, "the node asked" if works else f"the node asked; its state is {state['state']}"
    if peer is None:
        return False, "no link"
    if _is_behind(peer, channel):
        return False, f"linked, {peer['behind'][channel]} blocks behind"
    if name in signers or any(name in slot["have"] for slot in state["in_flight"]):
        return True, "linked, votes"
    if blocks < BLOCKS_MIN:
        return True, f"linked, among the signers of none of {blocks} blocks"
    return False, f"linked, signed none of the last {blocks} blocks"


def _is_behind(peer: dict[str, Any], channel: str) -> bool:
    return int(peer["behind"].get(channel, 0)) > BEHIND_MAX
