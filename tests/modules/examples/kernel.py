"""One of each command of ``kernel``, on what two business modules keep there; and the whole life of its registries."""

from __future__ import annotations

from tests.modules.examples.notebook import Notebook
from tests.modules.kernel_kit import Kernel

DAY_MS = 24 * 3_600_000


def story() -> Notebook:
    kernel = Kernel()
    notebook = Notebook(kernel.kit)
    _assets(kernel)
    _questions(kernel)
    _fingerprints(kernel)
    return notebook


def _assets(kernel: Kernel) -> None:
    until_ms = kernel.kit.time_ms + DAY_MS
    kernel.ok(kernel.call("anna", "lock", asset="carrier-1/BL-77", owner="F-1", until_ms=until_ms))
    kernel.ok(kernel.command("judge", "order_release", asset="carrier-1/BL-77", order="HCA 7/2025"))
    order = {"asset": "carrier-1/BL-77", "order": "HCA 8/2025"}
    kernel.ok(kernel.command("judge", "freeze_asset", **order, reason="ownership disputed", until_ms=until_ms))
    kernel.ok(kernel.command("judge", "lift_freeze", **order))


def _ask(kernel: Kernel, question: str) -> None:
    until_ms = kernel.kit.time_ms + DAY_MS
    kernel.ok(kernel.call("anna", "ask", asset=question, orgs=["gz", "hk", "mo"], needed=2, until_ms=until_ms))


def _questions(kernel: Kernel) -> None:
    _ask(kernel, "BL-77 arrived")
    answer = {"question": "BL-77 arrived", "answer": "2025-11-24T08:00+08:00"}
    kernel.ok(kernel.command("o-gz", "attest", **answer))
    kernel.ok(kernel.command("o-hk", "attest", **answer))
    kernel.ok(kernel.command("o-mo", "dispute", question="BL-77 arrived", reason="the ship was still at sea"))
    kernel.ok(kernel.call("anna", "resolve", asset="BL-77 arrived", reason="2025-11-25T02:00+08:00"))
    _ask(kernel, "BL-78 arrived")
    kernel.kit.pass_time(days=2)
    kernel.ok(kernel.call("anna", "resolve", asset="BL-78 arrived", reason="never"))


def _fingerprints(kernel: Kernel) -> None:
    first, second, third = (bytes([number]) * 32 for number in (1, 2, 3))
    loose, other = bytes([9]) * 32, bytes([8]) * 32

    def register(person: str, exact: bytes, alike: bytes = loose) -> None:
        kernel.ok(kernel.call(person, "register_fingerprint", exact=exact, loose=alike, asset="F-1"))

    def do(person: str, function: str, exact: bytes) -> None:
        kernel.ok(kernel.call(person, function, exact=exact))

    # The first is financed and repaid; what looks like it waits for a second pair of eyes.
    register("ben", first)
    register("ben", second)
    do("bea", "approve_similar", second)
    do("ben", "finance_fingerprint", second)
    do("ben", "release_fingerprint", second)
    register("ben", second)
    do("ben", "cancel_fingerprint", second)
    register("ben", second)
    do("ben", "cancel_fingerprint", first)
    register("ben", first)
    do("ben", "cancel_fingerprint", first)
    do("ben", "cancel_fingerprint", second)
    register("ben", second, loose)
    do("ben", "finance_fingerprint", second)
    do("ben", "release_fingerprint", second)
    register("ben", second, other)
    register("ben", third, other)
