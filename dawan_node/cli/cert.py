"""``cert``: the certificates of this home: asked for, issued, installed, renewed, revoked, shown.

No command takes a secret as an argument, and none touches a file before the result was judged as a peer will judge
it. Certificates only carry connections: nothing here changes a node key or an identity.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from dawan_node.cli.connect import connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import (
    home_option,
    load_home,
    obtain_passphrase,
    output_option,
    passphrase_option,
    print_json,
    print_table,
)
from dawan_node.errors import ConfigError, UntrustedCertificate

if TYPE_CHECKING:
    from dawan_node.node.config import Config
    from dawan_node.node.own_certificates import Issued

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
# As crypto.authority has them; written here because --help must not import it. A test compares.
DAYS: Final = 398
LIST_DAYS: Final = 30
REASONS: Final = ("unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation")

_Function = TypeVar("_Function", bound=Callable[..., Any])


@click.group()
def cert() -> None:
    """Request, issue, install, renew, revoke and show certificates."""


def _days_option(default: int) -> Callable[[_Function], _Function]:
    return click.option("--days", type=click.IntRange(1, 7300), default=default, show_default=True, help="Validity.")


@cert.command()
@home_option
@passphrase_option
@output_option
def request(home: Path, passphrase_file: Path | None, output: str) -> None:
    """Write a request (CSR) for this node's TLS key to HOME/keys/tls.csr.pem.

    It is public: have your organisation's authority sign it, then `cert install` the answer.
    """
    from dawan_node.node.own_certificates import write_request

    place, settings = _opened(home)
    path = write_request(place, settings.node, _hosts(settings), obtain_passphrase(passphrase_file))
    if output == "json":
        print_json({"request": str(path), "node": settings.node.name, "org": settings.node.org})
        return
    click.echo(f"{path}: request of {settings.node.name} of {settings.node.org}. It is public; hand it over.")
    click.echo("Next: dawan-node cert install CHAIN.pem (its answer, with the authorities up to the root)")


@cert.command()
@click.argument("csr", type=_FILE)
@click.option("--out", type=_FILE, help="Write the certificate and its authorities here instead of standard output.")
@_days_option(DAYS)
@home_option
@passphrase_option
def issue(csr: Path, out: Path | None, days: int, home: Path, passphrase_file: Path | None) -> None:
    """Sign the request CSR with this home's authority; shows on standard error what it signs.

    Only the common name, the names, and the key are taken from the request. The output holds the certificate and the
    organisation's CA certificates: what `cert install` takes.
    """
    from dawan_node.crypto.certificates import to_pem
    from dawan_node.node import own_certificates as own
    from dawan_node.node.home import read_certificates

    place, settings = _opened(home)
    folder = own.authority_folder(place, settings.node.org)
    folder.require_key("Give the request to the node that holds keys/ca/ca.key.json.")
    data, asked = own.read_request(csr, settings.node.org)
    click.echo(f"signing for node {asked.name} of {settings.node.org}", err=True)
    click.echo(f"  common name {asked.common_name}", err=True)
    click.echo(f"  names       {', '.join(asked.shown_names)}", err=True)
    click.echo(f"  key         {asked.public_key.curve.name}", err=True)
    for other in asked.ignored:
        click.echo(f"  not granted {other}", err=True)
    passphrase = obtain_passphrase(passphrase_file, prompt="Passphrase of the authority")
    made = own.issue(folder, data, passphrase, _now(), days)
    text = to_pem([made.certificate, *read_certificates(folder.certificate_file)])
    click.echo(f"  valid until {made.judged.not_after.isoformat()}", err=True)
    if out is None:
        click.echo(text, nl=False)
        return
    own.replace(out, text.encode())
    click.echo(f"{out}: hand it back; there: dawan-node cert install {out.name}", err=True)


@cert.command()
@click.argument("chain", metavar="CHAIN.pem", type=_FILE)
@click.option("--unregistered", is_flag=True, help="The files in HOME/network do not know its authority, channels do.")
@click.option("--new-authority", is_flag=True, help="Its authority replaces HOME/keys/ca, which goes to keys/retired.")
@home_option
@output_option
def install(chain: Path, unregistered: bool, new_authority: bool, home: Path, output: str) -> None:
    """Take an issued certificate in, hot: it must be for this home's TLS key, node and organisation.

    CHAIN.pem holds the certificate and, the first time, the authorities up to the root. Needs no passphrase.
    """
    from dawan_node.node import own_certificates as own

    place, settings = _opened(home)
    made = own.install(place, settings.node, chain, _now(), unregistered=unregistered, new_authority=new_authority)
    _report(made, output, place.tls_certificate, "A running node takes it over by itself.")


@cert.command()
@click.option("--new-key", is_flag=True, help="Also a new TLS key; the node must be restarted.")
@_days_option(DAYS)
@home_option
@passphrase_option
@output_option
def renew(new_key: bool, days: int, home: Path, passphrase_file: Path | None, output: str) -> None:
    """A new certificate for this node from this home's own authority, hot.

    The TLS key stays, so a running node takes the certificate over without a restart. With an authority elsewhere:
    `cert request`, then `cert install`.
    """
    from dawan_node.node import own_certificates as own

    place, settings = _opened(home)
    own.authority_folder(place, settings.node.org).require_key(
        "Its authority is elsewhere: run `dawan-node cert request`, have it signed, then `cert install`."
    )
    passphrase = obtain_passphrase(passphrase_file)
    if new_key:
        made = own.renew_key(place, settings.node, _hosts(settings), passphrase, _now(), days)
        after = f"The key is new: restart the node. The old one is in {place.retired_keys}."
    else:
        made = own.renew(place, settings.node, passphrase, _now(), days)
        after = "A running node takes it over by itself."
    _report(made, output, place.tls_certificate, after)


@cert.command()
@click.argument("target", metavar="NAME|SERIAL|FILE")
@click.option("--reason", required=True, type=click.Choice(REASONS), help="Why.")
@click.option("--unregistered", is_flag=True, help="Revoke a SERIAL that keys/ca/issued.jsonl does not know.")
@_days_option(LIST_DAYS)
@home_option
@passphrase_option
@output_option
def revoke(
    target: str, reason: str, unregistered: bool, days: int, home: Path, passphrase_file: Path | None, output: str
) -> None:
    """Take back every unexpired certificate of node NAME, or the one of SERIAL (0x...) or in FILE.

    Writes HOME/keys/ca/crl.pem, which counts where it is handed over. There is no way back: issue a new certificate.
    """
    place, settings = _opened(home)
    folder = _own_authority(place, settings)
    now = _now()
    found = folder.find(target, now, unregistered=unregistered)
    with folder.unlocked(obtain_passphrase(passphrase_file, prompt="Passphrase of the authority")) as signing:
        path = folder.revoke(signing, found, reason, now, days)
    rows = [{"serial": record.serial, "name": record.name, "reason": reason} for record in found]
    if output == "json":
        print_json({"revoked": rows, "file": str(path), "hand_to": _hand_to(settings)})
        return
    for row in rows:
        click.echo(f"revoked {row['name'] or 'unknown'} serial {row['serial']} ({reason})")
    _say_where(path, settings)


@cert.command()
@_days_option(LIST_DAYS)
@home_option
@passphrase_option
@output_option
def crl(days: int, home: Path, passphrase_file: Path | None, output: str) -> None:
    """Sign a fresh revocation list with the same entries, before the old one runs out."""
    place, settings = _opened(home)
    folder = _own_authority(place, settings)
    with folder.unlocked(obtain_passphrase(passphrase_file, prompt="Passphrase of the authority")) as signing:
        path = folder.sign_list(signing, _now(), days)
        made = folder.current_list(signing.certificate, _now())
    entries = len(made.revoked) if made is not None else 0
    until = made.next_update.isoformat() if made is not None else ""
    if output == "json":
        print_json({"file": str(path), "entries": entries, "next_update": until, "hand_to": _hand_to(settings)})
        return
    click.echo(f"{path}: {entries} revoked, holds until {until}")
    _say_where(path, settings)


@cert.command()
@click.option("--key", required=True, help="An org_admin's key of this organisation: a name in --home, or a key file.")
@click.option("-c", "--channel", "channels", multiple=True, help="Only on this channel; repeatable. Default: on all.")
@rpc_options
def publish(key: str, channels: tuple[str, ...], rpc: str | None, home: Path) -> None:
    """Publish HOME/keys/ca/crl.pem on the channels: every node of their members takes it over at once.

    A list that revokes the node this command talks to cuts that node off with the first channel: publish such a one
    through another node (--rpc).
    """
    from dawan_node.cli.sending import TIMEOUT_S, report, send, signing_key
    from dawan_node.crypto.revocation import lists_from_pem

    place, _ = _opened(home)
    path = place.own_revocation_file
    try:
        lists = ["0x" + der.hex() for der in lists_from_pem(path.read_bytes())]
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read", error.strerror or "unknown reason", "Make one: cert revoke, or cert crl."
        ) from None
    except UntrustedCertificate as error:
        raise ConfigError(f"{path} is not a revocation list", str(error), "Sign a new one: cert crl.") from None
    private = signing_key(key, home, passphrase_file_of_command())
    with connected(rpc, home, submits=True) as client:
        for channel in channels or tuple(client.channel_list()):
            verdict, meaning = send(
                client, channel, private, "governance", "publish_revocations", {"lists": lists}, TIMEOUT_S
            )
            report(verdict, channel, "table", meaning)


@cert.command()
@click.argument("file", required=False, type=_FILE)
@home_option
@output_option
def show(file: Path | None, home: Path, output: str) -> None:
    """What the certificates in FILE (default: this node's own) say, and what this home makes of them."""
    from dawan_node.node import certificate_dates as dates
    from dawan_node.node.home import Home, read_certificates, read_own_certificate

    place = Home(home)
    ders = read_certificates(file) if file is not None else [read_own_certificate(load_home(home))]
    judge = _judge_of(place)
    rows = [{**dates.facts(der), "verdict": judge(der)} for der in ders]
    if output == "json":
        print_json(rows)
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        for name, value in row.items():
            shown = ", ".join(value) if isinstance(value, list) else {True: "yes", False: "no"}.get(value, value)
            click.echo(f"{name.replace('_', ' '):<12} {_printable(str(shown))}")


@cert.command()
@home_option
@output_option
def expiry(home: Path, output: str) -> None:
    """When every certificate and revocation list of this home runs out, the soonest first.

    Certificates are announced 30, 14 and 3 days ahead, lists 3 days. Exit code 6 if anything is unreadable, expired
    or within its last 3 days.
    """
    from dawan_node.node.certificate_dates import listing

    place, settings = _opened(home)
    now = _now()
    found = listing(place, settings.node.org, now)
    rows = [
        {
            "kind": each.dated.kind.value if each.dated is not None else "",
            "org": each.org,
            "title": _printable(each.dated.subject if each.dated is not None else each.problem),
            "until": each.dated.ends.isoformat() if each.dated is not None else None,
            "days_left": each.days_left(now),
            "state": each.state,
            "file": str(each.file),
        }
        for each in found
    ]
    if output == "json":
        print_json(rows)
    else:
        shown = [{name: "-" if value is None else value for name, value in row.items()} for row in rows]
        headings = {"state": "STATE", "days_left": "DAYS", "kind": "KIND", "org": "ORG", "title": "TITLE"}
        print_table({**headings, "until": "UNTIL", "file": "FILE"}, shown)
    alarms = [each for each in found if each.is_alarm]
    if alarms:
        raise CommandFailed(
            ExitCode.UNHEALTHY,
            f"{len(alarms)} of {len(found)} need somebody now",
            f"{alarms[0].file}: {alarms[0].state}",
            alarms[0].fix,
        )


def _opened(home: Path) -> tuple[Any, Config]:
    from dawan_node.node import config

    place = load_home(home)
    return place, config.load(place.config_file, environment={})


def _own_authority(place: Any, settings: Config) -> Any:
    from dawan_node.node.own_certificates import authority_folder

    folder = authority_folder(place, settings.node.org)
    folder.require_key("Run this where keys/ca/ca.key.json is; an authority elsewhere has tools of its own.")
    return folder


def _hosts(settings: Config) -> list[str]:
    """The hosts this node is reached at, for the certificate's names."""
    from dawan_node.node.config import parse_address

    return [parse_address(address)[0] for address in settings.p2p.advertise or (settings.p2p.listen,)]


def _judge_of(place: Any) -> Callable[[bytes], str]:
    """A sentence on a certificate, under the network's roots, else under this organisation's own."""
    from dawan_node.crypto.revocation import RevocationRule
    from dawan_node.crypto.trust import Trust
    from dawan_node.node import consortium
    from dawan_node.node.home import read_certificates
    from dawan_node.node.network_trust import network_trust
    from dawan_node.node.verification import known_roots, own_request

    now = _now()
    if place.consortium_file.exists():
        roots = known_roots(consortium.load(place.consortium_file), own_request(place))
        trust, troubles = network_trust(place, roots, RevocationRule.SOFT, now)
        for path, why in troubles:
            click.echo(f"warning: {path}: {why}", err=True)
        where = f"by {place.network}"
    elif place.authority_certificate.exists():
        trust = Trust({_opened(place.path)[1].node.org: read_certificates(place.authority_certificate)})
        where = f"by {place.authority_certificate}"
    else:
        return lambda _: "not judged: this home knows no authority yet"

    def judge(der: bytes) -> str:
        owner = next((org for org, roots in trust.roots.items() if der in roots), None)
        if owner is not None:
            return f"registered authority of {owner} ({where})"
        try:
            judged = trust.judge(der, now)
        except UntrustedCertificate as error:
            return f"refused ({where}): {error.reason}: {error}"
        return f"accepted as {judged.name} of {judged.org} ({where})"

    return judge


def _report(made: Issued, output: str, path: Path, after: str) -> None:
    judged = made.judged
    if output == "json":
        print_json(
            {
                "node": judged.name,
                "org": judged.org,
                "not_after": judged.not_after.isoformat(),
                "fingerprint": "0x" + judged.fingerprint.hex(),
                "file": str(path),
            }
        )
        return
    click.echo(f"{path}: certificate of {judged.name} of {judged.org}, valid until {judged.not_after.isoformat()}")
    click.echo(after)


def _hand_to(settings: Config) -> str:
    return f"network/crl/{settings.node.org}.crl.pem"


def _say_where(path: Path, settings: Config) -> None:
    click.echo(f"It counts where it is handed over: as HOME/{_hand_to(settings)} on every node of every organisation,")
    click.echo("or published on the channels: `dawan-node cert publish --key ADMIN`. It is public.")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _now() -> datetime:
    return datetime.now(UTC)
