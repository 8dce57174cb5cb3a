"""What an import says is its own: nothing that a file holds becomes a line of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from dawan_node.cli.import_record import Record, Standard, Verdict
from dawan_node.cli.import_report import Report
from dawan_node.cli.options import print_json, print_table

#: A line of its own, a colour, a terminal's C1 command, text from right to left, a file name that is no UTF-8.
HOSTILE = "x\nforged.json  recorded\r\x1b[31m\x9b2J\u2028\u202e\udcff"


class Names:
    """A standard with one column."""

    columns = {"name": "NAME"}  # noqa: RUF012 - nobody changes it

    def line(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return row


def reported(output: str) -> None:
    report = Report(cast(Standard, Names()), output)
    for name in (HOSTILE, "香港　公司 é"):
        record = Record(HOSTILE, 0, 0, {"name": name}, (HOSTILE,))
        record.settle(Verdict.REFUSED, "E_X", HOSTILE)
        report.add(record)
    report.close()


def test_text_of_a_message_forges_no_line_and_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    reported("table")
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 1 + 2 * 3 + 1 + 1 and lines[-1] == "", "headings, two rows with two remarks each, the sum"
    assert all(line.isprintable() or "　" in line for line in lines)
    assert r"x\nforged.json  recorded\r\x1b[31m\x9b2J\u2028\u202e\udcff" in lines[1]
    assert any("香港　公司 é" in line for line in lines), "text of any script stays as it is"


def test_json_says_the_same_text_without_raw_controls(capsys: pytest.CaptureFixture[str]) -> None:
    reported("json")
    out = capsys.readouterr().out
    assert [row["name"] for row in json.loads(out)] == [HOSTILE, "香港　公司 é"]
    assert "香港　公司 é" in out and all(line.isprintable() or "　" in line for line in out.split("\n"))


def test_every_table_and_every_json_of_the_command_line_is_as_careful(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"name": "NAME"}, [{"name": HOSTILE}, {"name": [HOSTILE]}])
    print_json({"name": HOSTILE})
    out = capsys.readouterr().out.split("\n")
    assert len(out) == 3 + 3 + 1 and all(line.isprintable() for line in out)
