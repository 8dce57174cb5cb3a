"""Every certificate that must be refused, shown over TLS by a dialler and by a listener (reliability.md row E1).

The cases are those of ``tests.crypto.negative_certificates``, which judges them by the rules alone. Here a node meets
each at its port and at the other end of its dial, with nothing else wrong: the controls, shown the same way, connect.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import datetime
from functools import cache

import pytest

from dawan_node.crypto.certificates import CertifiedKey
from dawan_node.crypto.trust import Trust
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node.clock import SystemClock
from dawan_node.p2p.meeting import LocalIdentity
from dawan_node.p2p.tls import tls_contexts
from tests.crypto.certificate_recipes import dns, having, leaf, named
from tests.crypto.negative_certificates import CASES, CONTROLS, GZ, HK, Case
from tests.p2p.loopback import TRADE, Loopback, address, entry, identity, until, views

_RECIPE = having(leaf(HK, subject=named("hk1")), names=dns("hk1.hk.dawan"))
#: The honest end, and what the end that shows a case believes: nothing of the honest one is wrong.
HONEST = CertifiedKey(_RECIPE.der(), _RECIPE.pkcs8())
BELIEVES = Trust({"gz": [GZ.der()], "hk": [HK.der()]})


class StoppedClock(SystemClock):
    """Wall clock at the moment the certificates are judged at."""

    def __init__(self, now: datetime) -> None:
        self._now_ms = round(now.timestamp() * 1_000)

    def wall_ms(self) -> int:
        return self._now_ms


@cache
def why_not_presentable(case_number: int) -> str:
    """Why TLS cannot even carry the case; empty when it can."""
    case = CASES[case_number]
    if case.private_key_pkcs8 is None:
        return "no certificate, or a key TLS 1.3 has no signature for"
    try:
        tls_contexts(CertifiedKey(case.leaf_der, case.private_key_pkcs8), BELIEVES.roots)
    except ConfigError as error:
        return f"OpenSSL does not load it: {error.why}"
    try:
        tls_contexts(HONEST, case.roots)
    except ConfigError as error:
        return f"no network starts with these CA certificates: {error.why}"
    return ""


def shown(case: Case) -> LocalIdentity:
    assert case.private_key_pkcs8 is not None
    return identity("gz1", tls=CertifiedKey(case.leaf_der, case.private_key_pkcs8))


async def meet(case: Case, dialler_shows_it: bool, *, linked: bool) -> tuple[list[str], list[str], str]:
    """Who was up on either side (the honest one first), and what the dialler says of its failure."""
    async with Loopback() as net:
        clock = StoppedClock(case.now)
        honest, shower = identity("hk1", tls=HONEST), shown(case)
        if dialler_shows_it:
            listener, _ = await net.start(honest, [entry("gz1")], trusted=case.trust, clock=clock)
            dialler, _ = await net.start(shower, [entry("hk1", address(listener))], trusted=BELIEVES, clock=clock)
            peer = "hk1"
        else:
            listener, _ = await net.start(shower, [entry("hk1")], trusted=BELIEVES, clock=clock)
            dialler, _ = await net.start(honest, [entry("gz1", address(listener))], trusted=case.trust, clock=clock)
            peer = "gz1"
        if linked:
            await until(lambda: dialler.connected(TRADE) and listener.connected(TRADE), str(case))
        else:
            await until(lambda: views(dialler)[peer].last_failure, str(case))
        failure = views(dialler)[peer].last_failure
        return net.recorders["hk1"].up, net.recorders["gz1"].up, failure


@pytest.mark.parametrize("dialler_shows_it", [True, False], ids=["as client", "as server"])
@pytest.mark.parametrize("case", CONTROLS, ids=str)
def test_a_control_is_linked(case: Case, dialler_shows_it: bool) -> None:
    assert asyncio.run(meet(case, dialler_shows_it, linked=True)) == (["gz1"], ["hk1"], "")


@pytest.mark.parametrize("dialler_shows_it", [True, False], ids=["as client", "as server"])
@pytest.mark.parametrize(
    "number", [n for n in range(len(CASES)) if not why_not_presentable(n)], ids=lambda n: f"{CASES[n]}"
)
def test_a_bad_certificate_is_never_linked_and_both_ends_know_why(
    number: int, dialler_shows_it: bool, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[number]
    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        by_honest, by_shower, told = asyncio.run(meet(case, dialler_shows_it, linked=False))
    assert (by_honest, by_shower) == ([], [])
    logged = [each.__dict__["fields"]["reason"] for each in caplog.records]
    assert told in logged, "the dialler logs what it was told"
    with pytest.raises(UntrustedCertificate) as ours:
        case.trust.judge(case.leaf_der, case.now)
    assert any(str(ours.value) in why or "its TLS certificate" in why for why in logged), "the honest end says why"
    assert str(ours.value) in told or "refused this node's TLS certificate" in told or "refused: its TLS" in told


@pytest.mark.parametrize(
    "number", [n for n in range(len(CASES)) if why_not_presentable(n)], ids=lambda n: f"{CASES[n]}"
)
def test_a_certificate_that_tls_cannot_carry_is_refused_by_the_rules(number: int) -> None:
    with pytest.raises(UntrustedCertificate) as refused:
        CASES[number].trust.judge(CASES[number].leaf_der, CASES[number].now)
    assert refused.value.reason == CASES[number].reason


def test_the_table_goes_over_tls_almost_whole(capsys: pytest.CaptureFixture[str]) -> None:
    judged_only = {str(CASES[n]): why for n in range(len(CASES)) if (why := why_not_presentable(n))}
    with capsys.disabled():
        sys.stdout.write(
            f"\nnegative certificates: {len(CASES)} cases, {len(CASES) - len(judged_only)} over TLS as client and as "
            f"server, {len(judged_only)} judged only, {len(CONTROLS)} controls linked both ways\n"
        )
    assert len(CASES) - len(judged_only) >= 80
    assert len(judged_only) <= 32
