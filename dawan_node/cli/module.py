"""``module``: for the authors of channel modules, and for whoever wants to know what a node would run.

``new`` writes a complete small module, ``dev`` plays commands on it while it is edited, ``lint`` and ``test`` say
whether it may run on a channel, ``list`` and ``describe`` what is installed. None of them asks a node.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import output_option, print_json, print_table
from dawan_node.errors import OperatorError

if TYPE_CHECKING:
    from dawan_node.execution.module import Module
    from dawan_node.node.module_package import ModulePackage


@click.group()
def module() -> None:
    """Write, check and describe channel modules."""


@module.command()
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the new project. Default: ./NAME.",
)
def new(name: str, folder: Path | None) -> None:
    """Write a complete small module NAME: an entity, two commands, tests that pass. Replace it piece by piece."""
    from dawan_node.cli.module_new import write

    place = folder or Path(name)
    for path in write(name, place):
        click.echo(path)
    click.echo("\nNext:")
    click.echo(f"  dawan-node module lint {place}")
    click.echo(f"  dawan-node module test {place}")
    click.echo(f"  pip install -e {place} && dawan-node devnet up --module {name}")


@module.command()
@click.argument("what", metavar="PATH_OR_NAME")
@output_option
def lint(what: str, output: str) -> None:
    """Find what could differ between nodes or never end, in a folder, a file, or an installed module.

    Exit code 1 when there is anything. A node refuses to load a module of another package that does not pass.
    """
    from dawan_node.node.module_package import find

    package = find(what)
    found = package.lint()
    rows = [
        {
            "file": _short(path),
            "line": finding.line,
            "code": finding.code,
            "what": finding.text,
            "why": finding.rule.why,
            "instead": finding.rule.instead,
        }
        for path, finding in found
    ]
    files = len(package.files())
    if output == "json":
        print_json({"files": files, "findings": rows})
    else:
        for row in rows:
            click.echo(f"{row['file']}:{row['line']}: {row['code']} {row['what']}")
            click.echo(f"    {row['why']}; {row['instead']}")
    if rows:
        raise CommandFailed(
            ExitCode.FAILED, f"{what} does not pass", f"{len(rows)} findings in {files} files",
            "Correct them; docs/modules.md explains the codes.",
        )  # fmt: skip
    if output != "json":
        click.echo(f"{files} files, nothing found. Lint sees syntax only; `dawan-node module test` runs it.")


@module.command()
@click.argument("project", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path("."))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(project: Path, arguments: tuple[str, ...]) -> None:
    """Run the tests of PROJECT, do the same blocks again in other worlds, and on four nodes in virtual time.

    The module is guarded as on a node. ARGUMENTS after -- go to pytest.
    """
    from dawan_node.node.module_package import at

    package = at(project)
    if not package.entry_points:
        raise OperatorError(
            f"{project} cannot be tested", "it is no project: it has no pyproject.toml with an entry point",
            "Name the folder that `dawan-node module new` made.",
        )  # fmt: skip
    _require_clean(package)
    try:
        from dawan_node.testing.module_trial import run
    except ImportError as error:
        raise OperatorError(
            "the test kit cannot run", f"{error.name} is not installed", "pip install 'dawan-node[dev]'"
        ) from None
    for step in run(package, arguments):
        click.echo(f"{'ok    ' if step.is_well else 'FAILED'}  {step.name}: {step.text}")
        if not step.is_well:
            raise CommandFailed(ExitCode.FAILED, f"{project} failed", step.name, "See above.")


@module.command()
@click.argument("project", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path("."))
@click.option(
    "--commands",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of commands, one on a line, that are played before those that are typed; watched too.",
)
@click.option("--once", is_flag=True, help="Play the commands once and end; exit code 1 if the code does not load.")
def dev(project: Path, commands: Path | None, once: bool) -> None:
    """Play commands on a throw-away channel in memory, and again at every change of PROJECT's files.

    Each line on standard input is a command, `PERSON COMMAND {ARGUMENTS}`, or `? QUERY {PARAMETERS}`; docs/modules.md
    has the rest. When a file is saved all of them are played on a new channel with the new code, and what came out
    differently is shown. No node is asked and nothing is kept: a real channel never loads other code.
    """
    try:
        from dawan_node.testing.module_dev import Session, run
    except ImportError as error:
        raise OperatorError(
            "the test kit cannot run", f"{error.name} is not installed", "pip install 'dawan-node[dev]'"
        ) from None
    session = Session(project, commands, click.echo)
    if once:
        if not session.refresh():
            raise CommandFailed(ExitCode.FAILED, f"{project} was not played", "see above", "Correct it and try again.")
        return
    click.echo(f"{project}: a command on a line; saved files are played at once; end with Ctrl-D.", err=True)
    try:
        run(session, 0)
    except KeyboardInterrupt:
        click.echo("", err=True)


def _require_clean(package: ModulePackage) -> None:
    found = package.lint()
    if not found:
        click.echo(f"ok      lint: {len(package.files())} files")
        return
    for path, finding in found:
        click.echo(f"{_short(path)}:{finding.line}: {finding.code} {finding.text}")
    raise CommandFailed(
        ExitCode.FAILED, "lint found something", f"{len(found)} findings", "dawan-node module lint explains them."
    )


@module.command("list")
@output_option
def list_(output: str) -> None:
    """The modules that are installed here: version, where from, and the hash of their code."""
    from dawan_node.execution.module import DeclarationError
    from dawan_node.execution.registry import entry_point_of, installed_names, installed_versions
    from dawan_node.node.module_package import distribution_of, installed

    rows: list[dict[str, Any]] = []
    for name in installed_names():
        row: dict[str, Any] = {"module": name, "versions": [], "package": distribution_of(name), "trouble": ""}
        try:
            row["entry_point"] = entry_point_of(name)
            package = installed(name)
            row |= {"place": str(package.place), "code_hash": "0x" + package.code_hash.hex()}
            row["versions"] = [module.version for module in installed_versions(name)]
        except (DeclarationError, OperatorError) as error:
            row["trouble"] = str(error)
        rows.append(row)
    if output == "json":
        print_json(rows)
        return
    columns = {"module": "MODULE", "versions": "VERSIONS", "package": "PACKAGE", "entry_point": "ENTRY POINT"}
    print_table(
        {**columns, "code": "CODE HASH", "trouble": "TROUBLE"},
        [{**row, "code": row.get("code_hash", "-")[:18], "trouble": row["trouble"] or "-"} for row in rows],
    )


@module.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1, 65_535), help="Default: the newest.")
@click.option("--markdown", is_flag=True, help="As a page of documentation.")
@output_option
def describe(name: str, version: int | None, markdown: bool, output: str) -> None:
    """Commands with roles and arguments, queries, records, events and reasons of an installed module.

    With -o json it is what a node answers to module_describe.
    """
    from dawan_node.cli.module_tables import rows_of
    from dawan_node.execution.describe import describe_module
    from dawan_node.rpc.json_schema import for_json
    from dawan_node.rpc.module_page import module_page

    described = _version(name, version)
    document = for_json(describe_module(described))
    if markdown:
        from dawan_node.execution.module import DeclarationError
        from dawan_node.node.module_refusals import Told, refusals_of

        refusals: Told | None = None
        try:
            refusals = refusals_of(described)
        except DeclarationError as error:
            # No list is better than one of which nobody knows what it lacks.
            click.echo(f"the page has no list of refusals for each command: {error}", err=True)
        preface = "Made by `dawan-node module describe`."
        click.echo(module_page(document, preface=preface, refusals=refusals), nl=False)
    elif output == "json":
        print_json(document)
    else:
        click.echo(f"{document['module']}@{document['version']}")
        for title, columns, rows in rows_of(document):
            click.echo(f"\n{title}")
            print_table(columns, rows)


def _version(name: str, version: int | None) -> Module:
    """An installed module. Raises OperatorError."""
    from dawan_node.execution.module import DeclarationError
    from dawan_node.execution.registry import entry_point_of, installed_names, installed_versions
    from dawan_node.node.toml_file import nearest

    try:
        if entry_point_of(name) is None:
            raise OperatorError(
                f"no module {name!r} is installed", nearest(name, installed_names()),
                "`dawan-node module list` shows what is here.",
            )  # fmt: skip
        versions = {module.version: module for module in installed_versions(name)}
    except DeclarationError as error:
        raise OperatorError(
            f"the module {name} cannot be loaded", str(error), "Correct it: dawan-node module lint shows everything."
        ) from None
    wanted = version or max(versions)
    if wanted not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise OperatorError(f"{name} is not installed in version {wanted}", f"here is {known}", "Choose one of them.")
    return versions[wanted]


def _short(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
