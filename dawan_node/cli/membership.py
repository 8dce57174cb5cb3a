"""``network admit | proposals | vote | enact``: how a running network takes in an organisation, by its own rules.

The newcomer hands over its ``join-request.toml``. A member's administrator proposes it, the founding organisations'
administrators vote, and any administrator enacts what has passed; from that block on every node knows the newcomer's
certificate authority and its node, without a file being edited anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import load_home, output_option, print_json, print_table
from dawan_node.errors import ConfigError

if TYPE_CHECKING:
    from dawan_node.node.consortium import Names
    from dawan_node.node.join_request import JoinRequest
    from dawan_node.rpc.client import Client

_PAGE: Final = 500
_GOVERNANCE: Final = "governance"

override_option = click.option(
    "--even-if-it-stops", "override", is_flag=True, help="Also if fewer validators than a quorum would be live."
)
key_option = click.option("--key", required=True, help="An org_admin's key: a name in --home, or a key file.")


@click.command()
@click.argument("request", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--id", "proposal", help="Name of the proposal. Default: join-ORG.")
@click.option("-c", "--channel", "channels", multiple=True, help="Only this channel of those it asks for; repeatable.")
@key_option
@rpc_options
def admit(
    request: Path,
    proposal: str | None,
    channels: tuple[str, ...],
    key: str,
    rpc: str | None,
    home: Path,
) -> None:
    """Propose to take in the organisation of a join-request, on each channel it asks for.

    REQUEST is the newcomer's join-request.toml. It is judged before anything is sent: both signatures, its age, this
    very network, and that its certificates are its own.
    """
    from dawan_node.cli.sending import signing_key

    asked, names = _judged(request, home)
    wanted = channels or asked.channels
    unknown = [channel for channel in wanted if channel not in asked.channels]
    if unknown:
        raise ConfigError(
            f"{request} does not ask for channel {unknown[0]}",
            f"it asks for {', '.join(asked.channels)}",
            "Leave that channel out, or let the newcomer make a new request.",
        )
    name = proposal or f"join-{asked.org}"
    args = {"id": name, **_organisation(asked, names)}
    private = signing_key(key, home, passphrase_file_of_command())
    with connected(rpc, home, submits=True) as client:
        for channel in wanted:
            send_governance(client, channel, private, "propose_org", args)
            click.echo(f"Channel {channel}: {asked.org} is proposed as {name}.")
    for channel in wanted:
        next_steps(name, channel, key, rpc, home)


@click.command("propose-ca")
@click.argument("files", metavar="CA.pem...", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--id", "proposal", help="Name of the proposal. Default: ca-ORG.")
@key_option
@channel_option
@rpc_options
def propose_ca(
    files: tuple[Path, ...], proposal: str | None, key: str, channel: str | None, rpc: str | None, home: Path
) -> None:
    """Propose other certificate authorities for this home's organisation: all that are to count, the first a root.

    While nodes still have certificates of the old one, name it too. Every channel needs a proposal of its own.
    """
    from dawan_node.cli.sending import signing_key
    from dawan_node.crypto.certificates import check_authorities
    from dawan_node.errors import UntrustedCertificate
    from dawan_node.node import config
    from dawan_node.node.home import read_certificates

    place = load_home(home)
    org = config.load(place.config_file, environment={}).node.org
    authorities = [certificate for file in files for certificate in read_certificates(file)]
    try:
        check_authorities(org, authorities, datetime.now(UTC))
    except UntrustedCertificate as error:
        raise ConfigError(
            f"{', '.join(map(str, files))} cannot be registered for {org}", str(error), "Correct the files."
        ) from None
    name = proposal or f"ca-{org}"
    private = signing_key(key, home, passphrase_file_of_command())
    with connected(rpc, home, submits=True) as client:
        place_of = channel_of(client, channel)
        args = {"id": name, "org": org, "ca": ["0x" + certificate.hex() for certificate in authorities]}
        send_governance(client, place_of, private, "propose_org_ca", args)
    click.echo(f"Channel {place_of}: {len(authorities)} CA certificates of {org} are proposed as {name}.")
    next_steps(name, place_of, key, rpc, home)


@click.command()
@click.argument("proposal")
@click.option("--approve/--refuse", "approve", required=True, default=None, help="The organisation's one vote.")
@override_option
@key_option
@channel_option
@rpc_options
def vote(
    proposal: str,
    approve: bool,
    override: bool,
    key: str,
    channel: str | None,
    rpc: str | None,
    home: Path,
) -> None:
    """Cast the vote of the key's organisation on PROPOSAL; shows first what is voted on. Once, and for good."""
    from dawan_node.cli.sending import signing_key

    with connected(rpc, home, submits=True) as client:
        place = channel_of(client, channel)
        found = _find(client, place, proposal)
        click.echo("\n".join(_described(found)))
        if approve:
            _look_first(client, place, found, override=override)
        private = signing_key(key, home, passphrase_file_of_command())
        send_governance(client, place, private, "vote", {"proposal": proposal, "approve": approve})
        found = _find(client, place, proposal)
    word = "approved" if approve else "refused"
    click.echo(f"{proposal} on {place}: {word}; {_standing(found)}")
    if found["status"] == "passed":
        click.echo(f"Next, one administrator: dawan-node network enact {proposal} -c {place} {_asking(key, rpc, home)}")


@click.command()
@click.argument("proposal")
@override_option
@key_option
@channel_option
@rpc_options
def enact(proposal: str, override: bool, key: str, channel: str | None, rpc: str | None, home: Path) -> None:
    """Put a passed PROPOSAL into effect, in a block of its own."""
    from dawan_node.cli.sending import signing_key

    private = signing_key(key, home, passphrase_file_of_command())
    with connected(rpc, home, submits=True) as client:
        place = channel_of(client, channel)
        _look_first(client, place, _find(client, place, proposal), override=override)
        send_governance(client, place, private, "enact", {"proposal": proposal})
        found = _find(client, place, proposal)
    click.echo(f"{proposal} is in effect on {place} since height {found['enacted_height']}.")
    if found["kind"] == "validator_key":
        click.echo(f"Next: stop the old node of {found['subject']}, start its new home: dawan-node run --home NEW")


@click.command()
@click.option("--status", type=click.Choice(["open", "passed", "rejected", "enacted"]), help="Only these.")
@channel_option
@rpc_options
@output_option
def proposals(status: str | None, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """What was proposed on a channel, and where each proposal stands."""
    with connected(rpc, home) as client:
        found = _proposals(client, channel_of(client, channel), status or "")
    if output == "json":
        print_json(found)
        return
    rows = [{**each, "standing": _standing(each)} for each in found]
    print_table({"id": "ID", "kind": "KIND", "subject": "SUBJECT", "proposer": "BY", "standing": "STANDING"}, rows)


def _judged(path: Path, home: Path) -> tuple[JoinRequest, Names]:
    """A newcomer's request that is good in every respect this machine can judge, and the names it brings.

    Raises ConfigError.
    """
    from dawan_node.node import consortium, join_request, join_review

    place = load_home(home)
    agreed = consortium.load(place.consortium_file)
    request = join_request.load(path)
    now = datetime.now(UTC)
    join_review.review(str(place.consortium_file), agreed.document, [(str(path), request)], now, agreed.roots)
    if request.names is None:
        raise ConfigError(
            f"{path} brings no new organisation",
            f"it is of node {request.name} of {request.org}, which the network knows",
            "Its own administrator registers the node: dawan-node tx send governance register_node.",
        )
    return request, request.names


def _organisation(request: JoinRequest, names: Names) -> dict[str, Any]:
    """The arguments of ``governance.propose_org`` that describe the newcomer."""
    (admin,) = [each for each in request.identity if each.name == request.admin]
    return {
        "org": request.org,
        "names": {"en": names.en, "zh-Hans": names.zh_hans, "zh-Hant": names.zh_hant, "pt": names.pt},
        "ca": ["0x" + certificate.hex() for certificate in request.authorities],
        "admin": admin.name,
        "suite": request.suite,
        "public_key": admin.public_key,
        "nodes": [
            {
                "name": request.name,
                "suite": request.suite,
                "public_key": request.public_key,
                "addresses": list(request.addresses),
            }
        ],
    }


def next_steps(proposal: str, channel: str, key: str, rpc: str | None, home: Path) -> None:
    """What the organisations do with a proposal, as commands for this key and node."""
    asking = _asking(key, rpc, home)
    click.echo("Next: the organisations that vote look at it and vote, each with its own --key and --home, then one of")
    click.echo("them enacts it:")
    click.echo(f"  dawan-node network vote {proposal} --approve -c {channel} {asking}")
    click.echo(f"  dawan-node network enact {proposal} -c {channel} {asking}")


def _asking(key: str, rpc: str | None, home: Path) -> str:
    """The options by which the running command was told whose key it uses and which node it asks."""
    asked = [("--key", key), ("--home", str(home)), *([("--rpc", rpc)] if rpc else [])]
    return " ".join(f"{option} {quote(value)}" for option, value in asked)


def send_governance(client: Client, channel: str, private: Any, command: str, args: dict[str, Any]) -> None:
    """One transaction of governance. Raises CommandFailed when the chain said no."""
    from dawan_node.cli.sending import TIMEOUT_S, changed_nothing, send

    verdict, meaning = send(client, channel, private, _GOVERNANCE, command, args, TIMEOUT_S)
    receipt = verdict.get("receipt")
    if receipt is None or receipt["code"] != 0:
        raise changed_nothing(
            f"{_GOVERNANCE}.{command} on channel {channel}",
            verdict,
            meaning,
            "See `dawan-node network proposals`, correct the cause and send it again.",
        )


def _look_first(client: Client, channel: str, proposal: dict[str, Any], *, override: bool) -> None:
    """What a change of the validators would mean now. Raises CommandFailed when it would stop the channel."""
    from dawan_node.cli.preflight import KINDS, check

    if proposal["kind"] in KINDS:
        check(client, channel, proposal["kind"], proposal["subject"], proposal["public_key"], override=override)


def _proposals(client: Client, channel: str, status: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.module_query(channel, _GOVERNANCE, "proposals", {"status": status}, limit=_PAGE, cursor=cursor)
        found += page["items"]
        cursor = page["cursor"]
        if cursor is None:
            return found


def _find(client: Client, channel: str, proposal: str) -> dict[str, Any]:
    found = next((each for each in _proposals(client, channel) if each["id"] == proposal), None)
    if found is None:
        raise CommandFailed(
            ExitCode.FAILED,
            f"there is no proposal {proposal!r} on channel {channel}",
            "nobody opened one of that name",
            "`dawan-node network proposals` lists them.",
        )
    return found


def _standing(proposal: dict[str, Any]) -> str:
    approved, refused = proposal["approvals"], proposal["refusals"]
    text = f"{proposal['status']}, {len(approved)} of {proposal['needed']} approvals ({_names(approved)})"
    return f"{text}, refused by {_names(refused)}" if refused else text


def _names(orgs: Sequence[str]) -> str:
    return ", ".join(orgs) or "none"


def _described(proposal: dict[str, Any]) -> list[str]:
    """What an administrator must see before voting: everything the proposal would put into the state."""
    from dawan_node.crypto.hashing import sha256

    lines = [f"{proposal['id']}: {proposal['kind']} {proposal['subject']}, proposed by {proposal['proposer']}"]
    lines += [f"  name ({tag})  {text}" for tag, text in proposal["names"]]
    for certificate in proposal["ca"]:
        lines.append(f"  CA certificate, SHA-256 {sha256(bytes.fromhex(certificate[2:])).hex()}")
    if proposal["admin"]:
        lines.append(f"  administrator {proposal['admin']} with key {proposal['public_key']}")
    elif proposal["public_key"] not in ("", "0x"):
        lines.append(f"  key {proposal['public_key']}")
    for node in proposal["nodes"]:
        lines.append(f"  node {node['name']} with key {node['public_key']} at {_names(node['addresses'])}")
    if proposal["kind"] == "parameter":
        lines.append(f"  value {proposal['value']}")
    if proposal["role"]:
        lines.append(f"  role {proposal['role']}")
    lines.append(f"  {_standing(proposal)}; closes {proposal['closes']}")
    return lines
