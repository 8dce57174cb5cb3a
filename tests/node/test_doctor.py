"""``doctor`` comes to an end whatever hangs, changes nothing, and its verdicts follow from what is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from unittest.mock import Mock

import pytest

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import Devnet
from dawan_node.consensus.records import HaltedRecord
from dawan_node.crypto import keystore
from dawan_node.crypto.authority import issue_from_request, make_authority, request_for
from dawan_node.crypto.certificates import to_pem
from dawan_node.node import consortium, doctor
from dawan_node.node.checkup import certificates, clock, disk, halts, limits, links, patient, signer, versions
from dawan_node.node.checkup.finding import Finding, Verdict, ok
from dawan_node.node.checkup.links import PeerProbe
from dawan_node.node.checkup.patient import Answers, Patient, admit, holder
from dawan_node.node.clock import SystemClock
from dawan_node.node.halt_report import write_halt
from dawan_node.node.home import Home
from dawan_node.node.verification import home_roots
from dawan_node.p2p.probe import ProbeReport, Step
from dawan_node.storage.lock import NodeLock
from dawan_node.storage.wal import Wal, WalMissing, WalRecord, inspect


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    return devnet_creation.create(tmp_path_factory.mktemp("doctor") / "net", 4)


@pytest.fixture(scope="module")
def home(devnet: Devnet) -> Home:
    return devnet.home(devnet.nodes[0])


def picture(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every file and folder: mode, time of change, content."""
    return {
        str(path): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def verdicts(findings: list[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


@pytest.mark.parametrize("offline", [True, False])
def test_nothing_is_changed(devnet: Devnet, home: Home, offline: bool) -> None:
    before = picture(devnet.folder)
    findings = doctor.examine(home, {}, devnet.passphrase_file.read_bytes().strip(), offline=offline)
    assert picture(devnet.folder) == before
    assert not [finding for finding in findings if finding.verdict is Verdict.FAIL and finding.check != "links"]


def test_every_group_answers_and_what_was_left_out_is_counted(home: Home) -> None:
    findings = doctor.examine(home, {}, None, offline=True)
    assert {finding.check for finding in findings} == {
        "certificates", "clock", "configuration", "disk", "halts", "limits", "links", "ports", "signer", "versions",
    }  # fmt: skip
    counts = doctor.count(findings)
    assert sum(counts.values()) == len(findings)
    skipped = {(each.check, each.subject) for each in findings if each.verdict is Verdict.NOT_RUN}
    assert skipped == {
        ("ports", "advertise"),
        ("links", "inbound"),
        ("links", "peers"),
        ("clock", "peers"),
        ("versions", "peers"),
        ("signer", "passphrase"),
    }


def test_peers_that_are_not_there_fail_and_name_their_organisation(home: Home) -> None:
    findings = doctor.examine(home, {}, None, offline=False)
    failed = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    assert [finding.subject.split()[0] for finding in failed] == ["hk1", "mo1", "hq1"]
    assert all("refused" in finding.why and finding.fix.startswith("Ask ") for finding in failed)


def test_a_check_that_hangs_is_a_finding_and_the_others_go_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def hangs(patient: Patient) -> list[Finding]:
        never.wait()
        return []

    after: doctor.Check = lambda patient: [ok("disk", "after", "looked at")]  # noqa: E731
    monkeypatch.setattr(doctor, "LOCAL", (("disk", "network disk", hangs), ("disk", "after", after)))
    monkeypatch.setattr(doctor, "CHECK_S", 0.2)
    findings = doctor.examine(home, {}, None, offline=True)
    never.set()
    assert (findings[0].subject, findings[0].verdict) == ("network disk", Verdict.FAIL)
    assert "no answer" in findings[0].what
    assert (findings[1].subject, findings[1].verdict) == ("after", Verdict.OK)


def test_a_check_that_cannot_read_is_a_finding_and_the_others_go_on(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(patient: Patient) -> list[Finding]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "LOCAL", (("disk", "space", refuses), ("disk", "speed", disk.check_sync)))
    findings = doctor.examine(home, {}, None, offline=True)
    assert "Permission denied" in findings[0].why
    assert findings[1].verdict is not Verdict.NOT_RUN


def test_the_holder_of_a_lock_is_known_without_touching_it(tmp_path: Path) -> None:
    file = tmp_path / "node.lock"
    assert holder(file) is None
    lock = NodeLock.acquire_home(tmp_path)
    assert holder(file) == os.getpid()
    lock.release()
    assert holder(file) is None


# The signing log


def test_a_log_is_counted_without_being_opened(tmp_path: Path) -> None:
    folder = tmp_path / "wal"
    with pytest.raises(WalMissing):
        inspect(folder)
    Wal.create(folder)
    wal = Wal.open(folder)
    wal.append([WalRecord(bytes(32), 1, b"a vote"), WalRecord(bytes(32), 1, b"another")])
    wal.sync()
    wal.close()
    with next(folder.glob("*.wal")).open("ab") as file:
        file.write(b"\x01\x02")  # the unfinished last write of a crash
    before = picture(tmp_path)
    assert inspect(folder) == 2
    assert picture(tmp_path) == before


def test_a_damaged_log_is_said_to_be_damaged(home: Home, tmp_path: Path) -> None:
    place = Home(tmp_path)
    Wal.create(place.wal)
    segment = next(place.wal.glob("*.wal"))
    segment.write_bytes(b"\xff" * segment.stat().st_size)
    (finding,) = signer.check_log(replace(admit(home, {}, None, offline=True), home=place))
    assert (finding.verdict, finding.what) == (Verdict.FAIL, "is damaged")


# Clocks


def probe_of(name: str, skew_ms: int | None) -> PeerProbe:
    report = ProbeReport("127.0.0.1:1", Step(True), clock_skew_ms=skew_ms)
    return PeerProbe(name, name[:2], "127.0.0.1:1", report, True)


@pytest.mark.parametrize(
    ("skews", "expected", "whose"),
    [
        ((3, -20, 400), [Verdict.OK] * 3, ""),
        ((501, 0, 0), [Verdict.WARN, Verdict.OK, Verdict.OK], "the clock of hk1"),
        ((7_200_000, 0, 0), [Verdict.FAIL, Verdict.OK, Verdict.OK], "the clock of hk1"),
        ((7_200_000, 7_200_500, 7_199_000), [Verdict.FAIL] * 3, "the clock of this machine"),
        ((-90_000, 80_000, 0), [Verdict.FAIL, Verdict.FAIL, Verdict.OK], "the clock of hk1"),
        ((0, 0, None), [Verdict.OK, Verdict.OK, Verdict.NOT_RUN], ""),
    ],
)
def test_the_clock_in_the_minority_is_the_wrong_one(
    home: Home, skews: tuple[int | None, ...], expected: list[Verdict], whose: str
) -> None:
    probes = [probe_of(name, skew) for name, skew in zip(("hk1", "mo1", "hq1"), skews, strict=True)]
    findings = clock.check_skew(admit(home, {}, None, offline=True), probes)
    assert verdicts(findings) == expected
    assert whose in findings[0].why


def test_a_clock_before_the_certificate_was_made_is_wrong(home: Home) -> None:
    class Behind(SystemClock):
        def now(self) -> datetime:
            return super().now() - timedelta(days=2000)

    found = clock.check_time(replace(admit(home, {}, None, offline=True), clock=Behind()))
    assert {finding.subject for finding in found} >= {"TLS certificate", "consortium"}
    assert set(verdicts(found)) == {Verdict.FAIL}


# Inbound


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        (None, Verdict.NOT_RUN),
        (Answers(trouble="no answer"), Verdict.NOT_RUN),
        (Answers(), Verdict.FAIL),
        (Answers(peers=({"name": "hk1", "direction": "out"},)), Verdict.WARN),
        (Answers(peers=({"name": "hk1", "direction": "in"}, {"name": "mo1", "direction": "out"})), Verdict.OK),
    ],
)
def test_only_a_peer_that_dialled_in_proves_the_way_in(home: Home, answers: Answers | None, verdict: Verdict) -> None:
    patient = replace(admit(home, {}, None, offline=True), answers=answers)
    assert verdicts(links.check_inbound(patient)) == [verdict]


def test_another_node_at_a_peers_address_is_named(home: Home, devnet: Devnet) -> None:
    patient = admit(home, {}, devnet.passphrase_file.read_bytes().strip(), offline=True)
    assert patient.tls is not None and patient.trust is not None
    own = patient.trust.judge(patient.tls.certificate, patient.clock.now())
    report = ProbeReport("127.0.0.1:1", Step(True), Step(True), Step(True), Step(True), peer=own)
    (finding,) = links.check_links(patient, [PeerProbe("hk1", "hk", "127.0.0.1:1", report, True)])
    assert (finding.verdict, finding.what) == (Verdict.FAIL, "another node answers there: gz1 of gz")


def test_a_channel_that_stopped_for_good_is_a_failure_that_names_its_file(home: Home) -> None:
    [well] = halts.check_halts(admit(home, {}, None, offline=True))
    assert well.verdict is Verdict.OK
    path = home.halt_file("trade")
    write_halt(path, "gz1", "trade", bytes(32), HaltedRecord("two blocks are decided at height 9", b"a", b"b"))
    try:
        [found] = halts.check_halts(admit(home, {}, None, offline=True))
        assert (found.verdict, found.subject, found.why) == (
            Verdict.FAIL,
            "halt-trade.json",
            "two blocks are decided at height 9",
        )
        assert str(path) in found.fix
        path.write_text("{}")
        assert "does not say why" in halts.check_halts(admit(home, {}, None, offline=True))[0].why
    finally:
        path.unlink()


# The machine

MOUNTS = """\
22 1 259:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:26 / /run rw,nosuid - tmpfs tmpfs rw
40 22 0:50 / /srv/my\\040data rw - nfs4 server:/x rw
41 40 8:1 / /srv/my\\040data/ssd rw shared:1 master:2 - xfs /dev/sdb rw
42 22 0:60 / /mnt rw - fuse.sshfs host:/ rw
43 22 0:61 / /mnt rw - ext4 /dev/sdc rw
not a line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/dawan", "ext4"),
        ("/run/dawan", "tmpfs"),
        ("/runner", "ext4"),
        ("/srv/my data/home", "nfs4"),
        ("/srv/my data/ssd/home", "xfs"),
        ("/mnt/home", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_innermost_and_last_mount(folder: str, kind: str) -> None:
    assert disk.file_system_of(Path(folder), MOUNTS)[0] == kind


def test_too_few_open_files_are_counted_out(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = admit(home, {}, None, offline=True)

    def allowed(soft: int) -> Finding:
        monkeypatch.setattr(limits, "open_files_allowed", lambda: (soft, 4096))
        return limits.check_open_files(patient)[0]

    assert allowed(65_536).verdict is Verdict.OK
    few = allowed(256)
    assert few.verdict is Verdict.WARN
    assert "3 peers" in few.why and "LimitNOFILE=" in few.fix and "4096" in few.fix
    assert allowed(64).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("free", "verdict"), [(100 * disk.GIB, Verdict.OK), (5 * disk.GIB, Verdict.WARN), (disk.GIB - 1, Verdict.FAIL)]
)
def test_little_room_is_a_warning_and_none_a_failure(
    home: Home, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda folder: free)
    assert verdicts(disk.check_room(admit(home, {}, None, offline=True))) == [verdict]


REQUIRES = ["cryptography>=44", "PyNaCl<2,>=1.5", 'uvloop<1,>=0.21; extra == "fast"']


@pytest.mark.parametrize(
    ("name", "version", "verdict"),
    [
        ("cryptography", "44.0.0", Verdict.OK),
        ("cryptography", "43.0.3", Verdict.FAIL),
        ("PyNaCl", "1.6.2", Verdict.OK),
        ("PyNaCl", "2.0.0", Verdict.FAIL),
        ("PyNaCl", "1.4", Verdict.FAIL),
        ("unbound", "0.1", Verdict.OK),
    ],
)
def test_a_library_outside_its_range_is_refused(name: str, version: str, verdict: Verdict) -> None:
    assert verdicts(versions.check_libraries((name,), lambda _: version, REQUIRES)) == [verdict]


def test_a_library_that_is_not_there_is_named() -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    assert verdicts(versions.check_libraries(("PyNaCl",), missing, REQUIRES)) == [Verdict.FAIL]


def test_an_authority_registered_by_vote_counts_once_the_node_can_tell(
    devnet: Devnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, now = Home(tmp_path / "gz1"), datetime.now(UTC)
    shutil.copytree(devnet.home(devnet.nodes[0]).path, home.path)
    voted = make_authority("gz", now)
    secret = keystore.load(home.tls_key, devnet.passphrase_file.read_bytes().strip()).secret
    request = request_for(secret, "gz", "gz1", ["127.0.0.1"])
    home.tls_certificate.write_text(to_pem([issue_from_request(voted, request, "gz", now)]))
    home.authority_certificate.write_text(to_pem([voted.certificate]))

    begun = consortium.load(home.consortium_file)
    assert home_roots(home, begun, "gz")["gz"] == (*begun.roots["gz"], voted.certificate)
    assert home_roots(home, begun, "gz")["hk"] == begun.roots["hk"]

    [stopped] = certificates.check_chain(admit(home, {}, None, offline=True))
    assert stopped.verdict is Verdict.WARN and "with the node running" in stopped.fix

    def seen(*registered: bytes) -> Verdict:
        page = {"items": [{"id": "gz", "ca": ["0x" + der.hex() for der in registered]}], "cursor": None}
        node = Mock(channel_list=lambda: ["trade"], module_query=lambda *_, **__: page)
        said = Answers(authorities=patient._registered(node))
        monkeypatch.setattr(patient, "holder", lambda _: 1)
        monkeypatch.setattr(patient, "_ask", lambda *_: said)
        return certificates.check_chain(admit(home, {}, None, offline=False))[0].verdict

    assert seen(voted.certificate) is Verdict.OK
    assert seen(make_authority("gz", now).certificate) is Verdict.FAIL


def test_a_peers_other_release_is_a_warning(home: Home) -> None:
    patient = admit(home, {}, None, offline=True)

    def seen(software: str) -> Verdict:
        answers = Answers(peers=({"name": "hk1", "direction": "in", "software": software},))
        return versions.check_peers(replace(patient, answers=answers))[0].verdict

    assert [seen("0.1.0"), seen("0.1.9"), seen("0.2.0"), seen("1.1.0"), seen("")] == [
        Verdict.OK, Verdict.OK, Verdict.WARN, Verdict.WARN, Verdict.NOT_RUN,
    ]  # fmt: skip


BREAKAGES: dict[str, Callable[[Home], object]] = {
    "node.toml": lambda home: home.config_file.unlink(),
    "consortium.toml": lambda home: home.consortium_file.write_text("format = "),
    "keys": lambda home: [path.unlink() for path in home.keys.glob("*.key.json")],
    "tls.pem": lambda home: home.tls_certificate.write_text(""),
    "CA": lambda home: (home.network / "mo.pem").write_text("-----BEGIN CERTIFICATE-----\n"),
    "clock": lambda home: (home.data / "devnet.clock").write_text("noon"),
    "list": lambda home: ((home.network / "crl").mkdir(), (home.network / "crl" / "mo.crl.pem").write_text("x")),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_whatever_file_is_broken_the_examination_goes_on_and_says_so(devnet: Devnet, what: str, tmp_path: Path) -> None:
    place = Home(tmp_path / "gz1")
    shutil.copytree(devnet.home(devnet.nodes[0]).path, place.path)
    BREAKAGES[what](place)
    findings = doctor.examine(place, {}, devnet.passphrase_file.read_bytes().strip(), offline=True)
    bad = [finding for finding in findings if finding.verdict is Verdict.FAIL]
    assert bad and all(finding.what and finding.why and finding.fix for finding in bad)
    assert len({finding.check for finding in findings}) == 10
