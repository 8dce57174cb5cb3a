"""State roots of refdata and kernel after fixed transactions: a version's behaviour and bytes never change."""

from __future__ import annotations

from tests.modules.kernel_kit import Kernel
from tests.modules.refdata_kit import Reference, currency, removed


def test_an_adopted_table_and_a_dated_parameter_leave_this_root() -> None:
    reference = Reference()
    reference.adopt("currency", reference.load("currency", [currency("CNY"), currency("XAA")]), "2025-01-01")
    reference.adopt(
        "currency", reference.load("currency", [currency("JPY", "0"), removed("XAA")], base=1), "2025-12-01"
    )
    reference.set_parameter("lock.ttl", 3_600_000, "2025-12-31")
    assert reference.kit.state_root.hex() == "151d576f479063691c16012c18410fa2db601ccc76edefc24919d356e2b327b6"


def test_a_lock_a_payment_a_fingerprint_a_document_and_a_question_leave_this_root() -> None:
    kernel = Kernel()
    kernel.ok(kernel.call("ben", "lock", asset="提單-1", owner="f-1"))
    kernel.ok(kernel.call("settle", "use_cash", asset="BL-1", reference="ＰＡＹ—77 ⅷ"))
    kernel.ok(kernel.call("ben", "register_fingerprint", exact=b"e" * 32, loose=b"l" * 32, asset="F-1"))
    kernel.ok(kernel.call("anna", "register_document", readers=["mo", "gz"]))
    kernel.ok(kernel.call("anna", "ask", asset="q", orgs=["mo", "gz"], until_ms=kernel.kit.time_ms + 10_000_000))
    kernel.ok(kernel.command("o-gz", "attest", question="q", answer="late"))
    assert kernel.kit.state_root.hex() == "f1f924852c8f02f09bc2dab68e25b3b86486b8ed1401cb7f97b165f5ccb072e7"
