"""A running node takes over what it may use and nothing else, and says so once."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dawan_node.crypto import authority
from dawan_node.crypto.authority import issue_node_certificate, make_authority, make_revocation_list
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.crypto.trust import Trust
from dawan_node.errors import ConfigError
from dawan_node.node.certificate_watch import LOOK_EVERY_S, CertificateWatch
from dawan_node.node.home import REVOCATION_FILES_MAX, Home
from tests.node.virtual_time import VirtualClock, run_virtually

NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)
DAY = timedelta(days=1)
MO = make_authority("mo", NOW)
GZ = make_authority("gz", NOW)
HELD = issue_node_certificate(MO, "mo", "mo1", [], NOW, days=20)
RENEWED = authority.renew(MO, HELD.certificate, "mo", NOW)
TICK = LOOK_EVERY_S * 1.01


@dataclass
class Watched:
    """A home whose files a test changes, and what its node was handed."""

    home: Home
    watch: CertificateWatch
    clock: VirtualClock
    taken: list[CertifiedKey] = field(default_factory=list)
    lists: list[Mapping[str, tuple[bytes, ...]]] = field(default_factory=list)
    refuse: str = ""
    trust: Trust = field(default_factory=lambda: Trust({"mo": [MO.certificate], "gz": [GZ.certificate]}))

    def put(self, certificate: bytes | str) -> None:
        text = to_pem([certificate]) if isinstance(certificate, bytes) else certificate
        # A name of its own first, as `cert renew` does it: a new inode, so the change shows whatever the clock says.
        new = self.home.keys / "new"
        new.write_text(text)
        os.replace(new, self.home.tls_certificate)

    def put_list(self, org: str, text: str) -> None:
        folder = self.home.network / "crl"
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / "new"
        new.write_text(text)
        os.replace(new, folder / f"{org}.crl.pem")

    def accept(self, certified: CertifiedKey) -> None:
        if self.refuse:
            raise ConfigError("no", self.refuse, "Do otherwise.")
        self.taken.append(certified)

    def accept_lists(self, lists: Mapping[str, tuple[bytes, ...]]) -> None:
        if self.refuse:
            raise ConfigError("no", self.refuse, "Do otherwise.")
        self.lists.append(dict(lists))


Play = Callable[[Watched], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Play], Watched]:
    """Run a story beside the watch, in virtual time."""

    def run(story: Play) -> Watched:
        async def main() -> Watched:
            home = Home(tmp_path)
            home.keys.mkdir()
            home.tls_certificate.write_text(to_pem([HELD.certificate]))
            clock = VirtualClock(int(NOW.timestamp() * 1000))
            watched: Watched
            watch = CertificateWatch(
                home,
                "mo1",
                "mo",
                HELD,
                lambda: watched.trust,
                clock,
                lambda certified: watched.accept(certified),
                lambda lists: watched.accept_lists(lists),
            )
            watched = Watched(home, watch, clock)
            task = asyncio.create_task(watch.run())
            await asyncio.sleep(TICK)
            await story(watched)
            task.cancel()
            return watched

        return run_virtually(main)

    return run


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines an operator sees as errors, as one text each."""
    return [
        " ".join([record.message, *map(str, record.fields.values())])  # type: ignore[attr-defined]
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


def pem_list(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN X509 CRL-----\n{body}-----END X509 CRL-----\n"


def test_a_renewed_certificate_is_taken_within_one_look_and_keeps_the_key(play: Callable[[Play], Watched]) -> None:
    async def story(watched: Watched) -> None:
        watched.put(RENEWED)
        await asyncio.sleep(TICK)
        assert [taken.certificate for taken in watched.taken] == [RENEWED]
        await asyncio.sleep(10 * TICK)

    watched = play(story)
    assert len(watched.taken) == 1
    assert watched.taken[0].private_key == HELD.private_key


def test_the_file_as_it_was_at_the_start_is_not_handed_on(play: Callable[[Play], Watched]) -> None:
    async def story(watched: Watched) -> None:
        watched.put(HELD.certificate)
        await asyncio.sleep(3 * TICK)

    assert play(story).taken == []


def test_a_signal_needs_no_waiting_for_the_next_look(play: Callable[[Play], Watched]) -> None:
    async def story(watched: Watched) -> None:
        watched.put(RENEWED)
        watched.watch.wake()
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        assert watched.taken

    play(story)


OTHER_KEY = issue_node_certificate(MO, "mo", "mo1", [], NOW).certificate
REFUSED: dict[str, tuple[bytes | str, tuple[str, ...]]] = {
    "another key": (OTHER_KEY, ("another key", "cert renew", "needs a restart")),
    "another node": (authority.renew(MO, issue_node_certificate(MO, "mo", "mo2", [], NOW).certificate, "mo", NOW),
                     ("it is of mo2 of mo", "mo1 of mo")),
    "another organisation": (issue_node_certificate(GZ, "gz", "mo1", [], NOW).certificate, ("it is of mo1 of gz",)),
    "unregistered authority": (issue_node_certificate(make_authority("mo", NOW), "mo", "mo1", [], NOW).certificate,
                               ("no organisation of this network has registered",)),
    "expired": (authority.renew(MO, HELD.certificate, "mo", NOW - 30 * DAY, days=20), ("expired on", "cert renew")),
    "not a certificate": ("hello\n", ("not a PEM certificate", "whole PEM file")),
    "cut off": (to_pem([RENEWED])[:-40], ("not a PEM certificate",)),
    "empty": ("", ("not a PEM certificate",)),
    "too large": ("x" * 70_000, ("more than 65536 bytes",)),
    "not text": ("\x80\xff", ("whole PEM file",)),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_not_be_used_is_refused_in_one_line_and_the_old_one_kept(
    what: str, play: Callable[[Play], Watched], caplog: pytest.LogCaptureFixture
) -> None:
    content, says = REFUSED[what]

    async def story(watched: Watched) -> None:
        watched.put(content)
        await asyncio.sleep(10 * TICK)

    assert play(story).taken == []
    (line,) = complaints(caplog)
    assert line.startswith("certificate_refused") and "tls.pem" in line
    for part in says:
        assert part in line


def test_a_file_that_is_still_being_written_is_neither_taken_nor_complained_of(
    play: Callable[[Play], Watched], caplog: pytest.LogCaptureFixture
) -> None:
    text = to_pem([RENEWED])

    async def story(watched: Watched) -> None:
        for length in range(0, len(text), 200):
            watched.put(text[:length])
            await asyncio.sleep(TICK)
            assert watched.taken == []
        watched.put(text)
        await asyncio.sleep(TICK)

    assert len(play(story).taken) == 1
    assert complaints(caplog) == []


def test_a_certificate_of_tomorrow_is_complained_of_once_and_taken_when_its_time_has_come(
    play: Callable[[Play], Watched], caplog: pytest.LogCaptureFixture
) -> None:
    early = authority.renew(MO, HELD.certificate, "mo", NOW + timedelta(hours=1))

    async def story(watched: Watched) -> None:
        watched.put(early)
        await asyncio.sleep(1800)
        assert watched.taken == []
        await asyncio.sleep(1800)

    assert [taken.certificate for taken in play(story).taken] == [early]
    assert len(complaints(caplog)) == 1


def test_an_authority_registered_later_makes_the_waiting_certificate_good(play: Callable[[Play], Watched]) -> None:
    root = make_authority("mo", NOW)
    waiting = authority.issue_from_request(root, authority.request_for(HELD.private_key, "mo", "mo1", []), "mo", NOW)

    async def story(watched: Watched) -> None:
        watched.put(waiting)
        await asyncio.sleep(5 * TICK)
        assert watched.taken == []
        watched.trust = Trust({"mo": [MO.certificate, root.certificate]})
        await asyncio.sleep(TICK)

    assert [taken.certificate for taken in play(story).taken] == [waiting]


def test_a_certificate_whose_receiver_refuses_it_is_not_in_use(
    play: Callable[[Play], Watched], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(watched: Watched) -> None:
        watched.refuse = "the listener is closed"
        watched.put(RENEWED)
        await asyncio.sleep(5 * TICK)
        assert watched.taken == []
        watched.refuse = ""
        await asyncio.sleep(TICK)

    assert len(play(story).taken) == 1
    (line,) = complaints(caplog)
    assert "the listener is closed" in line


def test_a_certificate_that_vanished_is_missed_once_and_its_return_is_noticed(
    play: Callable[[Play], Watched], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(watched: Watched) -> None:
        watched.home.tls_certificate.unlink()
        await asyncio.sleep(10 * TICK)
        watched.put(RENEWED)
        await asyncio.sleep(TICK)

    assert len(play(story).taken) == 1
    (line,) = complaints(caplog)
    assert "cannot be read" in line


def test_a_pipe_in_place_of_the_file_does_not_stop_the_node(play: Callable[[Play], Watched]) -> None:
    async def story(watched: Watched) -> None:
        watched.home.tls_certificate.unlink()
        os.mkfifo(watched.home.tls_certificate)
        writer = os.open(watched.home.tls_certificate, os.O_RDWR)  # who reads would wait for it
        await asyncio.sleep(3 * TICK)
        os.close(writer)
        watched.home.tls_certificate.unlink()
        watched.put(RENEWED)
        await asyncio.sleep(TICK)

    assert len(play(story).taken) == 1


# Revocation lists

MO_LIST = make_revocation_list(MO, [], 1, NOW)
MO_NEWER = make_revocation_list(MO, [], 2, NOW)
GZ_LIST = make_revocation_list(GZ, [], 1, NOW)


def test_lists_are_handed_on_together_whenever_one_comes_changes_or_goes(play: Callable[[Play], Watched]) -> None:
    async def story(watched: Watched) -> None:
        watched.put_list("mo", pem_list(MO_LIST))
        await asyncio.sleep(5 * TICK)
        watched.put_list("gz", pem_list(GZ_LIST))
        await asyncio.sleep(5 * TICK)
        watched.put_list("mo", pem_list(MO_NEWER))
        await asyncio.sleep(5 * TICK)
        (watched.home.network / "crl" / "gz.crl.pem").unlink()
        await asyncio.sleep(5 * TICK)

    assert play(story).lists == [
        {"mo": (MO_LIST,)},
        {"mo": (MO_LIST,), "gz": (GZ_LIST,)},
        {"mo": (MO_NEWER,), "gz": (GZ_LIST,)},
        {"mo": (MO_NEWER,)},
    ]


def test_a_damaged_list_is_complained_of_once_and_the_former_one_kept(
    play: Callable[[Play], Watched], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(watched: Watched) -> None:
        watched.put_list("mo", pem_list(MO_LIST))
        await asyncio.sleep(TICK)
        watched.put_list("mo", pem_list(MO_NEWER)[:100])
        await asyncio.sleep(5 * TICK)
        watched.put_list("gz", pem_list(GZ_LIST))
        await asyncio.sleep(5 * TICK)
        watched.put_list("mo", pem_list(MO_NEWER))
        await asyncio.sleep(TICK)

    assert play(story).lists == [
        {"mo": (MO_LIST,)},
        {"mo": (MO_LIST,), "gz": (GZ_LIST,)},
        {"mo": (MO_NEWER,), "gz": (GZ_LIST,)},
    ]
    (line,) = complaints(caplog)
    assert "mo.crl.pem" in line and "dawan-node cert crl" in line


def test_other_files_beside_the_lists_are_left_alone(play: Callable[[Play], Watched]) -> None:
    async def story(watched: Watched) -> None:
        watched.put_list("mo", pem_list(MO_LIST))
        (watched.home.network / "crl" / "README").write_text("lists")
        await asyncio.sleep(5 * TICK)

    assert play(story).lists == [{"mo": (MO_LIST,)}]


def test_a_folder_full_of_files_costs_no_more_than_the_limit(play: Callable[[Play], Watched]) -> None:
    async def story(watched: Watched) -> None:
        for number in range(REVOCATION_FILES_MAX + 20):
            watched.put_list(f"a{number:04d}", pem_list(MO_LIST))
        await asyncio.sleep(TICK)

    assert len(play(story).lists[-1]) == REVOCATION_FILES_MAX
