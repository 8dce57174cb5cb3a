"""JSON-RPC refuses every certificate that the peer-to-peer port refuses: one judgement, two doors (row E1)."""

from __future__ import annotations

import pytest

from dawan_node.crypto.certificates import CertifiedKey
from dawan_node.crypto.trust import Trust
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.access import Kind
from dawan_node.rpc.api import ApiError
from dawan_node.rpc.server_tls import ServerTls
from tests.crypto.certificate_recipes import dns, having, leaf, named
from tests.crypto.negative_certificates import CASES, CONTROLS, GZ, HK, Case

_RECIPE = having(leaf(HK, subject=named("hk1")), names=dns("hk1.hk.dawan"))
OWN = CertifiedKey(_RECIPE.der(), _RECIPE.pkcs8())
CODES = {"revoked": jsonrpc.REVOKED, "expired": jsonrpc.CERTIFICATE_EXPIRED}


def server(case: Case) -> ServerTls:
    """Started with good authorities, then told of the case's: some of those no listener could start with."""
    tls = ServerTls(
        OWN, lambda judged: judged.org == "hk", Trust({"gz": [GZ.der()], "hk": [HK.der()]}), lambda: case.now
    )
    tls._trust = case.trust
    return tls


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_caller_is_refused_with_a_reason_and_a_remedy_who_shows(case: Case) -> None:
    with pytest.raises(ApiError) as refused:
        server(case).caller(case.leaf_der)
    assert refused.value.code == CODES.get(case.reason, jsonrpc.UNAUTHENTICATED)
    assert refused.value.message and refused.value.hint


@pytest.mark.parametrize("case", CONTROLS, ids=str)
def test_the_same_caller_without_the_defect_is_let_in(case: Case) -> None:
    assert server(case).caller(case.leaf_der).kind in (Kind.OWN, Kind.OUTSIDER)


def test_there_are_at_least_sixty_cases() -> None:
    assert len({str(case) for case in CASES}) >= 60
