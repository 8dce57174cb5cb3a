"""What an import says: a line per record or, of long files, per record that needs attention, and a sum per file.

Nothing is kept but counts and the first lines, which set the widths of the table; a million records are reported in the
memory of a hundred. ``-o json`` is one array, a record per line of text, written as they come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_pipeline import summary
from dawan_node.cli.import_record import Record, Standard, Verdict
from dawan_node.cli.options import json_text, one_line, print_row, table_widths

#: Records of one file shown whatever became of them; of longer ones only what needs attention.
SHOWN_OF_FILE: Final = 50
#: Lines whose texts set the widths of the table.
_MEASURED: Final = 50
#: Different reasons named in the last line.
_REASONS_MAX: Final = 8
_FINE: Final = frozenset({Verdict.ACCEPTABLE, Verdict.RECORDED, Verdict.ALREADY})


class Report:
    """Takes the records of an import in order. ``close`` ends the output, whatever happened."""

    def __init__(self, standard: Standard, output: str) -> None:
        self._standard: Final = standard
        self._json: Final = output == "json"
        self._columns: Final = {"file": "FILE", **standard.columns, "verdict": "VERDICT"}
        self.counted: Counter[Verdict] = Counter()
        self._reasons: dict[Verdict, dict[str, None]] = {}
        self._first: list[tuple[dict[str, Any], list[str]]] = []
        self._widths: list[int] = []
        self._file = ""
        self._of_file: Counter[Verdict] = Counter()
        self._files = 0
        self._written = 0

    @property
    def records(self) -> int:
        return self.counted.total()

    def add(self, record: Record) -> None:
        """Count and show a record."""
        if record.file != self._file or not self._files:
            self._end_file()
            self._file, self._files = record.file, self._files + 1
        self.counted[record.verdict] += 1
        self._of_file[record.verdict] += 1
        reasons = self._reasons.setdefault(record.verdict, {})
        if record.reason and len(reasons) < _REASONS_MAX:
            reasons[record.reason] = None
        if self._json:
            click.echo(("[" if not self._written else ",\n ") + json_text(record.as_json()), nl=False)
            self._written += 1
        elif self._of_file.total() <= SHOWN_OF_FILE or record.verdict not in _FINE or record.warnings:
            self._show(record)

    def close(self) -> None:
        """End the array or the table."""
        if self._json:
            click.echo("]" if self._written else "[]")
            return
        self._end_file()
        self._print_first()

    def fail(self, explain: str) -> None:
        """End with the exit code that the worst verdict asks for. Raises CommandFailed, or returns when all is well."""
        refused = self.counted[Verdict.REFUSED] + self.counted[Verdict.HELD]
        for verdict, count, code, fix in (
            (
                Verdict.UNKNOWN,
                self.counted[Verdict.UNKNOWN],
                ExitCode.TIMED_OUT,
                "Import the same again: it sends the same bytes first, and nothing is recorded twice.",
            ),
            (Verdict.REJECTED, self.counted[Verdict.REJECTED], ExitCode.REJECTED, f"See the reasons; {explain}."),
            (Verdict.REFUSED, refused, ExitCode.FAILED, "See the reasons above; other documents are not affected."),
        ):
            if count:
                reasons = ", ".join(self._reasons.get(verdict, {}))
                raise CommandFailed(code, f"{count} of {self.records} {verdict}", reasons or "see above", fix)

    def _show(self, record: Record) -> None:
        row = self._standard.line(record.as_json()) if record.row else record.as_json()
        place = f"{record.file}:{record.line}" if record.line else record.file
        shown = {**row, "file": place, "verdict": f"{record.verdict} {record.reason}".rstrip()}
        remarks = [one_line(f"  {place}: {remark}") for remark in (record.detail, *record.warnings) if remark]
        if self._widths:
            self._print(shown, remarks)
            return
        self._first.append((shown, remarks))
        if len(self._first) >= _MEASURED:
            self._print_first()

    def _print(self, row: Mapping[str, Any], remarks: list[str]) -> None:
        print_row(self._columns, row, self._widths)
        for remark in remarks:
            click.echo(remark)

    def _print_first(self) -> None:
        if self._widths:
            return
        self._widths = table_widths(self._columns, [row for row, _ in self._first])
        print_row(self._columns, self._columns, self._widths)
        for row, remarks in self._first:
            self._print(row, remarks)
        self._first.clear()

    def _end_file(self) -> None:
        """The sum of a file with several records."""
        count, counted = self._of_file.total(), self._of_file
        self._of_file = Counter()
        if count <= 1 or self._json:
            return
        told = one_line(f"  {self._file}: {count:,} records: {summary(counted)}")
        if self._first:
            self._first[-1][1].append(told)
        else:
            click.echo(told)
