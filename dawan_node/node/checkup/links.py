"""Every peer's door: is it there, is it who it should be, and does it accept this node?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dawan_node.errors import DawanError
from dawan_node.node.checkup.finding import Finding, fail, not_run, ok, warn
from dawan_node.node.checkup.patient import Patient
from dawan_node.node.config import parse_address
from dawan_node.p2p.failure import explain_failure
from dawan_node.p2p.probe import STEP_S, ProbeReport, Step, probe

CHECK: Final = "links"
#: A probe has three steps and a look at a refused certificate, each with its own deadline.
PROBE_S: Final = 4 * STEP_S
#: Doors knocked at together: file descriptors are few on some machines, and this may be one whose limit is the trouble.
AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class PeerProbe:
    """What became of one address of one peer; ``report`` is None when TLS was not tried."""

    name: str
    org: str
    address: str
    report: ProbeReport | None
    reached: bool
    trouble: str = ""


async def probe_peers(patient: Patient) -> list[PeerProbe]:
    """Knock at every address of every other node of the consortium, all together."""
    if patient.consortium is None or patient.config is None:
        return []
    own = patient.config.node.name
    gate = asyncio.Semaphore(AT_ONCE)
    return await asyncio.gather(
        *(
            _knock(patient, node.name, node.org, address, gate)
            for node in patient.consortium.nodes
            if node.name != own
            for address in node.addresses
        )
    )


def check_links(patient: Patient, probes: Sequence[PeerProbe]) -> list[Finding]:
    """TLS with each peer, and each one's verdict on this node's certificate."""
    found = []
    if patient.tls is None and probes:
        why = "the TLS key is locked" if patient.keys_trouble is None else str(patient.keys_trouble)
        found.append(not_run(CHECK, "TLS to peers", why, "Give the passphrase: --passphrase-file FILE."))
    for each in probes:
        subject = f"{each.name} ({each.address})"
        if not each.reached:
            why = each.trouble or "it does not answer"
            found.append(
                fail(
                    CHECK,
                    subject,
                    "cannot be reached",
                    why,
                    f"Ask {each.org} whether {each.name} runs and listens there, and open the way to it; a new address "
                    f"belongs in consortium.toml.",
                )
            )
        elif each.report is not None:
            found.append(_of_report(each, subject, each.report))
        else:
            found.append(ok(CHECK, subject, "its port is open"))
    return found


def check_inbound(patient: Patient) -> list[Finding]:
    """Who dialled in: the only proof that others can reach this node."""
    if patient.answers is None or patient.answers.trouble:
        why = "the node does not run" if patient.answers is None else patient.answers.trouble
        return [not_run(CHECK, "inbound", why, "Start the node and run `doctor` again.")]
    dialled_in = sorted(str(peer["name"]) for peer in patient.answers.peers if peer["direction"] == "in")
    if dialled_in:
        return [ok(CHECK, "inbound", f"{', '.join(dialled_in)} dialled in")]
    if not patient.answers.peers:
        return [
            fail(
                CHECK,
                "inbound",
                "no peer is linked",
                "the node runs and nobody has a link with it",
                "See the lines above, then this node's log: dial_failed and handshake_refused name the reason.",
            )
        ]
    return [
        warn(
            CHECK,
            "inbound",
            "no peer dialled in",
            "all links were dialled from here, so nothing proves that others can reach this node",
            "Have a peer run `dawan-node doctor`; a firewall must let them in at the advertised address.",
        )
    ]


def _of_report(each: PeerProbe, subject: str, report: ProbeReport) -> Finding:
    expected = (each.name, each.org)
    if report.peer is not None and (report.peer.name, report.peer.org) != expected:
        return fail(
            CHECK,
            subject,
            f"another node answers there: {report.peer.name} of {report.peer.org}",
            f"consortium.toml has the address under {each.name} of {each.org}",
            f"Correct the addresses of {each.name} in consortium.toml.",
        )
    steps: tuple[tuple[str, Step | None], ...] = (
        ("its TLS certificate is refused here", report.certificate),
        ("no TLS connection", report.tls),
        ("it refuses this node", report.verdict),
    )
    for what, step in steps:
        if step is not None and not step.ok:
            why, _, fix = step.text.partition(" Fix: ")
            return fail(
                CHECK, subject, what, why.rstrip("."), _sentence(fix) or f"Do as it says, or let {each.org} do it."
            )
    rtt = "" if report.rtt_ms is None else f", round trip {report.rtt_ms:.1f} ms"
    return ok(CHECK, subject, f"TLS and both certificates are accepted{rtt}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


async def _knock(patient: Patient, name: str, org: str, address: str, gate: asyncio.Semaphore) -> PeerProbe:
    async with gate:
        try:
            async with asyncio.timeout(PROBE_S):
                if patient.tls is None or patient.trust is None:
                    await _dial(address)
                    return PeerProbe(name, org, address, None, True)
                report = await probe(address, patient.tls, patient.trust, patient.clock.now())
                return PeerProbe(name, org, address, report, report.tcp.ok, report.tcp.text)
        except TimeoutError:
            return PeerProbe(name, org, address, None, False, "no answer in time; is a firewall in between?")
        except OSError as error:
            return PeerProbe(name, org, address, None, False, explain_failure(error))
        except DawanError as error:
            return PeerProbe(name, org, address, None, False, str(error))


async def _dial(address: str) -> None:
    host, port = parse_address(address)
    async with asyncio.timeout(STEP_S):
        _, writer = await asyncio.open_connection(host, port)
    writer.close()
