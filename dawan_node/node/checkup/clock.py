"""The clock. Block times are judged by it, and certificates; no time server is asked, only the peers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dawan_node
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node.checkup.finding import Finding, fail, failed, not_run, ok, warn
from dawan_node.node.checkup.links import PeerProbe
from dawan_node.node.checkup.patient import Patient
from dawan_node.node.expiry import Kind, date_certificate
from dawan_node.node.home import read_certificate
from dawan_node.p2p.network import CLOCK_SKEW_MS_MAX

CHECK: Final = "clock"
#: Beyond this no network delay explains it: blocks are refused for it (CLOCK_SKEW_MS_MAX is where that begins).
SKEW_MS_FAIL: Final = 5_000
#: Files copied from a machine whose clock was a little ahead prove nothing.
_FILES_FROM_THE_FUTURE: Final = timedelta(minutes=5)
_NTP: Final = "Set it right: `timedatectl` shows whether NTP runs."


def check_time(patient: Patient) -> list[Finding]:
    """This machine's time against what cannot be later: the program's files, the consortium, the own certificate."""
    if patient.clock_trouble is not None:
        return [failed(CHECK, "devnet.clock", patient.clock_trouble)]
    now = patient.clock.now()
    found = []
    installed = datetime.fromtimestamp(Path(dawan_node.__file__).stat().st_mtime, UTC)
    for subject, moment in (("installation", installed), *_dates(patient)):
        if now < moment - _FILES_FROM_THE_FUTURE:
            found.append(
                fail(
                    CHECK,
                    subject,
                    f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC",
                    f"the {subject} is of {moment:%Y-%m-%d %H:%M} UTC, which would be in the future",
                    _NTP,
                )
            )
    return found or [ok(CHECK, "this machine", f"{now:%Y-%m-%d %H:%M:%S} UTC")]


def check_skew(patient: Patient, probes: Sequence[PeerProbe]) -> list[Finding]:
    """This machine's time against each peer's that could be asked."""
    measured = [(probe, probe.report.clock_skew_ms) for probe in probes if probe.report is not None]
    known = [(probe, skew) for probe, skew in measured if skew is not None]
    far = [skew for _, skew in known if abs(skew) > CLOCK_SKEW_MS_MAX]
    # When most peers differ the same way it is not they who are wrong.
    ours = 2 * len([skew for skew in far if (skew > 0) == (far[0] > 0)]) > len(known) if far else False
    found = []
    for probe, skew in known:
        size, way = abs(skew), "ahead of" if skew > 0 else "behind"
        if size <= CLOCK_SKEW_MS_MAX:
            found.append(ok(CHECK, probe.name, f"its clock is within {size} ms of this one"))
            continue
        whose = f"{'this machine' if ours else probe.name}: {len(far)} of {len(known)} peers differ"
        say = fail if size > SKEW_MS_FAIL else warn
        found.append(
            say(
                CHECK,
                probe.name,
                f"its clock is {_span(size)} {way} this one",
                f"blocks more than {CLOCK_SKEW_MS_MAX} ms off are refused; probably the clock of {whose}",
                _NTP,
            )
        )
    for probe in probes:
        if probe not in [each for each, _ in known]:
            found.append(not_run(CHECK, probe.name, "it told no time", "See what `links` says of it."))
    return found


def _dates(patient: Patient) -> list[tuple[str, datetime]]:
    found = []
    if patient.consortium is not None:
        found.append(("consortium", patient.consortium.document.created))
    try:
        certificate = read_certificate(patient.home.tls_certificate)
        begins = date_certificate(certificate, Kind.NODE, "", "").begins
    except (ConfigError, UntrustedCertificate):
        return found  # `certificates` says what is wrong with it
    return [*found, ("TLS certificate", begins)] if begins is not None else found


def _span(ms: int) -> str:
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if ms >= 2 * size - size // 2:
            return f"{ms / size:.1f} {unit}"
    return f"{ms} ms"
