"""``proof``: fetch what one channel proves to another, in the form in which the other's commands take it.

    proof state title title SMDG-HMM/HKG-1 --channel logistics      a record, or that there is none
    proof epoch 0 --channel logistics > args.json                   arguments of light_client.advance_client
    proof source --channel logistics --module title > args.json     arguments of light_client.propose_client
    proof send lc present_documents --from logistics ...            a command with proofs of another channel in it
    proof relay --from trade --to logistics ...                     what became of reserved titles, as it happens

The first three print one JSON document. Whoever carries it need not be trusted: the channel that gets it verifies every
signature.
Only ``proof source`` is believed as it is, by those who vote for it; run it against a node of your own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.lazy import TableGroup
from dawan_node.cli.options import print_json
from dawan_node.errors import InvalidEncoding, InvalidProof
from dawan_node.rpc.client import Client
from dawan_node.rpc.values import from_hex, to_hex, to_instant

if TYPE_CHECKING:
    from dawan_node.relay.source import EpochEnd

# name -> (module, attribute, line for --help)
COMMANDS: Final = {
    "send": ("dawan_node.cli.proof_send", "send", "Send a command with proofs of another channel in it."),
    "relay": ("dawan_node.cli.proof_relay", "relay", "Carry to a channel what became of its reserved titles."),
}


@click.group(cls=TableGroup, table=COMMANDS)
def proof() -> None:
    """Fetch what one channel proves to another, and carry it there."""


@proof.command()
@click.argument("module")
@click.argument("collection")
@click.argument("key")
@click.option("--at", default="latest", help="Height or block hash.")
@channel_option
@rpc_options
def state(module: str, collection: str, key: str, at: str, channel: str | None, rpc: str | None, home: Path) -> None:
    """The proof of one entry of MODULE's COLLECTION, or that there is none. KEY is text, or bytes as 0x...

    Give `proof` of the output as it is to the command of the other channel that asks for one.
    """
    encoded = key if key.startswith("0x") else key.encode()
    with connected(rpc, home) as client:
        place = channel_of(client, channel)
        found = client.state_get(place, module, collection, encoded, int(at) if at.isdecimal() else at, True)
    print_json(
        {
            "channel": place,
            "module": module,
            "collection": collection,
            "key": key,
            "value": found["value"],
            **_block_of(found["proof"]),
            "proof": found["proof"],
        }
    )


@proof.command()
@click.argument("epoch", type=click.IntRange(0))
@channel_option
@rpc_options
def epoch(epoch: int, channel: str | None, rpc: str | None, home: Path) -> None:
    """The proof that EPOCH ended, with the validators that follow: arguments of `light_client.advance_client`.

    EPOCH is the one that the other channel's client is in (its query `clients` shows it).
    """
    with connected(rpc, home) as client:
        place = channel_of(client, channel)
        end = _ended(client, place, epoch)
        certified = client.chain_getFinalityProof(place, end.height)["proof"]
    seats = [{"suite": suite, "public_key": to_hex(key)} for suite, key in end.validators]
    print_json({"source": place, "proof": certified, "validators": seats})


@proof.command()
@click.option("--module", "modules", multiple=True, required=True, help="Whose records are believed (repeatable).")
@click.option("--epoch", type=click.IntRange(0), default=0, show_default=True, help="From which epoch on.")
@channel_option
@rpc_options
def source(modules: tuple[str, ...], epoch: int, channel: str | None, rpc: str | None, home: Path) -> None:
    """Chain id and validators of a channel: arguments of `light_client.propose_client`, to which you add an `id`."""
    with connected(rpc, home) as client:
        place = channel_of(client, channel)
        chain_id = client.channel_get(place)["chain_id"]
        if epoch:
            end = _ended(client, place, epoch - 1)
            first, seats = (
                end.height + 1,
                [{"suite": suite, "public_key": to_hex(key)} for suite, key in end.validators],
            )
        else:
            first, seats = 1, _seats(client.chain_getValidators(place, 0)["validators"])
    print_json(
        {
            "source": place,
            "chain_id": chain_id,
            "epoch": epoch,
            "first": first,
            "validators": seats,
            "modules": sorted(modules),
        }
    )


def _ended(client: Client, channel: str, epoch: int) -> EpochEnd:
    """Where an epoch ended. Raises CommandFailed while it goes on."""
    from dawan_node.relay.source import Source

    end = Source(client, channel).epoch_end(epoch)
    if end is None:
        raise CommandFailed(
            ExitCode.FAILED,
            f"epoch {epoch} of {channel} has no end",
            "its validators vote still, or it has not begun",
            "An epoch ends with the block that changes its validators.",
        )
    return end


def _block_of(state_proof: str) -> dict[str, Any]:
    # Not needed for --help, which answers at once.
    from dawan_node.primitives.block import Header
    from dawan_node.primitives.proofs import FinalityProof, StateProof

    try:
        found = StateProof.decode(from_hex(state_proof, "proof"))
        header = Header.decode(FinalityProof.decode(found.finality_proof).header)
    except (InvalidProof, InvalidEncoding) as error:
        why = f"the node's answer is no state proof: {error}"
        raise CommandFailed(ExitCode.UNHEALTHY, "proof state", why, "Ask another node.") from None
    return {"height": header.height, "time": to_instant(header.timestamp_ms), "epoch": header.epoch}


def _seats(validators: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"suite": each["suite"], "public_key": each["public_key"]} for each in validators]
