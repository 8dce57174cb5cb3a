"""``network validator-request | add-validator | replace-validator | remove-validator``: who validates, by vote.

A new validator, or one that needs another key, signs a claim in its own home; an administrator of its organisation
proposes it, the organisations vote and one enacts it (``network vote``, ``network enact``). docs/rekey.md tells it all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.membership import key_option, next_steps, override_option, send_governance
from dawan_node.cli.options import (
    home_option,
    load_home,
    obtain_passphrase,
    output_option,
    passphrase_option,
    print_json,
)
from dawan_node.errors import ConfigError

if TYPE_CHECKING:
    from dawan_node.node.validator_request import ValidatorRequest

_request_argument = click.argument("request", type=click.Path(path_type=Path, dir_okay=False))
_channels_option = click.option(
    "-c", "--channel", "channels", multiple=True, help="Only this channel of those it claims a seat on; repeatable."
)


@click.command("validator-request")
@home_option
@passphrase_option
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder network of another home of this network: its public files are checked and taken over first.",
)
@click.option("--channel", "channels", multiple=True, help="To validate; repeatable. Default: as in consortium.toml.")
@output_option
def validator_request(
    home: Path, passphrase_file: Path | None, folder: Path | None, channels: tuple[str, ...], output: str
) -> None:
    """Write HOME/network/validator-request.toml: this home's claim to the seat of the validator it is named after.

    It is public, and signed by the key that is to vote. An administrator of the organisation proposes it: to a
    validator whose log is lost, that was restored or copied, `network replace-validator`; to one more, `add-validator`.
    """
    from dawan_node.node import config, consortium, validator_request
    from dawan_node.node.home import Home
    from dawan_node.node.installation import check_public_files, install
    from dawan_node.node.rekey_steps import admin_of

    place = load_home(home)
    settings = config.load(place.config_file, environment={})
    source = folder / place.consortium_file.name if folder is not None else place.consortium_file
    found = consortium.load(source)
    if folder is not None:
        problems = check_public_files(place, folder, found, datetime.now(UTC))
        if problems:
            raise problems[0]
    request = validator_request.make(
        place,
        settings.node,
        settings.p2p.advertise or (settings.p2p.listen,),
        found,
        channels,
        datetime.now(UTC),
        lambda: obtain_passphrase(passphrase_file),
    )
    if folder is not None:
        install(place, found)
    path = place.validator_request_file
    entry = found.node(request.name)
    known = entry is not None and found.is_validator(request.name)
    if output == "json":
        print_json(
            {
                "file": str(path),
                "name": request.name,
                "org": request.org,
                "public_key": request.public_key,
                "addresses": list(request.addresses),
                "channels": {each.channel: each.chain_id for each in request.seat},
            }
        )
        return
    click.echo(f"{path}: {request.name} of {request.org} wants to validate {_list(request)}")
    click.echo(f"  key  {request.public_key}")
    click.echo(f"It is public. Next: an administrator of {request.org}, at a node that is up (--rpc or --home):")
    command = f"{'replace' if known else 'add'}-validator {quote(str(path.absolute()))}"
    running = Home(folder.absolute().parent) if folder is not None else None
    asked = quote(str(running.path)) if running is not None and running.config_file.exists() else "HOME"
    click.echo(f"  dawan-node network {command} --key {admin_of(found.document, request.org)} --home {asked}")


@click.command("replace-validator")
@_request_argument
@click.option("--id", "proposal", help="Name of the proposal. Default: rekey-NAME.")
@_channels_option
@override_option
@key_option
@rpc_options
def replace_validator(
    request: Path,
    proposal: str | None,
    channels: tuple[str, ...],
    override: bool,
    key: str,
    rpc: str | None,
    home: Path,
) -> None:
    """Propose another key for a validator, on each channel of its validator-request.

    The old key never votes again, whoever has it. From the block after the one that enacts it the new key votes, as
    soon as its node has caught up.
    """
    _propose(request, proposal or "rekey-{name}", "validator_key", channels, override, key, rpc, home)


@click.command("add-validator")
@_request_argument
@click.option("--id", "proposal", help="Name of the proposal. Default: add-NAME.")
@_channels_option
@override_option
@key_option
@rpc_options
def add_validator(
    request: Path,
    proposal: str | None,
    channels: tuple[str, ...],
    override: bool,
    key: str,
    rpc: str | None,
    home: Path,
) -> None:
    """Propose one more validator, on each channel of its validator-request.

    Let its node observe first (governance.register_node): then it is up to date when it gets its vote.
    """
    _propose(request, proposal or "add-{name}", "validator_added", channels, override, key, rpc, home)


@click.command("remove-validator")
@click.argument("name")
@click.option("--id", "proposal", help="Name of the proposal. Default: remove-NAME.")
@override_option
@key_option
@channel_option
@rpc_options
def remove_validator(
    name: str, proposal: str | None, override: bool, key: str, channel: str | None, rpc: str | None, home: Path
) -> None:
    """Propose that validator NAME votes no longer; its node may stay and observe."""
    from dawan_node.cli.preflight import check
    from dawan_node.cli.sending import signing_key

    proposal = proposal or f"remove-{name}"
    with connected(rpc, home, submits=True) as client:
        place = channel_of(client, channel)
        check(client, place, "validator_removed", name, "", override=override)
        private = signing_key(key, home, passphrase_file_of_command())
        send_governance(client, place, private, "propose_validator_removal", {"id": proposal, "validator": name})
    click.echo(f"Channel {place}: it is proposed as {proposal} that {name} votes no longer.")
    next_steps(proposal, place, key, rpc, home)


def _propose(
    path: Path,
    pattern: str,
    kind: str,
    channels: tuple[str, ...],
    override: bool,
    key: str,
    rpc: str | None,
    home: Path,
) -> None:
    from dawan_node.cli.preflight import check
    from dawan_node.cli.sending import signing_key
    from dawan_node.node.validator_request import chosen, load

    request = load(path)
    _judge(path, request, home)
    proposal = pattern.format(name=request.name)
    wanted = chosen(request, str(path), channels)
    command = "propose_validator_key" if kind == "validator_key" else "propose_validator"
    with connected(rpc, home, submits=True) as client:
        # All channels are looked at before anything is sent to one.
        for seat in wanted:
            _check_chain(client.channel_get(seat.channel)["chain_id"], path, seat)
            click.echo(f"Channel {seat.channel}:")
            check(client, seat.channel, kind, request.name, request.public_key, override=override)
        private = signing_key(key, home, passphrase_file_of_command())
        for seat in wanted:
            args: dict[str, Any] = {
                "id": proposal,
                "validator": request.name,
                "suite": request.suite,
                "public_key": request.public_key,
                "addresses": list(request.addresses),
                "possession": seat.possession,
            }
            send_governance(client, seat.channel, private, command, args)
            what = "another key for" if kind == "validator_key" else "one more validator,"
            click.echo(f"Channel {seat.channel}: {what} {request.name} is proposed as {proposal}.")
    for seat in wanted:
        next_steps(proposal, seat.channel, key, rpc, home)
    if kind == "validator_key":
        click.echo(f"Then stop the old node of {request.name}, and: dawan-node run --home {_home_of(path)}")


def _judge(path: Path, request: ValidatorRequest, home: Path) -> None:
    """A request that is good in every respect this machine can judge. Raises ConfigError."""
    from dawan_node.node import config, consortium
    from dawan_node.node.validator_request import check_genuine, check_usable
    from dawan_node.node.verification import home_roots

    check_genuine(str(path), request)
    place = load_home(home)
    agreed = consortium.load(place.consortium_file)
    org = config.load(place.config_file, environment={}).node.org
    check_usable(str(path), request, agreed.document, home_roots(place, agreed, org), datetime.now(UTC))
    if request.org != org:
        raise ConfigError(
            f"{path} is of {request.name} of {request.org}",
            f"an organisation proposes its own validators, and {home} is of {org}",
            f"An administrator of {request.org} runs this.",
        )


def _check_chain(chain_id: str, path: Path, seat: Any) -> None:
    if chain_id != seat.chain_id:
        raise ConfigError(
            f"{path} is for another channel {seat.channel}",
            f"it claims a seat on chain {seat.chain_id}, this node has {chain_id}",
            "Make it again from this network's files: dawan-node network validator-request --from FOLDER.",
        )


def _home_of(path: Path) -> str:
    return str(path.parent.parent) if path.parent.name == "network" else "NEW"


def _list(request: ValidatorRequest) -> str:
    return ", ".join(each.channel for each in request.seat)
