"""``proof relay``: carry what one channel proves to another, once or for as long as it runs.

    proof relay --from trade --to logistics --key relay --once shipper/R-1     one reservation, now
    proof relay --from trade --to logistics --key relay --sweep                all that wait, and end
    proof relay --from trade --to logistics --key relay                        all, as they come, until it is stopped

It needs a key that is anybody's on the channel it sends to, and decides nothing there: every proof is verified by that
channel. It brings its client of the other channel into each new epoch on the way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dawan_node.cli.connect import connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_delivery import Patience, journal_option, patience_option
from dawan_node.cli.options import one_line, output_option
from dawan_node.cli.proof_options import source_options

if TYPE_CHECKING:
    from dawan_node.cli.relay_sending import JournaledSending
    from dawan_node.cli.stopping import Stop
    from dawan_node.relay.carrier import Carried, Carrier, ChainRefused
    from dawan_node.relay.source import Source
    from dawan_node.relay.target import Target
    from dawan_node.rpc.client import Client, TransactionKey


@click.command("relay")
@source_options
@click.option("--to", "target", metavar="CHANNEL", required=True, help="The channel that keeps the titles.")
@click.option("--key", required=True, help="Signs on --to: a name in --home, or a key file. Any active identity may.")
@click.option("--once", metavar="OWNER/NUMBER", help="Settle this reservation, and end.")
@click.option("--at", type=click.IntRange(1), help="Prove it at this height of --from (with --once).")
@click.option("--sweep", is_flag=True, help="Settle all that can be, and end.")
@click.option(
    "--interval", type=click.IntRange(1, 3_600), default=2, show_default=True, help="Seconds between two looks."
)
@click.option("--tick", is_flag=True, help="Have an idle --from make a block once a term is over; the key signs there.")
@patience_option
@journal_option
@rpc_options
@output_option
def relay(
    source: str,
    target: str,
    from_rpc: str | None,
    from_rpc_node: str | None,
    key: str,
    once: str | None,
    at: int | None,
    sweep: bool,
    interval: int,
    tick: bool,
    patience: int,
    journal: Path | None,
    rpc: str | None,
    home: Path,
    output: str,
) -> None:
    """Carry proofs of what became of reserved titles from one channel to another.

    Without --once or --sweep it goes on until it is stopped, also where a node does not answer for --patience seconds;
    started again after any end it does nothing twice.
    """
    if once and sweep:
        raise click.UsageError("Choose --once or --sweep.")
    if at is not None and not once:
        raise click.UsageError("--at goes with --once.")
    if tick and (once or sweep):
        raise click.UsageError("--tick goes with following: without --once and --sweep.")
    from dawan_node.cli.relay_sending import JournaledSending, journal_of
    from dawan_node.cli.stopping import Stop, Stopped
    from dawan_node.relay.carrier import Carrier, ChainRefused

    stop, follows = Stop(), not (once or sweep)
    try:
        with ExitStack() as stack:
            if follows:
                stack.enter_context(stop.listening())
            # Nothing is written or sent yet: the prompt for a passphrase may be cut off, too.
            with stop.interruptible():
                client = other = stack.enter_context(connected(rpc, home, submits=True, client=stop.client))
                if from_rpc:
                    other = stack.enter_context(connected(from_rpc, home, node=from_rpc_node, client=stop.client))
                proving, believing, private = _places(client, target, other, source, key, home)
            opened = stack.enter_context(journal_of(believing, private, f"relay from {source}", home, journal))
            sending = JournaledSending(believing, private, opened, Patience(patience, wait=stop.rest))
            carrier = Carrier(proving, believing, sending, _shown_as(output))
            if sending.resume():
                stop.raise_if_asked()
                raise sending.no_answer()
            try:
                if once:
                    _settle_one(carrier, sending, once, at, output)
                elif sweep:
                    _sweep(carrier, sending, interval)
                else:
                    _follow(carrier, stop, interval, _ticking(carrier, private) if tick else None)
            except ChainRefused as error:
                raise refused(client, target, error) from None
    except Stopped:
        assert follows, "nobody else listens"
    if follows:
        click.echo("stopped; started again it goes on", err=True)


def _places(
    client: Client, target: str, other: Client, source: str, key: str, home: Path
) -> tuple[Source, Target, TransactionKey]:
    from dawan_node.cli.sending import signing_key
    from dawan_node.relay.source import Source
    from dawan_node.relay.target import Target, require_allowed

    proving, believing = Source(other, source), Target(client, target)
    private = signing_key(key, home, passphrase_file_of_command())
    require_allowed(client, target, private.public_key)
    return proving, believing, private


def _ticking(carrier: Carrier, key: TransactionKey) -> Callable[[], None]:
    """What makes the source make a block; a second one does no harm, so no journal is kept of them."""
    from dawan_node.relay.target import require_allowed

    client, channel = carrier.source.client, carrier.source.channel
    require_allowed(client, channel, key.public_key)
    return lambda: client.send(channel, key, "governance", "tick", {}, wait="accepted")


def _settle_one(carrier: Carrier, sending: JournaledSending, name: str, at: int | None, output: str) -> None:
    found = carrier.settle(name, "latest" if at is None else at)
    if isinstance(found, str):
        if output == "json":
            click.echo(json.dumps({"record": name, "state": found, "already": True}))
        else:
            click.echo(f"{one_line(name)}: {found} already, nothing to carry")
    elif not found.outcome.is_known:
        raise sending.no_answer()


def _sweep(carrier: Carrier, sending: JournaledSending, interval: int) -> None:
    found = _follower(carrier, interval, lambda seconds: True, None).look()
    click.echo(
        f"{found.carried} settled, {found.refused} refused, {found.waiting - found.carried - found.refused} wait",
        err=True,
    )
    if found.unknown:
        raise sending.no_answer()
    if found.refused:
        raise CommandFailed(
            ExitCode.REJECTED,
            f"{found.refused} reservations were not settled",
            "each has its reason above",
            "Correct the causes; what was settled stays so.",
        )


def _follow(carrier: Carrier, stop: Stop, interval: int, tick: Callable[[], None] | None) -> None:
    click.echo(
        f"carrying from {carrier.source.channel} to {carrier.target.channel} as it comes; Ctrl-C stops it", err=True
    )
    _follower(carrier, interval, stop.rest, tick).run()


def _follower(carrier: Carrier, interval: int, rest: Callable[[float], bool], tick: Callable[[], None] | None) -> Any:
    from dawan_node.relay.follower import Follower

    return Follower(
        carrier,
        interval_s=interval,
        rest=rest,
        now_s=time.monotonic,
        wall_ms=lambda: time.time_ns() // 1_000_000,
        tell=lambda text: click.echo(one_line(text), err=True),
        tick=tick,
    )


def _shown_as(output: str) -> Callable[[Carried], None]:
    def show(carried: Carried) -> None:
        errand, outcome = carried.errand, carried.outcome
        if output == "json":
            row = {
                "record": errand.about,
                "command": f"{errand.module}.{errand.command}",
                "state": errand.leads_to if carried.is_done else "",
                "tx_id": outcome.tx_id,
                "height": outcome.height,
                "reason": outcome.reason,
            }
            click.echo(json.dumps(row))
        elif carried.is_done:
            state = errand.leads_to or "carried"
            click.echo(one_line(f"{errand.about}: {state} in block {outcome.height}, tx {outcome.tx_id}"))
        else:
            said = "refused" if outcome.is_known else "not known yet"
            click.echo(one_line(f"{errand.about}: {said}, {outcome.reason}, tx {outcome.tx_id}"), err=True)

    return show


def refused(client: Client, channel: str, error: ChainRefused) -> CommandFailed:
    """The chain's refusal in the module's own words (4), or that nobody knows (5)."""
    from dawan_node.errors import DawanError

    errand, outcome = error.carried.errand, error.carried.outcome
    if not outcome.is_known:
        return CommandFailed(
            ExitCode.TIMED_OUT,
            f"{errand.about} is not known yet",
            outcome.message or outcome.reason,
            "Run the same command again: it sends the same bytes first.",
        )
    try:
        meaning = str(client.module_describe(channel, errand.module)["errors"].get(outcome.reason, ""))
    except (DawanError, ValueError, KeyError, AttributeError, TypeError):
        meaning = ""  # a courtesy: the reason says it
    why = meaning.rstrip(".") or outcome.message or "the chain refused it"
    fix = "Sending the same again gives the same answer: correct the cause first."
    return CommandFailed(ExitCode.REJECTED, outcome.reason, f"{errand.about} changed nothing: {why}", fix)
