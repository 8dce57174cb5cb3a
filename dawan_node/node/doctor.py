"""``doctor``: looks at everything a node stands on, changes nothing, and always comes to an end.

Checks of one machine run in threads of their own, because a disk or a name server that hangs hangs whoever asks it;
each has a deadline, and what has not answered by then is a finding like any other. Peers are asked all together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from dawan_node.errors import DawanError
from dawan_node.node.checkup import (
    certificates,
    clock,
    configuration,
    disk,
    halts,
    limits,
    links,
    ports,
    signer,
    versions,
)
from dawan_node.node.checkup.finding import Finding, Verdict, fail, not_run
from dawan_node.node.checkup.patient import Patient, admit
from dawan_node.node.home import Home

T = TypeVar("T")

#: What takes longer on a machine that is well: opening keys (Argon2id, twice 0.2 s), replaying 64 MiB of log.
CHECK_S: Final = 20.0

Check = Callable[[Patient], list[Finding]]

#: On this machine alone. (check, subject) name a check that did not answer.
LOCAL: Final[tuple[tuple[str, str, Check], ...]] = (
    (configuration.CHECK, "files", configuration.check_files),
    (signer.CHECK, "key files", signer.check_key_files),
    (signer.CHECK, "passphrase", signer.check_passphrase),
    (signer.CHECK, "node key", signer.check_registered),
    (signer.CHECK, "write-ahead log", signer.check_log),
    (halts.CHECK, "channels", halts.check_halts),
    (certificates.CHECK, "chain", certificates.check_chain),
    (certificates.CHECK, "dates", certificates.check_dates),
    (certificates.CHECK, "revocation lists", certificates.check_lists),
    (clock.CHECK, "this machine", clock.check_time),
    (disk.CHECK, "space", disk.check_room),
    (disk.CHECK, "sync", disk.check_sync),
    (disk.CHECK, "file system", disk.check_file_system),
    (disk.CHECK, "databases", disk.check_databases),
    (limits.CHECK, "open files", limits.check_open_files),
    (limits.CHECK, "memory", limits.check_memory),
    (versions.CHECK, "installation", versions.check_own),
    (ports.CHECK, "listen", ports.check_listeners),
)
#: What sends something, and so is left out with ``--offline``; the other network checks need the peers' answers.
NETWORK: Final[tuple[tuple[str, str, Check], ...]] = (
    (ports.CHECK, "advertise", ports.check_advertised),
    (links.CHECK, "inbound", links.check_inbound),
    (versions.CHECK, "peers", versions.check_peers),
)


def examine(home: Home, environment: Mapping[str, str], passphrase: bytes | None, *, offline: bool) -> list[Finding]:
    """Every finding, in the order of the checks. ``passphrase`` None: what is locked is not looked at."""
    return asyncio.run(_examine(home, environment, passphrase, offline))


async def _examine(
    home: Home, environment: Mapping[str, str], passphrase: bytes | None, offline: bool
) -> list[Finding]:
    patient = await _patiently(lambda: admit(home, environment, passphrase, offline=offline))
    if patient is None:
        return [_silent("configuration", str(home.path))]
    # One after the other where they use the same port, together where they wait for different things.
    local, probes = await asyncio.gather(_run_all(patient, LOCAL), _probe(patient))
    if offline:
        why, fix = "left out by --offline", "Leave out --offline."
        skipped = [not_run(check, subject, why, fix) for check, subject, _ in NETWORK]
        skipped += [not_run(links.CHECK, "peers", why, fix), not_run(clock.CHECK, "peers", why, fix)]
        return [*local, *skipped]
    network = await _run_all(patient, NETWORK)
    return [*local, *network, *links.check_links(patient, probes), *clock.check_skew(patient, probes)]


async def _probe(patient: Patient) -> Sequence[links.PeerProbe]:
    return () if patient.offline else await links.probe_peers(patient)


async def _run_all(patient: Patient, checks: Sequence[tuple[str, str, Check]]) -> list[Finding]:
    found: list[Finding] = []
    for check, subject, look in checks:
        try:
            answer = await _patiently(functools.partial(look, patient))
        except (OSError, DawanError) as error:
            answer = [fail(check, subject, "cannot be looked at", str(error), "Run `doctor` as the node's own user.")]
        found += [_silent(check, subject)] if answer is None else answer
    return found


async def _patiently(look: Callable[[], T]) -> T | None:
    """The answer of ``look``, run in a thread; None when it does not come. What it raises is raised."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def deliver(set_outcome: Callable[[], None]) -> None:
        if not answer.done():
            set_outcome()

    def hand_over(set_outcome: Callable[[], None]) -> None:
        # A loop that is closed belongs to an examination that ended without waiting for this answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, set_outcome)

    def run() -> None:
        try:
            outcome = look()
        except Exception as error:  # noqa: BLE001 - carried to whoever waits, as an executor does
            hand_over(functools.partial(answer.set_exception, error))
        else:
            hand_over(functools.partial(answer.set_result, outcome))

    # A daemon: an executor's thread that hangs would keep the process from ending.
    threading.Thread(target=run, daemon=True, name="check").start()
    try:
        async with asyncio.timeout(CHECK_S):
            return await answer
    except TimeoutError:
        return None


def _silent(check: str, subject: str) -> Finding:
    return fail(
        check,
        subject,
        f"no answer in {CHECK_S:g} s",
        "a disk, a network file system or a name server does not answer",
        "Look at the system's log (dmesg), then run `doctor` again.",
    )


def count(findings: Sequence[Finding]) -> dict[str, int]:
    """How many findings there are of each verdict."""
    return {verdict.value: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
