"""What all importers share: their options, and the way from files to the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dawan_node.cli.connect import channel_option, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_delivery import Patience, journal_option, patience_option
from dawan_node.cli.import_sources import LeftOut, documents
from dawan_node.cli.options import output_option

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_record import Record, Standard
    from dawan_node.cli.import_report import Report

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Order:
    """How to import, as the options of the command say."""

    files: tuple[str, ...]
    key: str | None
    dry_run: bool
    lines: bool
    partial: bool
    journal: Path | None
    patience: int
    channel: str | None
    rpc: str | None
    home: Path
    output: str

    @property
    def sends(self) -> bool:
        """Whether anything may be sent at all."""
        return self.key is not None and not self.dry_run


def import_options(function: _Function) -> _Function:
    """FILE... and the options of every importer; they arrive as the fields of ``Order``."""
    for option in (
        output_option,
        rpc_options,
        channel_option,
        patience_option,
        journal_option,
        click.option("--partial", is_flag=True, help="Send what is sound of a document of which a part is refused."),
        click.option(
            "--lines",
            is_flag=True,
            help="One document per line, in every FILE. Always so for .jsonl, .ndjson and .ndxml.",
        ),
        click.option("--dry-run", is_flag=True, help="Send nothing, even with a key."),
        click.option(
            "--key",
            help="Record what is acceptable, signed by this key: a name in --home, or a key file. "
            "Without it nothing is sent.",
        ),
        click.argument("files", metavar="FILE...", nargs=-1, required=True),
    ):
        function = option(function)
    return function


def unlocked_key(order: Order) -> Any:
    """The key that signs. Raises KeystoreError."""
    from dawan_node.cli.connect import passphrase_file_of_command
    from dawan_node.cli.sending import signing_key

    assert order.key is not None  # asked for only where something is sent
    return signing_key(order.key, order.home, passphrase_file_of_command())


def run_import(standard: Standard, order: Order, command: str, private: Any = None) -> None:
    """Import ``order.files`` and report. ``private``: the key, where it is unlocked already.

    Raises CommandFailed with the exit code that the outcome asks for.
    """
    from dawan_node.cli.import_report import Report

    for file in order.files:
        if file != "-" and not Path(file).exists() and not Path(file).is_symlink():
            raise CommandFailed(ExitCode.USAGE, f"{file} does not exist", "there is no such file", "Check its name.")
    report = Report(standard, order.output)
    left_out = LeftOut()
    sources = documents(order.files, standard.suffixes, standard.bytes_max, lines=order.lines, left_out=left_out)
    began = time.monotonic()
    try:
        read = (_read(standard, document) for document in sources)
        if order.sends:
            key = unlocked_key(order) if private is None else private
            _send(standard, order, command, key, read, report)
        else:
            for records in read:
                _report_only(records, report)
    finally:
        report.close()
    if left_out.files:
        ends = ", ".join((*standard.suffixes, ".jsonl", ".ndjson", ".ndxml"))
        click.echo(f"{left_out.files} other files were left out (their names end in none of {ends}).", err=True)
    if not report.records:
        raise CommandFailed(ExitCode.USAGE, "nothing to import", "there is no document there", "Name other files.")
    if order.sends:
        from dawan_node.cli.import_pipeline import summary

        took_s = time.monotonic() - began
        rate = report.records / took_s if took_s else 0.0
        click.echo(f"{report.records:,} records in {took_s:.1f} s ({rate:.0f}/s): {summary(report.counted)}", err=True)
    else:
        click.echo("Nothing was sent: --key NAME records what is acceptable.", err=True)
    channel = order.channel or "CHANNEL"
    report.fail(f'`dawan-node query rpc module_describe \'["{channel}", "{standard.module}"]\'` explains them')


def _read(standard: Standard, document: Any) -> list[Record]:
    from dawan_node.cli.import_record import refused_document

    if document.problem is not None:
        return [refused_document(document)]
    records = standard.read(document)
    for record in records:
        record.held_bytes = len(document.data) // len(records)
    return records


def _report_only(records: Sequence[Record], report: Report) -> None:
    from dawan_node.cli.import_record import Verdict

    for record in records:
        if record.verdict is Verdict.PENDING:
            record.settle(Verdict.ACCEPTABLE)
        report.add(record)


def _send(
    standard: Standard, order: Order, command: str, private: Any, read: Iterator[list[Record]], report: Report
) -> None:
    from dawan_node.cli.connect import channel_of, connected
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_journal import Journal
    from dawan_node.cli.import_pipeline import IN_FLIGHT, Pipeline, summary
    from dawan_node.cli.import_record import hold
    from dawan_node.rpc.client import RpcError, Unreachable

    with ExitStack() as stack:
        client = stack.enter_context(connected(order.rpc, order.home, submits=True))
        senders = [stack.enter_context(client.twin()) for _ in range(IN_FLIGHT)]
        patience = Patience(order.patience, lambda text: click.echo(text, err=True))
        name = patience.ask(lambda: channel_of(client, order.channel, standard.module))
        channel = ChannelView(client, name, patience)
        channel.find_sender(private.public_key)
        owner = {
            "channel": channel.name,
            "chain_id": "0x" + channel.chain_id.hex(),
            "public_key": "0x" + private.public_key.hex(),
            "command": command,
        }
        name = f"{channel.name}-{command.replace(' ', '-')}-{private.public_key.hex()[:16]}.journal"
        journal = stack.enter_context(Journal(order.journal or order.home / "imports" / name, owner))
        pipeline = Pipeline(standard, channel, private, journal, senders, report.add, patience)
        stack.callback(pipeline.close)
        resumed = pipeline.resume()
        if resumed:
            click.echo(f"settled first what an interrupted import had sent: {summary(resumed)}", err=True)
        try:
            for records in read:
                _bind(standard, records, channel)
                if not order.partial:
                    hold(records)
                for record in records:
                    pipeline.add(record)
                if pipeline.gave_up:
                    break
            pipeline.finish()
        except Unreachable as error:
            # A question was not answered: what of it all is on chain, the same command finds out.
            raise pipeline.no_answer() from error
        except RpcError as error:
            if not error.retryable:
                raise
            raise pipeline.no_answer() from error
        if pipeline.gave_up:
            raise pipeline.no_answer()


def _bind(standard: Standard, records: Sequence[Record], channel: ChannelView) -> None:
    from dawan_node.cli.import_record import Verdict

    pending = [record for record in records if record.verdict is Verdict.PENDING]
    if pending:
        standard.bind(pending, channel)
