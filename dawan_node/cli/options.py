"""Options that many commands share, and how they print."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from dawan_node.errors import ConfigError, KeystoreError

DEFAULT_HOME: Final = Path("dawan")
# The name under which systemd's LoadCredential offers the passphrase.
CREDENTIAL: Final = "dawan-passphrase"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def home_option(function: _Function) -> _Function:
    """``--home``, environment ``DAWAN_HOME``, default ``./dawan``; arrives as a Path."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="DAWAN_HOME",
        default=DEFAULT_HOME,
        show_default="./dawan",
        help="The node's folder (or DAWAN_HOME).",
    )(function)


def output_option(function: _Function) -> _Function:
    """``-o json|table``; arrives as ``output``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        help="json is stable and complete; table is for eyes.",
    )(function)


def passphrase_option(function: _Function, **more: Any) -> _Function:
    """``--passphrase-file``; a passphrase is never an argument or an environment variable, where others can see it.

    ``more`` is for ``click.option``."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File with the passphrase, mode 0600. Otherwise: systemd credential, else a prompt.",
        **more,
    )(function)


def obtain_passphrase(file: Path | None, *, prompt: str = "Passphrase", confirm: bool = False) -> bytes:
    """The passphrase from ``file``, else from systemd's credential folder, else from the terminal.

    Raises KeystoreError when there is none of the three, or the file is readable by others.
    """
    # Here because it takes cryptography with it, which no --help needs.
    from dawan_node.crypto.keystore import read_passphrase_file

    if file is not None:
        return read_passphrase_file(file)
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if folder and (Path(folder) / CREDENTIAL).exists():
        return read_passphrase_file(Path(folder) / CREDENTIAL, guarded=False)
    if not sys.stdin.isatty():
        raise KeystoreError(
            "no passphrase",
            "there is no terminal to ask at",
            "Give --passphrase-file FILE, or a systemd credential named " + CREDENTIAL + ".",
        )
    text: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm)
    return text.encode()


def load_home(path: Path) -> Any:
    """The ``Home`` of a folder that was initialised. Raises ConfigError."""
    from dawan_node.node.home import Home

    home = Home(path)
    if not home.config_file.exists():
        raise ConfigError(
            f"{path} is not a node's folder",
            f"there is no {home.config_file.name} in it",
            "Run `dawan-node init`, or name the folder with --home.",
        )
    return home


def write_private_file(path: Path, data: bytes) -> None:
    """A new file, mode 0600. Raises ConfigError when it exists or cannot be written."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written", error.strerror or "unknown reason", "Name a new file in a folder of yours."
        ) from None


#: Unicode categories: control, format, half of a character, separator of lines, of paragraphs.
_ACTING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
#: What ``json`` leaves raw of them and a terminal obeys or UTF-8 has not; all have escapes of four digits.
_ACTING_IN_JSON: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def print_json(value: object) -> None:
    """``value`` as indented JSON, text as it is."""
    click.echo(json_text(value, indent=2))


def json_text(value: object, indent: int | None = None) -> str:
    """JSON with text as it is, but for characters that act on a terminal or that UTF-8 has not: they are escapes."""
    written = json.dumps(value, indent=indent, ensure_ascii=False)
    return _ACTING_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def one_line(text: str) -> str:
    """``text`` with everything visible that acts on a terminal or breaks a line: what a stranger wrote forges no line.

    Controls, formatting such as a change of writing direction, separators of lines and halves of characters become
    ``\\x1b`` or ``\\u202e``; the spaces of all scripts stay.
    """
    if text.isprintable():
        return text
    import unicodedata

    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _ACTING else character
        for character in text
    )


def print_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> None:
    """Rows under headings; ``columns`` maps a row's keys to headings. Full-width characters count double."""
    widths = table_widths(columns, rows)
    print_row(columns, columns, widths)
    for row in rows:
        print_row(columns, row, widths)


def table_widths(columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]) -> list[int]:
    """How wide each column of ``print_table`` is."""
    return [
        max(_width(heading), *(_width(_text(row.get(key, ""))) for row in rows), 0) for key, heading in columns.items()
    ]


def print_row(columns: Mapping[str, str], row: Mapping[str, object], widths: Sequence[int]) -> None:
    """One line of a table; a text wider than its column moves the rest of the line."""
    texts = [_text(row.get(key, "")) for key in columns]
    cells = (text + " " * (width - _width(text)) for text, width in zip(texts, widths, strict=True))
    click.echo("  ".join(cells).rstrip())


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return one_line(", ".join(str(part) for part in value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return one_line(str(value))


def _width(text: str) -> int:
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
