"""What the title register asks of other channels and other modules before it binds or moves a title for them."""

from __future__ import annotations

from tests.modules.title_kit import Sea


def test_a_channel_that_believes_no_other_one_reserves_and_settles_nothing() -> None:
    sea = Sea()
    title = sea.issued()
    args = {
        "number": "R-1",
        "title": title,
        "channel": "trade",
        "purpose": "lc.presentation",
        "process": "buyer-a/LC-1",
    }
    args |= {"recipients": ["bank-hk"], "until_ms": sea.kit.time_ms + 1_000_000}
    sea.expect("E_NO_LIGHT_CLIENT", "shipper", "reserve_title", **args)
    sea.expect("E_NO_LIGHT_CLIENT", "port", "settle_title", reservation="shipper/R-1", proof=b"x")


def test_a_process_asks_whether_its_title_is_bound_and_another_ones_is_not_its_own() -> None:
    sea = Sea()
    title = sea.issued()
    ask = {"title": title, "function": "require_bound"}
    sea.expect("E_NOT_BOUND", "shipper", "use", module="credit", **ask)
    sea.ok("shipper", "use", module="credit", title=title, function="bind")
    sea.ok("shipper", "use", module="credit", **ask)
    sea.expect("E_NOT_BOUND", "shipper", "use", module="credit", **ask, process="LC-2")
