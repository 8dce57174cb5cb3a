"""``doctor``: one look at everything the node stands on. Exit code 6 when something does not work."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import (
    CREDENTIAL,
    home_option,
    load_home,
    obtain_passphrase,
    output_option,
    print_json,
    print_table,
)

_COLUMNS = {"check": "CHECK", "subject": "SUBJECT", "verdict": "", "what": "FOUND"}


@click.command()
@home_option
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="To try the keys and TLS with every peer. Without it (and without a systemd credential) these are left out.",
)
@click.option("--offline", is_flag=True, help="Send nothing over the network.")
@output_option
def doctor(home: Path, passphrase_file: Path | None, offline: bool, output: str) -> None:
    """Look at clock, ports, links, disk, limits, certificates, keys, configuration and versions.

    Changes nothing, works while the node runs and while it does not, and never asks for anything. Exit code 6 when
    something does not work, 0 when there are only warnings.
    """
    place = load_home(home)
    from dawan_node.node.checkup.finding import Verdict
    from dawan_node.node.doctor import count, examine

    passphrase = obtain_passphrase(passphrase_file) if passphrase_file or _has_credential() else None
    findings = examine(place, os.environ, passphrase, offline=offline)
    counts = count(findings)
    rows = [
        {
            "check": finding.check,
            "subject": finding.subject,
            "verdict": finding.verdict.value,
            "what": finding.what,
            "why": finding.why,
            "fix": finding.fix,
        }
        for finding in sorted(findings, key=lambda finding: finding.check)
    ]
    if output == "json":
        print_json({"healthy": not counts[Verdict.FAIL], "counts": counts, "findings": rows})
    else:
        print_table(_COLUMNS, rows)
        for row in rows:
            if row["verdict"] not in (Verdict.OK.value, Verdict.NOT_RUN.value):
                click.echo(f"\n{row['verdict']}: {row['check']}, {row['subject']}: {row['what']}")
                click.echo(f"  why   {row['why']}\n  next  {row['fix']}")
        click.echo("\n" + ", ".join(f"{number} {verdict}" for verdict, number in counts.items()))
    if counts[Verdict.FAIL]:
        first = next(finding for finding in findings if finding.verdict is Verdict.FAIL)
        raise CommandFailed(
            ExitCode.UNHEALTHY, f"{first.check}, {first.subject}: {first.what}", first.why, first.fix.rstrip(".") + "."
        )


def _has_credential() -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(folder) and (Path(folder) / CREDENTIAL).exists()
