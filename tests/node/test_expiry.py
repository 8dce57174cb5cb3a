"""Every date is known in time: the levels, the words, and that each is said once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from dawan_node.crypto.authority import issue_node_certificate, make_authority, make_revocation_list
from dawan_node.crypto.revocation import Revocations, load_revocation_list
from dawan_node.crypto.trust import Trust
from dawan_node.errors import UntrustedCertificate
from dawan_node.node.certificates import LOOK_EVERY_S, Certificates
from dawan_node.node.expiry import Crossings, Dated, Kind, Level, date_authorities, date_certificate, examine
from tests.node.virtual_time import VirtualClock, run_virtually

NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)
DAY = timedelta(days=1)
MO = make_authority("mo", NOW)
GZ = make_authority("gz", NOW, years=1)
LEAF = issue_node_certificate(MO, "mo", "mo1", [], NOW, days=40).certificate


def dated(kind: Kind = Kind.NODE, *, own: bool = True, ends: datetime = NOW) -> Dated:
    return Dated(kind, "mo", "CN=mo1", 0x1F, ends, own)


@pytest.mark.parametrize(
    ("left", "level"),
    [
        (31 * DAY, Level.OK),
        (30 * DAY, Level.OK),
        (30 * DAY - timedelta(seconds=1), Level.DAYS_30),
        (14 * DAY, Level.DAYS_30),
        (14 * DAY - timedelta(seconds=1), Level.DAYS_14),
        (3 * DAY, Level.DAYS_14),
        (3 * DAY - timedelta(seconds=1), Level.DAYS_3),
        (timedelta(0), Level.DAYS_3),
        (timedelta(seconds=-1), Level.EXPIRED),
        (-400 * DAY, Level.EXPIRED),
    ],
)
def test_a_level_begins_when_less_than_its_time_is_left(left: timedelta, level: Level) -> None:
    assert dated().level(NOW - left) is level


def test_a_certificate_is_expired_exactly_when_its_judgement_says_so() -> None:
    trust = Trust({"mo": [MO.certificate]})
    found = date_certificate(LEAF, Kind.NODE, "mo", "mo")
    trust.judge(LEAF, found.ends)
    assert found.level(found.ends) is Level.DAYS_3
    with pytest.raises(UntrustedCertificate) as refused:
        trust.judge(LEAF, found.ends + timedelta(seconds=1))
    assert refused.value.reason == "expired"
    assert found.level(found.ends + timedelta(seconds=1)) is Level.EXPIRED


def test_a_list_made_monthly_is_not_warned_of_for_a_month() -> None:
    listed = dated(Kind.REVOCATIONS)
    assert listed.level(NOW - 29 * DAY) is Level.OK
    assert listed.level(NOW - 2 * DAY) is Level.DAYS_3
    assert listed.level(NOW + DAY) is Level.EXPIRED


@pytest.mark.parametrize(
    ("kind", "own", "says"),
    [
        (Kind.NODE, True, "dawan-node cert renew"),
        (Kind.REVOCATIONS, True, "dawan-node cert crl"),
        (Kind.REVOCATIONS, False, "Ask mo for a new one (dawan-node cert crl there)"),
        (Kind.AUTHORITY, True, "new root and register it by governance vote"),
        (Kind.AUTHORITY, False, "Ask mo to register a new root by governance vote"),
    ],
)
def test_each_text_names_certificate_owner_date_and_remedy(kind: Kind, own: bool, says: str) -> None:
    finding = examine([dated(kind, own=own, ends=NOW + 2 * DAY)], NOW)[0]
    for part in ("CN=mo1", "of mo", "2026-11-29 08:00 UTC", "in 2 days"):
        assert part in finding.text
    assert ("1f" if kind is not Kind.REVOCATIONS else "list 31") in finding.text
    assert says in finding.dated.fix


def test_the_worst_comes_first_and_what_is_registered_twice_comes_once() -> None:
    roots = date_authorities({"gz": [GZ.certificate], "mo": [MO.certificate, MO.certificate]}, "mo")
    found = examine([*roots, date_certificate(LEAF, Kind.NODE, "mo", "mo")], NOW + 38 * DAY)
    assert [(each.dated.org, each.level) for each in found] == [
        ("mo", Level.DAYS_3),
        ("gz", Level.OK),
        ("mo", Level.OK),
    ]


def test_bytes_that_are_no_certificate_have_no_date() -> None:
    with pytest.raises(UntrustedCertificate):
        date_certificate(b"\x30\x03\x02\x01\x01", Kind.NODE, "mo", "mo")
    assert date_authorities({"mo": [b"", MO.certificate]}, "gz")[0].org == "mo"


def test_each_level_is_reported_once_per_certificate_and_not_again_when_the_clock_is_corrected() -> None:
    crossings, one = Crossings(), dated(ends=NOW)
    other = dated(Kind.AUTHORITY, ends=NOW + 20 * DAY)

    def at(before: timedelta, *which: Dated) -> list[tuple[Kind, Level]]:
        return [(new.dated.kind, new.level) for new in crossings.new(examine(which, NOW - before))]

    assert at(40 * DAY, one) == []
    assert at(20 * DAY, one) == [(Kind.NODE, Level.DAYS_30)]
    assert at(19 * DAY, one) == []
    assert at(2 * DAY, one, other) == [(Kind.NODE, Level.DAYS_3), (Kind.AUTHORITY, Level.DAYS_30)]
    assert at(10 * DAY, one, other) == []
    assert at(2 * DAY, one, other) == []
    assert at(-DAY, one, other) == [(Kind.NODE, Level.EXPIRED)]
    assert at(-DAY, dated(ends=NOW + 300 * DAY), other) == []


def account(clock: Callable[[], datetime], trust: Trust) -> Certificates:
    class Now:
        def now(self) -> datetime:
            return clock()

    return Certificates("mo1", "mo", LEAF, [MO.certificate], lambda: trust, Now())


def test_a_running_node_logs_each_level_when_it_is_crossed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dawan_node")

    async def main() -> list[tuple[str, str]]:
        start = VirtualClock(int(NOW.timestamp() * 1000))
        ahead = timedelta(0)
        certificates = account(lambda: start.now() + ahead, Trust({"mo": [MO.certificate]}))
        task = asyncio.create_task(certificates.run())
        for ahead in (timedelta(0), 11 * DAY, 12 * DAY, 27 * DAY, 38 * DAY, 41 * DAY, 42 * DAY):  # noqa: B007
            await asyncio.sleep(2 * LOOK_EVERY_S)
        task.cancel()
        return [(record.message, record.fields["level"]) for record in caplog.records]  # type: ignore[attr-defined]

    assert run_virtually(main) == [
        ("certificate_expires", "30 days"),
        ("certificate_expires", "14 days"),
        ("certificate_expires", "3 days"),
        ("certificate_expired", "expired"),
    ]


def test_only_the_own_expired_certificate_makes_a_node_not_ready() -> None:
    short = make_authority("gz", NOW - 365 * DAY, years=1)
    trust = Trust({"mo": [MO.certificate], "gz": [short.certificate]})
    assert account(lambda: NOW + DAY, trust).failing() == {}
    assert account(lambda: NOW + DAY, trust).warnings()[0].level == "expired"
    failing = account(lambda: NOW + 41 * DAY, trust).failing()["certificate"]
    assert "CN=mo1" in failing and "dawan-node cert renew" in failing


def test_a_renewed_certificate_ends_the_warning_and_is_counted() -> None:
    certificates = account(lambda: NOW + 41 * DAY, Trust({"mo": [MO.certificate]}))
    assert [warning.org for warning in certificates.warnings()] == ["mo"]
    certificates.renewed(issue_node_certificate(MO, "mo", "mo1", [], NOW + 41 * DAY).certificate)
    assert (certificates.warnings(), certificates.failing()) == ((), {})
    assert ("dawan_certificate_renewals_total", {}, 1) in list(certificates.samples())


def test_every_certificate_and_list_is_measured_with_its_owner() -> None:
    listed = load_revocation_list(make_revocation_list(GZ, [], 7, NOW), "gz", [GZ.certificate], NOW)
    roots = {"mo": [MO.certificate], "gz": [GZ.certificate]}
    samples = list(account(lambda: NOW, Trust(roots, Revocations.collect(roots, [listed]))).samples())
    ends = {
        (labels["org"], labels["certificate"].split(" (")[0]): value
        for name, labels, value in samples
        if name == "dawan_certificate_not_after_seconds"
    }
    assert ends == {
        ("mo", "node mo1"): int((NOW + 40 * DAY).timestamp()),
        ("mo", "CN=mo root CA"): int((NOW + 20 * 365 * DAY).timestamp()),
        ("gz", "CN=gz root CA"): int((NOW + 365 * DAY).timestamp()),
    }
    lists = [(labels["org"], value) for name, labels, value in samples if "revocation" in name]
    assert lists == [("gz", int(listed.next_update.timestamp()))]
