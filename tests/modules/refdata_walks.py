"""Random blocks of reference data: editions written, voted on, adopted and given up, limits dated, days that pass.

Beside the invariants a model holds here: it says of each command with which reason it fails, or that it does not, and
what every look-up answers on every date. It is written from what the module promises, in dictionaries. Two things are
remembered besides, whatever the model says: an answer about a day that has come stays as it was given, and nothing that
was recorded vanishes but the rows of what was given up.
"""

from __future__ import annotations

import copy
import datetime
import functools
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import msgspec

from dawan_node.execution.module import Date, Module, Page, Params, QueryContext, add_days, business_date
from dawan_node.interchange.refdata_csv import as_sent
from dawan_node.modules.refdata import banking_calendar, lookup, parameter
from dawan_node.modules.refdata.declaration import Change, Edition, Parameter, Row
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.refdata_kit import Reference
from tests.modules.refdata_model import ADMINS, KEYS, NO_DAY, OWN_DEFAULT, ROWS, Answer, Choice, Model, removed
from tests.modules.walk_shards import Lengths, Walks

PEOPLE: Final = {"anna": ("gz", ["supplier"]), "tax-gz": ("gz", ["tax"]), "bank-hk": ("hk", ["bank"])}
EVERYBODY: Final = (*ADMINS, *sorted(PEOPLE))
#: The first is written most.
TABLES: Final = ("currency", "currency", *sorted(ROWS))
PLACES: Final = (("CN",), ("HK",), ("MO",), ("CN", "HK"), ("CN", "HK", "MO"))
#: Mostly nothing passes; sometimes a day begins, an edition takes effect, a vote is over.
PASSES: Final = (0, 0, 0, 0, DAY_MS, 3 * DAY_MS, 31 * DAY_MS)
#: Days from the day on which something is proposed: long ago, yesterday, today, to come.
EFFECTIVE: Final = (-400, -1, 0, 1, 1, 2, 5, 30)


class AnswersOn(Params):
    table: str
    codes: list[str]
    date: str


class LimitsOn(Params):
    date: str


class DaysFrom(Params):
    places: list[str]
    first: Date
    days: int


class Limit(msgspec.Struct, frozen=True):
    key: str
    value: int


class Day(msgspec.Struct, frozen=True):
    date: str
    is_open: bool | None


#: What looks reference data up, as every other module does.
reading = Module("reading", version=1, entities=(), uses=("refdata",))


@reading.query("answers", params=AnswersOn, item=Row)
def answers(ctx: QueryContext, params: AnswersOn, limit: int, cursor: bytes | None) -> Page[Row]:
    """The rows in force of some codes."""
    found = [lookup(ctx, params.table, code, params.date) for code in params.codes]
    return Page(tuple([row for row in found if row is not None]), None)


@reading.query("limits", params=LimitsOn, item=Limit)
def limits(ctx: QueryContext, params: LimitsOn, limit: int, cursor: bytes | None) -> Page[Limit]:
    """The values in force of some parameters."""
    defaults = {key: OWN_DEFAULT if key.startswith("refdata.") else None for key in KEYS}
    return Page(
        tuple([Limit(key, parameter(ctx, key, default, date=params.date)) for key, default in defaults.items()]), None
    )


@reading.query("banking_days", params=DaysFrom, item=Day)
def banking_days(ctx: QueryContext, params: DaysFrom, limit: int, cursor: bytes | None) -> Page[Day]:
    """Which of some days are banking days of all places, by the calendars of today."""
    calendar = banking_calendar(ctx, params.places, ctx.business_date)
    dates = [add_days(params.first, after) for after in range(params.days)]
    return Page(tuple([Day(date, calendar.is_open(date)) for date in dates]), None)


class World:
    """A channel, the model of it, and the choice of the next commands."""

    def __init__(self, random: Random, begun: World | None = None) -> None:
        self.random = random
        self.reference = Reference(reading, people=PEOPLE) if begun is None else copy.copy(begun.reference)
        if begun is not None:
            self.reference.kit = begun.reference.kit.copy()
        self.model = Model() if begun is None else copy.deepcopy(begun.model)
        self.proposed = 0 if begun is None else begun.proposed
        #: What was answered of days that had come, and what was recorded.
        self.said: dict[tuple[str, str], Any] = {} if begun is None else dict(begun.said)
        self.records: dict[type[Any], dict[bytes, Any]] = {} if begun is None else dict(begun.records)

    # -- a block

    def run(self, calls: int) -> None:
        choices = [choice for _ in range(calls) for choice in self.choose()]
        self.reference.kit.pass_time(self.random.choice(PASSES))
        self.play(choices)
        self.check()

    def play(self, choices: Sequence[Choice]) -> list[Answer]:
        """A block of these commands, each of which ends as the model says."""
        kit = self.reference.kit
        receipts = kit.block(*[self.call(*choice) for choice in choices])
        found = []
        for choice, receipt in zip(choices, receipts, strict=True):
            expected = self.model.answer(choice, kit.time_ms)
            assert receipt.reason == expected, f"{choice}: {receipt.reason or 'done'}, not {expected or 'done'}"
            assert receipt.code == 0 or receipt.events == []
            found.append(expected)
        return found

    def call(self, person: str, command: str, args: dict[str, Any]) -> Any:
        sent = args | ({"rows": [as_sent(row) for row in args["rows"]]} if "rows" in args else {})
        return self.reference.kit.call(person, command, sent, module="governance" if command == "vote" else "refdata")

    # -- what must hold

    def check(self) -> None:
        """What is in force today, around today and on days asked about before; and that nothing vanished."""
        pick, today = self.random.choice, business_date(self.reference.kit.time_ms)
        asked = {today, add_days(today, pick(EFFECTIVE)), pick([date for _, date in self.said] or [today])}
        for date in sorted(asked):
            self.compare(date, today)
        place, month = pick(PLACES), datetime.date.fromisoformat(today).replace(day=1)
        first = month.replace(year=month.year + pick((-1, 0, 0, 1, 2)), month=pick(range(1, 13)))
        self.compare_calendar(place, first.isoformat(), 31)
        self.compare_records(today)

    def compare(self, date: str, today: str) -> None:
        for table, rows in ROWS.items():
            params = {"table": table, "codes": sorted({row.code for row, _ in rows}), "date": date}
            found = [(row.code, row.name, row.attributes) for row in self.ask("answers", params)]
            expected = [(row.code, row.name, row.attributes) for row in self.model.answers(table, date)]
            assert found == expected, f"{table} on {date}: {found}, not {expected}"
            if self.model.in_force(table, date) is not None:
                self.remember(table, date, today, found)
        values = {each.key: each.value for each in self.ask("limits", {"date": date})}
        assert values == {key: self.model.value(key, date) for key in KEYS}, f"{values} on {date}"
        self.remember("limits", date, today, values)

    def remember(self, what: str, date: str, today: str, found: Any) -> None:
        """What was in force on a day that has come was so for ever."""
        if date <= today:
            before = self.said.setdefault((what, date), found)
            assert before == found, f"{what} on {date} was {before} and is {found}"

    def compare_calendar(self, places: Sequence[str], first: str, days: int) -> None:
        today = business_date(self.reference.kit.time_ms)
        for day in self.ask("banking_days", {"places": list(places), "first": first, "days": days}):
            expected = self.model.is_open(places, day.date, today)
            assert day.is_open == expected, f"{day.date} at {places}: {day.is_open}, not {expected}"

    def compare_records(self, today: str) -> None:
        kit = self.reference.kit
        for kind in (Edition, Row, Parameter, Change):
            now = {each.primary_key(): each for each in kit.entities(kind)}
            for key, before in self.records.get(kind, {}).items():
                if now.get(key) != before:
                    assert _may_become(before, now.get(key), today, self.model), f"{before} became {now.get(key)}"
            self.records[kind] = now

    def ask(self, query: str, params: dict[str, Any]) -> tuple[Any, ...]:
        return self.reference.kit.query(query, params, module="reading")[0]

    # -- what is sent

    def choose(self) -> list[Choice]:
        pick = self.random.choice
        made = pick((self.edit, self.edit, self.edit, self.decide, self.decide, self.limit, self.clear))()
        if self.random.random() < 1 / 16:
            # Somebody else tries it.
            made[-1] = (pick(EVERYBODY), *made[-1][1:])
        if self.random.random() < 1 / 16:
            # The same again in one block, as a nervous sender does.
            made.append(made[-1])
        return made

    def edit(self) -> list[Choice]:
        """The next thing that happens to a table's newest edition."""
        pick, table = self.random.choice, self.random.choice(TABLES)
        version = self.model.newest(table)
        edition = self.model.editions.get((table, version))
        if edition is None or edition.state in ("adopted", "discarded"):
            return self.open(table, version + 1)
        person = f"{edition.opener}-admin"
        if self.random.random() < 1 / 12:
            # A version that is over, or that nobody opened.
            version += pick((-1, 1))
        one = {"table": table, "version": version}
        write = (person, "write_rows", one | {"rows": self.rows(table, edition.last)})
        seal, discard = (person, "seal_edition", one), (person, "discard_edition", one)
        if edition.state == "open":
            return [pick((write, write, seal, seal, discard))]
        if self.random.random() < 1 / 4:
            return [pick((write, seal, discard, (person, "purge_rows", one)))]
        return [self.propose(table, version, edition.base)]

    def open(self, table: str, version: int) -> list[Choice]:
        """A new edition, and often all that follows in the same block."""
        pick, person = self.random.choice, self.random.choice(ADMINS)
        adopted = [of for of in range(1, version) if self.model.editions[table, of].state == "adopted"]
        base = pick((0, max(adopted, default=0), pick(adopted or [0])))
        if self.random.random() < 1 / 12:
            base = pick(range(version + 1))
        if self.random.random() < 1 / 12:
            version = pick((0, version - 1, version + 1))
        one = {"table": table, "version": version}
        opened = one | {"title": "t", "source": bytes(32), "base": base}
        if self.random.random() < 1 / 40:
            opened["table"] = "planets"
        made: list[Choice] = [(person, "open_edition", opened)]
        if self.random.random() < 2 / 3:
            made += [(person, "write_rows", one | {"rows": self.rows(table, "")}), (person, "seal_edition", one)]
            made.append(self.propose(table, version, base))
        return made

    def rows(self, table: str, last: str) -> list[Any]:
        """Mostly what can follow ``last``; sometimes a row that has not the form of its table, or another order."""
        is_spoilt = self.random.random() < 1 / 5
        pool = [row for row, fits in ROWS[table] if fits or is_spoilt]
        chosen = self.random.sample(pool, self.random.choice((1, 2, 4)))
        chosen = [removed(row.code) if self.random.random() < 1 / 6 else row for row in chosen]
        if self.random.random() < 0.9:
            ordered = {row.code: row for row in sorted(chosen, key=lambda row: row.code)}
            chosen = [row for row in ordered.values() if row.code > last] or chosen
        return chosen

    def propose(self, table: str, version: int, base: int) -> Choice:
        below = self.model.editions.get((table, base))
        date = self.date() if below is None else max(below.since, self.today)
        if below is not None:
            date = add_days(date, self.random.choice((-30, 0, 1, 1, 2, 5)))
        args = {"id": self.name(), "table": table, "version": version, "effective_from": date}
        return self.random.choice(ADMINS), "propose_edition", args

    def limit(self) -> list[Choice]:
        pick = self.random.choice
        key = pick((*KEYS, *KEYS, *KEYS, "lc.exam.days", "title.limit"))
        args = {"id": self.name(), "key": key, "value": pick((0, 1, 6, 7, 30, 200, 100_000, 10**15 + 1))}
        return [(pick(ADMINS), "propose_parameter", args | {"effective_from": self.date()})]

    def decide(self) -> list[Choice]:
        """Votes on a change, and what follows from them."""
        pick = self.random.choice
        if self.random.random() < 1 / 24:
            return [(pick(ADMINS), "enact", {"proposal": "nothing"})]
        waiting = [name for name, ballot in self.model.ballots.items() if ballot.status in ("open", "passed")]
        known = waiting if waiting and self.random.random() < 0.9 else list(self.model.ballots)
        name = pick(known[-4:])
        enact = (pick(ADMINS), "enact", {"proposal": name})
        if self.model.ballots[name].status != "open":
            return [enact]
        people = self.random.sample(ADMINS, 3)
        votes: list[Choice] = [
            (person, "vote", {"proposal": name, "approve": self.random.random() < 0.9}) for person in people
        ]
        return votes + ([enact] if self.random.random() < 0.7 else [])

    def clear(self) -> list[Choice]:
        """Give something up, or delete what was given up."""
        pick = self.random.choice
        (table, version), edition = pick(sorted(self.model.editions.items()))
        over = [key for key, each in sorted(self.model.editions.items()) if each.state == "discarded" and each.rows]
        if over and self.random.random() < 0.8:
            table, version = pick(over)
            return [(pick(ADMINS), "purge_rows", {"table": table, "version": version})]
        one = {"table": table, "version": version}
        return [(f"{edition.opener}-admin", pick(("discard_edition", "purge_rows", "seal_edition")), one)]

    def name(self) -> str:
        """Of a new proposal; now and then one that is taken or malformed."""
        if self.random.random() < 1 / 24:
            return self.random.choice(("No name", f"c-{self.proposed}"))
        self.proposed += 1
        return f"c-{self.proposed}"

    def date(self) -> str:
        return NO_DAY if self.random.random() < 1 / 24 else add_days(self.today, self.random.choice(EFFECTIVE))

    @property
    def today(self) -> str:
        return self.reference.today

    # -- how a beginning is made

    def adopted(self, table: str, codes: str, since: str, *, base: int = 0, until: str = "enact") -> None:
        """A new edition with the first good row of each code, removed where a minus stands before it."""
        version, name, one = self.model.newest(table) + 1, self.name(), {"table": table}
        one |= {"version": version}
        good = {row.code: row for row, fits in reversed(ROWS[table]) if fits}
        rows = [removed(code[1:]) if code.startswith("-") else good[code] for code in codes.split()]
        steps: list[Choice] = [
            ("gz-admin", "open_edition", one | {"title": "t", "source": bytes(32), "base": base}),
            ("gz-admin", "write_rows", one | {"rows": rows}),
            ("gz-admin", "seal_edition", one),
            ("gz-admin", "propose_edition", {"id": name, **one, "effective_from": since}),
            *[(person, "vote", {"proposal": name, "approve": True}) for person in ADMINS[:3]],
            ("gz-admin", "enact", {"proposal": name}),
        ]
        last = [command for _, command, _ in steps].index(until)
        assert not any(self.play(steps[: last + 1]))


def _may_become(before: Any, after: Any, today: str, model: Model) -> bool:
    """Whether a record that was there may be another one, or gone, after a block of this day."""
    if isinstance(before, Row):
        return after is None and model.editions[before.table, before.version].state == "discarded"
    if isinstance(before, Parameter):
        return after is not None and before.effective_from > today
    if not isinstance(before, Edition) or after is None:
        return False
    ways = {"open": ("open", "sealed", "adopted", "discarded"), "sealed": ("adopted", "discarded")}
    ways |= {"discarded": ("discarded",)}
    kept = ("table", "version", "base", "depth", "title", "source", "opened_by")
    kept += ("digest", "last_code") if before.state != "open" else ()
    same = all(getattr(before, name) == getattr(after, name) for name in kept)
    return same and after.state in ways.get(before.state, ())


@functools.cache
def beginning() -> World:
    """Editions at every point of their lives, amended as deep as they may be; a limit that waits for its enactment."""
    world = World(Random(0))
    world.reference.kit.check_what_changes()
    long_ago, day = "2020-01-01", world.reference.day
    world.adopted("country", "CN HK MO", long_ago)
    for depth in range(1, 9):
        world.adopted("country", "SG" if depth % 2 else "-SG", day(depth), base=depth)
    world.adopted("calendar_cn", "2025 2026", long_ago)
    world.adopted("calendar_hk", "2025 2026 2027", long_ago)
    world.adopted("calendar_hk", "2026", day(3), base=1)
    world.adopted("currency", "CNY EUR HKD", long_ago)
    world.adopted("currency", "-EUR JPY", day(2), base=1)
    world.adopted("currency", "EUR", day(1), until="seal_edition")
    assert not any(world.play([("gz-admin", "discard_edition", {"table": "currency", "version": 3})]))
    args = {"id": world.name(), "key": KEYS[0], "value": 6, "effective_from": day(1)}
    votes: list[Choice] = [(person, "vote", {"proposal": args["id"], "approve": True}) for person in ADMINS[:3]]
    assert not any(world.play([("hk-admin", "propose_parameter", args), *votes]))
    world.adopted("currency", "MOP", day(4), base=2, until="propose_edition")
    world.check()
    return world


def walk(seed: int, blocks: int) -> World:
    """A channel after so many random blocks; the whole walk follows from the seed."""
    random = Random(seed)
    world = World(random, beginning())
    for _ in range(blocks):
        world.run(random.randint(1, 4))
    today = business_date(world.reference.kit.time_ms)
    # Around some of the days on which an edition begins.
    begins = sorted({edition.since for edition in world.model.editions.values() if edition.since})
    for date in random.sample(begins, min(2, len(begins))):
        for each in (add_days(date, -1), date):
            world.compare(each, today)
    world.reference.kit.check_invariants()
    return world


WALKS = Walks("refdata", beginning, walk, Lengths(4, 16), Lengths(10, 25))
