"""Logs are events with fields: ``block_committed channel=trade height=7 transactions=120``, or the same as JSON.

The event's name is the log message and never contains data; what varies stands in ``extra={"fields": {...}}``. Values
are written on one line with control characters escaped, so that nothing a peer or client sends can forge a line
(reliability.md G7). Secrets are never passed as fields.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

# Long enough for any hash, path or reason; a longer value is cut so that a line stays readable.
VALUE_CHARS_MAX: Final = 400

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@+,\-\[\]]+")


def fields(**values: Any) -> dict[str, Mapping[str, Any]]:
    """The ``extra`` of a log call: ``log.info("peer_up", extra=fields(peer="hk1"))``."""
    return {"fields": values}


class _Formatter(logging.Formatter):
    def _moment(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"

    def _values(self, record: logging.LogRecord) -> dict[str, Any]:
        values = dict(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            values["error"] = repr(record.exc_info[1])
            values["trace"] = self.formatException(record.exc_info)
        return values


class LogfmtFormatter(_Formatter):
    """``time level logger event key=value``; made for eyes and grep."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        values = self._values(record)
        trace = values.pop("trace", None)
        # Our own events are plain words; what libraries log is a sentence with data in it.
        event = _logfmt(record.getMessage())
        parts = [self._moment(record), record.levelname.lower(), record.name, event]
        parts += [f"{key}={_logfmt(value)}" for key, value in values.items()]
        line = " ".join(parts)
        return f"{line} trace={_logfmt(trace, cut=False)}" if trace else line


class JsonFormatter(_Formatter):
    """One JSON object per line; made for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry: dict[str, Any] = {
            "time": self._moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _cut(record.getMessage()),
        }
        for key, value in self._values(record).items():
            plain = _plain(value)
            entry[key] = _cut(plain) if isinstance(plain, str) and key != "trace" else plain
        # Escaped to ASCII: JSON itself lets line separators, C1 controls and text direction marks through.
        return json.dumps(entry, ensure_ascii=True)


def configure(form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the package's log to ``stream`` (standard error) as ``logfmt`` or ``json`` from ``level`` upwards."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else LogfmtFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("dawan_node").setLevel(level.upper())


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, int | str | bool | None) else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "..."


def _logfmt(value: Any, cut: bool = True) -> str:
    text = str(_plain(value))
    if cut:
        text = _cut(text)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=True)
