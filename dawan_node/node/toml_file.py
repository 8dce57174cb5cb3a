"""Reading TOML files that people write: every mistake names the file, the key and what would be right.

A key that is not known is an error, never ignored: a misspelt ``alow_hosts`` must not leave a default in force
without anybody noticing.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from dawan_node.errors import ConfigError

# No file of a node or a consortium comes near; a larger one is some other file.
FILE_BYTES_MAX: Final = 4 * 1024 * 1024

T = TypeVar("T")


def read_toml(path: Path, bytes_max: int = FILE_BYTES_MAX) -> dict[str, Any]:
    """The parsed file. Raises ConfigError when it is missing, larger than ``bytes_max`` or not TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", error.strerror or "unknown reason", _origin(path)) from None
    if len(data) > bytes_max:
        raise ConfigError(
            f"{path} is not a file of this program", f"it is larger than {bytes_max // 1024} KiB", "Check the path."
        )
    try:
        return tomllib.loads(data.decode())
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML", "it is nested too deeply", "Correct that line.") from None
    except ValueError as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise ConfigError(f"{path} is not valid TOML", str(error), "Correct that line.") from None


def _origin(path: Path) -> str:
    """Where a file that is not there should have come from."""
    if path.name == "consortium.toml":
        return "Check the path and --home; the agreed network comes in with `network verify --from FOLDER`."
    if path.name == "join-request.toml":
        return "Check the path and --home, or make it with `network join-request`."
    return "Check the path and --home, or run `init`."


def convert(source: str, document: object, kind: type[T]) -> T:
    """``document`` as the msgspec struct ``kind``; ``source`` is where it came from, for messages.

    Raises ConfigError for an unknown key (naming the nearest valid one), a missing key or a value of another type.
    """
    check_keys(source, document, kind)
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source} is refused", str(error).replace("$.", ""), "Correct that value.") from None


def check_keys(source: str, document: object, kind: Any) -> None:
    """Refuse keys that the struct ``kind`` does not have. Raises ConfigError."""
    for path, key, valid in _unknown_keys("", document, inspect.type_info(kind)):
        raise ConfigError(f"{source}: unknown key {path}{key}", nearest(key, valid), "Correct or remove it.")


def nearest(key: str, valid: list[str]) -> str:
    """A sentence that helps with a misspelt name."""
    close = difflib.get_close_matches(key, valid, 1, 0.5)
    return f"the nearest valid one is {close[0]}" if close else f"valid here: {', '.join(sorted(valid))}"


def _unknown_keys(path: str, value: object, kind: inspect.Type) -> Iterator[tuple[str, str, list[str]]]:
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, inner in value.items():
            if key not in fields:
                yield path, key, list(fields)
            else:
                yield from _unknown_keys(f"{path}{key}.", inner, fields[key])
    elif isinstance(kind, inspect.UnionType):
        for option in kind.types:  # a table or nothing
            yield from _unknown_keys(path, value, option)
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from _unknown_keys(f"{path.rstrip('.')}[{number}].", inner, kind.item_type)
    elif isinstance(kind, inspect.DictType) and isinstance(value, dict):
        for key, inner in value.items():
            yield from _unknown_keys(f"{path}{key}.", inner, kind.value_type)
