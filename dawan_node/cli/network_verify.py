"""``network verify``: recompute everything on this machine, and take it over when all of it is right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dawan_node.cli.options import home_option, load_home, output_option, print_json

if TYPE_CHECKING:
    from dawan_node.errors import OperatorError
    from dawan_node.node.consortium import Consortium, Document


@click.command()
@home_option
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that `network assemble` wrote: check it and, when all is right, take it over into HOME/network.",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Only the facts and warnings of this consortium.toml, which may be a template; no home is needed.",
)
@click.option(
    "--no-byzantine-tolerance",
    is_flag=True,
    help="Accept channels of two or three validators, which bear a crash at most and no lie.",
)
@output_option
def verify(home: Path, folder: Path | None, file: Path | None, no_byzantine_tolerance: bool, output: str) -> None:
    """Recompute every genesis and check that this node is part of it, as its join-request says.

    Ends with exit code 1 when anything differs; then nothing is written. Compare the chain ids with the other
    parties: equal chain ids mean equal organisations, keys, modules and rules.
    """
    from dawan_node.node import config, consortium
    from dawan_node.node.installation import check_folder, install
    from dawan_node.node.verification import notices, verify_home

    if file is not None:
        if folder is not None:
            raise click.UsageError("--file looks at one file only; it does not go with --from.")
        document = consortium.load_document(file)
        complete = consortium.load(file) if consortium.is_complete(document) else None
        _report(document, complete, _crash_only(document, no_byzantine_tolerance), [], output)
        return
    place = load_home(home)
    settings = config.load(place.config_file, environment={})
    now = datetime.now(UTC)
    if folder is not None:
        found, problems = check_folder(place, settings.node, folder, now)
    else:
        found = consortium.load(place.consortium_file)
        problems = verify_home(place, settings.node, found, now)
    problems = [*problems, *_crash_only(found.document, no_byzantine_tolerance)]
    if problems:
        _report(found.document, found, problems, [], output)
    written = install(place, found) if folder is not None else []
    _report(found.document, found, [], notices(place, settings.node, found), output)
    if output == "table":
        if written:
            click.echo(f"Taken over into {place.network}: {len(written)} files.")
        click.echo(f"{settings.node.name} of {settings.node.org} may start: dawan-node run --home {home}")


def _crash_only(document: Document, accepted: bool) -> list[OperatorError]:
    """Amendment A10: whoever forms a network without tolerance of lies must have said so."""
    from dawan_node.errors import ConfigError
    from dawan_node.node.consortium import channel_facts

    return [
        ConfigError(
            f"channel {facts.channel} has {facts.n} validators",
            "that bears a crash at most: one that lies can fork the chain",
            "Agree on four or more; if a crash is all it must bear, give --no-byzantine-tolerance.",
        )
        for facts in (channel_facts(document, channel.name) for channel in document.channel)
        if facts.crash_only and not accepted
    ]


def _report(
    document: Document,
    complete: Consortium | None,
    problems: list[OperatorError],
    told: list[str],
    output: str,
) -> None:
    """Everything that was found. Raises the first problem, once the others are said."""
    from dawan_node.cli.network_facts import facts_of, print_facts

    if output == "json":
        print_json(
            {
                **facts_of(document, complete),
                "notices": told,
                "problems": [str(problem) for problem in problems],
                "ok": not problems,
            }
        )
    else:
        print_facts(document, complete)
        for notice in told:
            click.echo(f"notice: {notice}")
    if problems:
        for other in problems[1:]:
            click.echo(_one_line(f"also: {other}"), err=True)
        raise problems[0]


def _one_line(text: str) -> str:
    """Text of others' files may hold control characters; none may move the cursor."""
    return "".join(character if character.isprintable() else " " for character in text)
