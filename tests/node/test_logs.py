"""One event is one line, whatever peers and clients put into its values."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.node import logs
from dawan_node.node.logs import VALUE_CHARS_MAX, fields

log = logging.getLogger("dawan_node.test_logs")

EVIL = [
    "x\nlevel=info event=block_committed height=999",
    "x\r\nforged",
    "\x1b[2J\x1b[31mred\x07",
    "a b=c",
    'quote" and \\ backslash',
    "\u2028line\u2029paragraph\x85next",
    "\u202eright to left",
    "\x00nul",
    "",
]


def written(form: str, level: int = logging.INFO, event: str = "event", **values: object) -> str:
    stream = io.StringIO()
    logs.configure(form, "debug", stream)
    log.log(level, event, extra=fields(**values))
    return stream.getvalue()


def is_one_line(text: str) -> bool:
    return len(text.splitlines()) == 1 and text.endswith("\n") and text[:-1].isprintable()


@pytest.mark.parametrize("value", EVIL)
def test_no_value_begins_a_second_line_moves_the_cursor_or_forges_a_field(value: str) -> None:
    line = written("logfmt", peer=value, height=7)
    assert is_one_line(line)
    head, _, rest = line.partition(" peer=")
    assert head.endswith("info dawan_node.test_logs event")
    decoded, end = json.JSONDecoder().raw_decode(rest)
    assert decoded == value and rest[end:] == " height=7\n"


@pytest.mark.parametrize("value", EVIL)
def test_a_json_line_gives_every_value_back_and_is_one_line(value: str) -> None:
    line = written("json", peer=value, height=7)
    assert is_one_line(line)
    entry = json.loads(line)
    assert (entry["peer"], entry["height"], entry["event"], entry["level"]) == (value, 7, "event", "info")
    assert entry["time"].endswith("Z") and entry["logger"] == "dawan_node.test_logs"


@given(st.text())
def test_any_text_stays_on_its_line(text: str) -> None:
    for form in ("logfmt", "json"):
        assert is_one_line(written(form, value=text)), form


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_what_a_library_logs_is_one_line_too(form: str) -> None:
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    logging.getLogger("asyncio").error("Exception in callback\nhandle: %s", "<Handle \x1b[2J>")
    assert is_one_line(stream.getvalue()) and "Exception in callback" in stream.getvalue()


def test_text_that_cannot_be_encoded_is_written_all_the_same(tmp_path: Path) -> None:
    for form in ("logfmt", "json"):
        with open(tmp_path / form, "w", encoding="ascii") as stream:
            logs.configure(form, "info", stream)
            log.info("event", extra=fields(name="\ud800 粤港澳"))
        assert is_one_line((tmp_path / form).read_text(encoding="ascii"))


def test_plain_values_are_written_plainly() -> None:
    line = written("logfmt", peer="hk1", height=7, ok=True, hash=b"\xab\xcd", rate=1.5, nothing=None)
    assert line.endswith(" event peer=hk1 height=7 ok=True hash=abcd rate=1.5 nothing=None\n")


def test_a_long_value_is_cut_so_that_the_line_stays_readable() -> None:
    for form in ("logfmt", "json"):
        assert len(written(form, value="x" * 100_000)) < VALUE_CHARS_MAX + 200, form


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_an_exception_is_one_line_with_its_trace(form: str) -> None:
    stream = io.StringIO()
    logs.configure(form, "info", stream)
    try:
        raise ValueError("first\nsecond \x1b[31m")
    except ValueError:
        log.error("task_failed", exc_info=True)
    text = stream.getvalue()
    assert is_one_line(text) and "task_failed" in text and "ValueError" in text and "test_logs.py" in text


def test_the_level_holds_for_this_package_and_others_speak_only_of_trouble() -> None:
    stream = io.StringIO()
    logs.configure("logfmt", "warning", stream)
    log.info("too_quiet")
    log.warning("loud_enough")
    logging.getLogger("someone.else").info("chatter")
    logging.getLogger("someone.else").warning("trouble")
    assert [line.split()[3] for line in stream.getvalue().splitlines()] == ["loud_enough", "trouble"]


def test_configuring_twice_writes_each_line_once() -> None:
    first = io.StringIO()
    logs.configure("logfmt", "info", first)
    assert len(written("logfmt").splitlines()) == 1 and first.getvalue() == ""
