"""``network assemble``: put all join-requests into the file that was agreed on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from dawan_node.cli.options import output_option, print_json

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("template", type=_FILE)
@click.argument("requests", metavar="JOIN-REQUEST.TOML...", nargs=-1, required=True, type=_FILE)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("network"),
    show_default=True,
    help="Folder to write; every party takes it over with `network verify --from`.",
)
@output_option
def assemble(template: Path, requests: tuple[Path, ...], folder: Path, output: str) -> None:
    """Fill TEMPLATE with the keys, addresses and CA certificates of every join-request.

    Every signature and certificate is checked first. Writes consortium.toml, one PEM file per organisation and the
    genesis of each channel: the same bytes whoever does it, in whatever order. All of it is public.
    """
    from dawan_node.cli.network_facts import facts_of, print_facts
    from dawan_node.node import assembly, consortium
    from dawan_node.node import join_request as requests_file

    _require_no_home(folder)
    document = consortium.load_document(template)
    given = [(str(path), requests_file.load(path)) for path in requests]
    assembled = assembly.assemble(str(template), document, given, datetime.now(UTC))
    written = assembly.write(assembled, folder)
    if output == "json":
        print_json({**facts_of(assembled.document, assembled), "files": [str(path) for path in written]})
        return
    print_facts(assembled.document, assembled)
    click.echo(f"Written to {folder}: {len(written)} files, all public.")
    click.echo("Next: every party gets them and runs `dawan-node network verify --from FOLDER`.")


def _require_no_home(folder: Path) -> None:
    """A home takes over only what it found right itself, and never another genesis for a chain it runs."""
    from dawan_node.errors import ConfigError
    from dawan_node.node.home import Home

    if Home(folder.resolve().parent).config_file.exists():
        raise ConfigError(
            f"{folder} is inside a node's folder",
            "what stands there was checked by that node, or will be",
            "Write elsewhere with --to, then let the node take it over: dawan-node network verify --from FOLDER.",
        )
