"""What a script may rely on: the exit code says what to do next without reading the text."""

from __future__ import annotations

import enum

from dawan_node.errors import DawanError, NetworkError, OperatorError


class ExitCode(enum.IntEnum):
    """Exit codes of every command; numbers are API."""

    OK = 0
    FAILED = 1  # it did not work; the line on standard error says what to do
    USAGE = 2  # wrong options (click's own code)
    UNREACHABLE = 3  # no node answered: nothing happened, try again or check the address
    REJECTED = 4  # the chain said no: sending the same again gives the same answer
    TIMED_OUT = 5  # the state is unknown: ask for the receipt before anything else
    UNHEALTHY = 6  # the node answers and is not well


class CommandFailed(OperatorError):
    """A failure with an exit code of its own."""

    def __init__(self, code: ExitCode, what: str, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.code = code


def exit_code_of(error: DawanError) -> ExitCode:
    """The exit code for an error that reached the top."""
    if isinstance(error, CommandFailed):
        return error.code
    if isinstance(error, NetworkError):
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED
