"""One of each command of ``title``: bills are issued, endorsed, pledged, surrendered, amended, on paper and back."""

from __future__ import annotations

import hashlib

from dawan_node.testing.module_kit import private_key_of
from tests.modules.channels_kit import Channels
from tests.modules.examples.notebook import Notebook
from tests.modules.title_envelope_kit import envelope, first, hash_of, issuance, manifest, sign
from tests.modules.title_kit import DEPARTING, DOCUMENT, Sea

ELSEWHERE = hashlib.sha256(b"a document of another platform").digest()


def story() -> list[Notebook]:
    sea = Sea()
    notebook = Notebook(sea.kit)
    # The votes are governance's.
    sea.enrol("propose_carrier", code="SMDG-ONE", org="mo", public_key=b"")
    sea.enrol("propose_platform", code="BOLE", agent="bolero", public_key=private_key_of("the key of BOLE").public_key)
    _possession(sea)
    _pledges(sea)
    _surrenders(sea)
    _received(sea)
    return [notebook, _reserved(), _departed()]


def _possession(sea: Sea) -> None:
    title = sea.issued("HKG-1")
    sea.ok("shipper", "transfer_title", title=title, to="forwarder")
    sea.ok("forwarder", "reject_transfer", title=title)
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="bank-hk")
    sea.ok("bank-hk", "sign_title", title=title)
    sea.ok("buyer", "nominate_endorsee", title=title, nominee="buyer-2")
    sea.ok("bank-hk", "confirm_nomination", title=title, nominee="buyer-2")


def _pledges(sea: Sea) -> None:
    title = sea.issued("HKG-2")
    sea.ok("shipper", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(10))
    sea.ok("bank-hk", "release_pledge", title=title)
    sea.ok("shipper", "pledge_title", title=title, pledgee="bank-gz", matures=sea.day(10))
    sea.kit.pass_time(days=11)
    sea.ok("bank-gz", "enforce_pledge", title=title)


def _surrenders(sea: Sea) -> None:
    title = sea.issued("HKG-3")
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    sea.ok("liner", "reject_surrender", title=title, why="the ship has left")
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    sea.ok("liner", "accept_surrender", title=title)
    bill = sea.bill(port_of_discharge="HKHKG")
    sea.ok("liner", "reissue_title", title=title, bill=bill, checksum=DOCUMENT, document=sea.document())
    _unanswered(sea)
    paper = sea.on_paper("HKG-4")
    again = {"title": paper, "bill": sea.bill(), "checksum": DOCUMENT, "document": sea.document()}
    sea.ok("liner", "restore_title", **again, paper="P-1", to="buyer")


def _unanswered(sea: Sea) -> None:
    """A carrier that stays silent, one that owes an amended bill, and a buyer's clerk who left."""
    silent = sea.issued("HKG-5")
    sea.ok("shipper", "surrender_title", title=silent, purpose="DELIVERY")
    owed = sea.issued("HKG-6")
    sea.ok("shipper", "surrender_title", title=owed, purpose="AMENDMENT", reason="COD")
    sea.ok("liner", "accept_surrender", title=owed)
    left = sea.issued("HKG-7")
    hand_over = {"kind": "ENDORSE_TO_ORDER", "to": "idle-platform", "hand_over_to": "idle-platform"}
    sea.ok("shipper", "endorse_title", title=left, **hand_over)
    sea.ok("mo-admin", "revoke", module="governance", name="idle-platform")
    sea.ok("mo-admin", "succeed_title", title=left, revoked="idle-platform", to="buyer")
    sea.ok("buyer", "surrender_title", title=left, purpose="AMENDMENT")
    sea.kit.pass_time(days=15)
    sea.ok("shipper", "withdraw_surrender", title=silent)
    sea.ok("shipper", "withdraw_surrender", title=owed)
    sea.ok("buyer", "withdraw_surrender", title=left)


def _departed() -> Notebook:
    """A company that left the channel, and whom courts name for its title."""
    sea = Sea(DEPARTING)
    title = sea.issued("HKG-8")
    hand_over = {"kind": "ENDORSE_TO_ORDER", "to": "trader", "hand_over_to": "trader"}
    sea.ok("shipper", "endorse_title", title=title, **hand_over)
    sea.let_go("sz")
    notebook = Notebook(sea.kit)
    order = {"title": title, "former": "trader", "evidence": hashlib.sha256(b"the order as it was served").digest()}
    sea.ok("judge", "order_succession", **order, heir="buyer", order="HCCW 12/2026")
    sea.ok("judge", "recall_succession", title=title, order="HCCW 12/2026")
    sea.ok("judge", "order_succession", **order, heir="bank-hk", order="HCCW 19/2026")
    sea.kit.pass_time(days=31)
    sea.ok("bank-hk", "take_succession", title=title, order="HCCW 19/2026")
    return notebook


def _received(sea: Sea) -> None:
    """A bill of the same carrier that was issued on another platform."""
    chain = sign(first(checksum=ELSEWHERE, issuanceManifestSignedContent=issuance(ELSEWHERE)))
    signed = {"checksum": ELSEWHERE, "manifest": sign(manifest(hash_of(chain), ELSEWHERE))}
    sea.ok("wave", "receive_envelope", **envelope(sea, chain, **signed))


def _reserved() -> Notebook:
    """For a financing on another channel, which comes to nothing."""
    two = Channels()
    notebook = Notebook(two.logistics.kit)
    reservation = two.reserve(two.title(), "seller-a/F-1", "receivable.financing", recipients=["bank-hk"])
    two.pass_time(days=4)
    assert two.settle(reservation) == "RELEASED"
    return notebook
