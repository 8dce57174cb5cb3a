"""What refdata declares: editions, rows, parameters, changes put to the vote; events, errors."""

from __future__ import annotations

from typing import Final, Literal

from dawan_node.execution.module import Entity, Event, Hash32, Module, days_between, key_of

EditionState = Literal["open", "sealed", "adopted", "discarded"]
ChangeKind = Literal["edition", "parameter"]


def day_of(date: str) -> int:
    """A number that orders dates."""
    return days_between("0001-01-01", date)


class Edition(Entity, collection="edition", schema=1, exported=True):
    """One version of one table. ``base`` is the version it amends, 0 for a complete table; ``depth`` counts the
    editions below it. ``digest`` runs over the rows in order of code (``loading.digest_after``); ``source`` is the
    SHA-256 of the file they come from. ``effective_from`` is empty until the edition is adopted."""

    table: str
    version: int
    base: int
    depth: int
    title: str
    source: bytes
    opened_by: str
    rows: int
    last_code: str
    digest: bytes
    state: EditionState
    effective_from: str
    resolution: str

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_table": lambda edition: [(edition.table, edition.version)],
        "newest": lambda edition: [(edition.table, -edition.version)],
        # The first entry not later than a date is the one in force; of two with one date, the higher version.
        "in_force": lambda edition: (
            [(edition.table, -day_of(edition.effective_from), -edition.version)] if edition.effective_from else []
        ),
    }

    def primary_key(self) -> bytes:
        return key_of(self.table, self.version)


class Row(Entity, collection="row", schema=1, exported=True):
    """One code of one edition. ``attributes`` are the table's, in order of name; ``removed``: the edition it amends had
    this code and this one has it no longer. Written once."""

    table: str
    version: int
    code: str
    name: str
    attributes: tuple[tuple[str, str], ...]
    removed: bool

    indexes = {"by_edition": lambda row: [(row.table, row.version, row.code)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.table, self.version, self.code)

    def attribute(self, name: str) -> str:
        """One of the table's attributes. Raises KeyError for a name the table has not."""
        return dict(self.attributes)[name]


class Parameter(Entity, collection="parameter", schema=1, exported=True):
    """The value of a parameter from a date on, and the proposal that set it. A date that has come is never changed."""

    key: str
    value: int
    effective_from: str
    resolution: str

    indexes = {"in_force": lambda parameter: [(parameter.key, -day_of(parameter.effective_from))]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.key, self.effective_from)


class Change(Entity, collection="change", schema=1, exported=True):
    """What a proposal of governance with the same id would change here; never altered once it is put to the vote."""

    proposal: str
    kind: ChangeKind
    subject: str
    table: str
    version: int
    key: str
    value: int
    effective_from: str

    indexes = {"by_proposal": lambda change: [(change.proposal,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.proposal)


class EditionOpened(Event):
    table: str
    version: int
    title: str


class EditionSealed(Event):
    table: str
    version: int
    rows: int
    digest: Hash32


class EditionDiscarded(Event):
    table: str
    version: int


class EditionAdopted(Event):
    table: str
    version: int
    effective_from: str


class ParameterSet(Event):
    key: str
    value: int
    effective_from: str


ERRORS: Final = {
    "E_TABLE": "There is no such table.",
    "E_VERSION": "The next version of a table is one more than its newest.",
    "E_BASE": "An edition amends an adopted edition, eight deep at most, or none.",
    "E_UNKNOWN_EDITION": "There is no such edition.",
    "E_EDITION_STATE": "The edition is in a state in which this is not possible.",
    "E_NOT_OPENER": "Only the organisation that opened the edition may do this.",
    "E_ROW": "A row has not the form of its table.",
    "E_ROW_ORDER": "Rows come in ascending order of code, after those written before.",
    "E_ROW_REMOVED": "A removed row has neither name nor attributes, and its code stands in the edition amended.",
    "E_EMPTY": "The edition has no rows.",
    "E_DATE": "The text has the form of a date but no such day exists.",
    "E_EFFECTIVE": "What replaces something takes effect tomorrow at the earliest.",
    "E_STALE": "The edition amends one that would not be in force then; load it on the one that is.",
    "E_PARAM": "The key is neither a known parameter nor one of a module of this channel.",
    "E_VALUE": "The value is outside the parameter's bounds.",
    "E_UNKNOWN_CHANGE": "There is no such change.",
}

module: Final = Module(
    "refdata",
    version=1,
    entities=(Edition, Row, Parameter, Change),
    events=(EditionOpened, EditionSealed, EditionDiscarded, EditionAdopted, ParameterSet),
    errors=ERRORS,
    uses=("governance",),
)
