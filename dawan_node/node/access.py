"""Who may do what, as tables: made from the rules the node itself goes by, never written by hand.

Three ways lead into a node, and each has one place that decides: JSON-RPC (``rpc.methods.ROUTES``), transactions (the
roles a command declares in its module, judged by the executor), and peers (``topics.TOPIC_RULES``). What no rule lets
in is refused. The tests try every cell of these tables on the real thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dawan_node.execution.module import ORG_ADMIN, VALIDATOR, Command, Module
from dawan_node.node.topics import TOPIC_RULES, Standing, Treatment, treatment
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.transaction import BARRIER_COMMANDS
from dawan_node.rpc.access import Kind
from dawan_node.rpc.methods import ROUTES
from dawan_node.rpc.params import Route

#: An identity whose roles no command asks for.
OTHER_ROLE: Final = "any other role"
#: A key that is not registered on the channel, or revoked, or of an organisation that is suspended there.
NO_IDENTITY: Final = "unknown, revoked or suspended"


class Cell(StrEnum):
    """What happens to one subject at one object."""

    YES = "yes"
    ANSWERED = "sends, is answered"
    SENDS = "sends"
    IGNORED = "ignored"
    CLOSED = "link closed"
    NO_CHANNEL = "-32001"  # exactly as for a channel that does not exist
    UNAUTHENTICATED = "-32010"
    FORBIDDEN = "-32011"
    NO_ROLE = "code 2"
    NO_KEY = "code 1"


@dataclass(frozen=True, slots=True)
class Row:
    """One object and what each subject may do with it. ``note`` is for people."""

    object: str
    cells: Mapping[str, Cell]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Objects of one sort. Every row has a cell for every subject."""

    name: str
    object: str
    subjects: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def cells(self) -> int:
        """How many decisions the table holds."""
        return len(self.subjects) * len(self.rows)


def matrix(modules: Sequence[Module]) -> tuple[Table, ...]:
    """The three tables, transactions for ``modules``."""
    return (methods(ROUTES.values()), commands(modules), topics())


def methods(routes: Iterable[Route]) -> Table:
    """JSON-RPC methods and kinds of callers. OUTSIDER and MEMBER are meant on the channel the call names."""
    rows = (
        Row(
            route.name,
            {kind.value: method_cell(route, kind) for kind in Kind},
            "about one channel" if route.names_channel else "",
        )
        for route in routes
    )
    return Table("JSON-RPC", "method", tuple(kind.value for kind in Kind), tuple(rows))


def method_cell(route: Route, kind: Kind) -> Cell:
    """What a caller of that kind hears."""
    if kind in route.callers:
        return Cell.YES
    if kind is Kind.ANONYMOUS:
        return Cell.UNAUTHENTICATED
    return Cell.NO_CHANNEL if kind is Kind.OUTSIDER and route.names_channel else Cell.FORBIDDEN


def commands(modules: Sequence[Module]) -> Table:
    """Transactions and the one role of their sender; whoever has several may do what any of them may."""
    subjects = (*roles_of(modules), OTHER_ROLE, NO_IDENTITY)
    rows = (
        Row(
            f"{module.name}.{command.name}",
            {subject: command_cell(command, subject) for subject in subjects},
            "alone in its block" if (module.name, command.name) in BARRIER_COMMANDS else "",
        )
        for module in modules
        for command in module.commands.values()
    )
    return Table("Transactions", "command", subjects, tuple(rows))


def roles_of(modules: Iterable[Module]) -> tuple[str, ...]:
    """Every role that some command asks for, and the administrator's."""
    named = {role for module in modules for command in module.commands.values() for role in command.roles}
    return tuple(sorted(named | {ORG_ADMIN}))


def command_cell(command: Command, subject: str) -> Cell:
    """What the executor does with a transaction of an identity with that role and no other; the role ``validator`` is
    that of a validator's own key, and of nobody else."""
    if subject == NO_IDENTITY:
        return Cell.NO_KEY
    return Cell.YES if command.is_open_to((subject,), is_seat=subject == VALIDATOR) else Cell.NO_ROLE


def topics() -> Table:
    """Messages of peers, by what the peer is to the channel."""
    rows = (Row(topic.name, {standing.value: topic_cell(topic, standing) for standing in Standing}) for topic in Topic)
    return Table("Peers", "topic", tuple(standing.value for standing in Standing), tuple(rows))


def topic_cell(topic: Topic, standing: Standing) -> Cell:
    """What becomes of a message on that topic, and of a request."""
    match treatment(topic, standing):
        case Treatment.TAKEN:
            return Cell.ANSWERED if TOPIC_RULES[topic].answers else Cell.SENDS
        case Treatment.IGNORED:
            return Cell.IGNORED
        case Treatment.REFUSED:
            return Cell.CLOSED
