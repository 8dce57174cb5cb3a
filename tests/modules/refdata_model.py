"""What the module ``refdata`` promises, in dictionaries: why a command fails, and what is in force on a date.

Nothing here reads the channel or calls the module. Of a row it is known whether it has the form of its table, because
somebody wrote it so.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dawan_node.execution.module import business_date
from dawan_node.modules.governance.declaration import VOTING_MS
from dawan_node.modules.refdata.loading import NewRow

#: The founding organisations vote, and more than half of them decide.
ADMINS: Final = ("gz-admin", "hk-admin", "mo-admin", "hq-admin")
NEEDED: Final = 3
#: Has the form of a date and is none.
NO_DAY: Final = "2026-02-30"
#: Editions on top of one another (``loading.DEPTH_MAX``).
DEPTH: Final = 8
#: Parameters with their bounds and first values; the last one is the module's own, which gives the value itself.
LIMITS: Final = {
    "lc.exam.banking_days": (1, 366, 5),
    "statistics.k_min": (2, 10_000, 10),
    "refdata.own.limit": (-(10**15), 10**15, 7),
}
KEYS: Final = tuple(LIMITS)
OWN_DEFAULT: Final = LIMITS["refdata.own.limit"][2]

#: The reason with which a command fails; empty if it does not.
Answer = str
#: Person, command, arguments; rows are ``NewRow``.
Choice = tuple[str, str, dict[str, Any]]


def removed(code: str) -> NewRow:
    return NewRow(code, "", (), True)


def _currency(code: str, exponent: str, name: str = "money", numeric: str = "000") -> NewRow:
    return NewRow(code, name, (("exponent", exponent), ("numeric", numeric)), False)


def _country(code: str, alpha3: str, name: str = "land") -> NewRow:
    return NewRow(code, name, (("alpha3", alpha3), ("numeric", "156")), False)


def _year(code: str, closed: str, opened: str) -> NewRow:
    return NewRow(code, "year", (("closed", closed), ("opened", opened)), False)


#: 14 and 28 February 2026, 8 February 2025 and 6 February 2027 are Saturdays.
_YEARS: Final = (
    (_year("2025", "0101 1001", "0208"), True),
    (_year("2025", "", ""), True),
    (_year("2026", "0101 0217 1001", "0214 0228"), True),
    (_year("2026", "0101 0217 0218", ""), True),
    (_year("2027", "0101 1231", "0206"), True),
    (_year("2028", "0229", ""), True),
    (_year("2026", "0217 0101", ""), False),
    (_year("2026", "0229", ""), False),
    (_year("2026", "", "0213"), False),
    (_year("2026", "0214", "0214"), False),
    (_year("1999", "", ""), False),
)
#: Rows that somebody may write, and whether they have the form of their table.
ROWS: Final[dict[str, tuple[tuple[NewRow, bool], ...]]] = {
    "currency": (
        *[(_currency(code, exponent), True) for code in ("CNY", "EUR", "HKD", "JPY", "MOP") for exponent in "20"],
        (_currency("cny", "2"), False),
        (_currency("HKD", "x"), False),
        (_currency("MOP", "2", name=""), False),
        (_currency("JPY", "0", numeric="39"), False),
    ),
    "country": (
        *[(_country(code, f"{code}X"), True) for code in ("CN", "HK", "MO", "SG")],
        (_country("CN", "CHN", "China"), True),
        (_country("SG", "SINGAPORE"), False),
    ),
    "calendar_cn": _YEARS,
    "calendar_hk": _YEARS,
    "calendar_mo": _YEARS,
}
_CALENDARS: Final = {"CN": "calendar_cn", "HK": "calendar_hk", "MO": "calendar_mo"}
_SATURDAY: Final = 5


@dataclass
class Edited:
    """An edition: what it amends, who writes it, what it says and how far it came."""

    base: int
    depth: int
    opener: str
    rows: dict[str, NewRow] = field(default_factory=dict)
    last: str = ""
    state: str = "open"
    since: str = ""


@dataclass
class Ballot:
    """A vote, and what it is about: the command that proposed it with its arguments."""

    command: str
    args: dict[str, Any]
    closes_ms: int
    voted: list[str] = field(default_factory=list)
    approvals: int = 0
    status: str = "open"


@dataclass
class Model:
    """Editions by table and version, votes by name, values by parameter and date."""

    editions: dict[tuple[str, int], Edited] = field(default_factory=dict)
    ballots: dict[str, Ballot] = field(default_factory=dict)
    values: dict[tuple[str, str], int] = field(default_factory=dict)

    # -- what is in force

    def newest(self, table: str) -> int:
        """The newest version of a table; 0 if it has none."""
        return max([version for of, version in self.editions if of == table], default=0)

    def in_force(self, table: str, date: str) -> int | None:
        """The version in force on a date: the latest, of two of one day the newer."""
        begun = [
            (edition.since, version)
            for (of, version), edition in self.editions.items()
            if of == table and edition.state == "adopted" and edition.since <= date
        ]
        return max(begun)[1] if begun else None

    def content(self, table: str, version: int) -> dict[str, NewRow]:
        """All that holds while a version does, by code."""
        edition = self.editions[table, version]
        found = self.content(table, edition.base) if edition.base else {}
        for code, row in edition.rows.items():
            found.pop(code, None)
            if not row.removed:
                found[code] = row
        return found

    def answers(self, table: str, date: str) -> list[NewRow]:
        """The rows in force on a date, by code."""
        version = self.in_force(table, date)
        return [] if version is None else [row for _, row in sorted(self.content(table, version).items())]

    def value(self, key: str, date: str) -> int:
        """The value of a parameter in force on a date."""
        dated = [(since, value) for (of, since), value in self.values.items() if of == key and since <= date]
        return max(dated)[1] if dated else LIMITS[key][2]

    def is_open(self, places: Sequence[str], date: str, today: str) -> bool | None:
        """Whether a date is a banking day of all places, by the calendars of today; None if one is not published."""
        found: list[bool] = []
        for place in places:
            rows = [row for row in self.answers(_CALENDARS[place], today) if row.code == date[:4]]
            if not rows or not -1 <= int(date[:4]) - int(today[:4]) <= 2:
                return None
            attributes = dict(rows[0].attributes)
            month_day = date[5:7] + date[8:]
            weekday = datetime.date.fromisoformat(date).weekday() < _SATURDAY
            closed = month_day in attributes["closed"].split()
            found.append(month_day in attributes["opened"].split() or (weekday and not closed))
        return all(found)

    # -- what a command comes to

    def answer(self, choice: Choice, now_ms: int) -> Answer:
        """Carry a command out at a block time, or say why it fails."""
        person, command, args = choice
        if person not in ADMINS:
            return "E_ROLE"
        rule: Callable[[str, dict[str, Any], int], Answer] = getattr(self, f"_{command}")
        return rule(person.removesuffix("-admin"), args, now_ms)

    def _open_edition(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        table, version, base = args["table"], args["version"], args["base"]
        if table not in ROWS:
            return "E_TABLE"
        if version != self.newest(table) + 1:
            return "E_VERSION"
        below = self.editions.get((table, base))
        if base and (below is None or below.state != "adopted" or below.depth == DEPTH):
            return "E_BASE"
        self.editions[table, version] = Edited(base, below.depth + 1 if base and below else 0, org)
        return ""

    def _own(self, org: str, args: dict[str, Any], *states: str) -> Answer:
        edition = self.editions.get((args["table"], args["version"]))
        if edition is None:
            return "E_UNKNOWN_EDITION"
        if edition.opener != org:
            return "E_NOT_OPENER"
        return "" if edition.state in states else "E_EDITION_STATE"

    def _write_rows(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        reason = self._own(org, args, "open")
        if reason:
            return reason
        table, edition = args["table"], self.editions[args["table"], args["version"]]
        below = self.content(table, edition.base) if edition.base else {}
        last = edition.last
        for row in args["rows"]:
            if row.code <= last:
                return "E_ROW_ORDER"
            if row.removed and row.code not in below:
                return "E_ROW_REMOVED"
            if not row.removed and (row, True) not in ROWS[table]:
                return "E_ROW"
            last = row.code
        edition.rows |= {row.code: row for row in args["rows"]}
        edition.last = last
        return ""

    def _seal_edition(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        reason = self._own(org, args, "open")
        edition = self.editions.get((args["table"], args["version"]))
        if reason or edition is None or not edition.rows:
            return reason or "E_EMPTY"
        edition.state = "sealed"
        return ""

    def _discard_edition(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        reason = self._own(org, args, "open", "sealed")
        if not reason:
            self.editions[args["table"], args["version"]].state = "discarded"
        return reason

    def _purge_rows(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        edition = self.editions.get((args["table"], args["version"]))
        if edition is None:
            return "E_UNKNOWN_EDITION"
        if edition.state != "discarded" or not edition.rows:
            return "E_EDITION_STATE" if edition.state != "discarded" else "E_EMPTY"
        edition.rows = {}
        return ""

    def _adoptable(self, args: dict[str, Any], now_ms: int) -> Answer:
        table, version, date = args["table"], args["version"], args["effective_from"]
        if date == NO_DAY:
            return "E_DATE"
        edition = self.editions.get((table, version))
        if edition is None:
            return "E_UNKNOWN_EDITION"
        if edition.state != "sealed":
            return "E_EDITION_STATE"
        replaces = any(of == table and each.state == "adopted" for (of, _), each in self.editions.items())
        if replaces and date <= business_date(now_ms):
            return "E_EFFECTIVE"
        return "E_STALE" if edition.base and self.in_force(table, date) != edition.base else ""

    def _settable(self, args: dict[str, Any], now_ms: int) -> Answer:
        if args["key"] not in LIMITS:
            return "E_PARAM"
        least, greatest, _ = LIMITS[args["key"]]
        if not least <= args["value"] <= greatest:
            return "E_VALUE"
        if args["effective_from"] == NO_DAY:
            return "E_DATE"
        return "" if args["effective_from"] > business_date(now_ms) else "E_EFFECTIVE"

    def _propose_edition(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        return self._adoptable(args, now_ms) or self._propose("edition", args, now_ms)

    def _propose_parameter(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        return self._settable(args, now_ms) or self._propose("parameter", args, now_ms)

    def _propose(self, command: str, args: dict[str, Any], now_ms: int) -> Answer:
        if " " in args["id"]:
            return "E_NAME"
        if args["id"] in self.ballots:
            return "E_EXISTS"
        self.ballots[args["id"]] = Ballot(command, args, now_ms + VOTING_MS)
        return ""

    def _vote(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        ballot = self.ballots.get(args["proposal"])
        if ballot is None or org in ballot.voted:
            return "E_UNKNOWN" if ballot is None else "E_VOTED"
        if ballot.status != "open" or now_ms >= ballot.closes_ms:
            return "E_CLOSED"
        ballot.voted.append(org)
        ballot.approvals += args["approve"]
        if ballot.approvals >= NEEDED:
            ballot.status = "passed"
        elif len(ballot.voted) - ballot.approvals > len(ADMINS) - NEEDED:
            ballot.status = "rejected"
        return ""

    def _enact(self, org: str, args: dict[str, Any], now_ms: int) -> Answer:
        ballot = self.ballots.get(args["proposal"])
        if ballot is None:
            return "E_UNKNOWN_CHANGE"
        if ballot.status != "passed" or now_ms >= ballot.closes_ms:
            return "E_NOT_PASSED" if ballot.status != "passed" else "E_CLOSED"
        change, date = ballot.args, ballot.args["effective_from"]
        reason = (self._adoptable if ballot.command == "edition" else self._settable)(change, now_ms)
        if reason:
            return reason
        if ballot.command == "edition":
            edition = self.editions[change["table"], change["version"]]
            edition.state, edition.since = "adopted", date
        else:
            self.values[change["key"], date] = change["value"]
        ballot.status = "enacted"
        return ""
