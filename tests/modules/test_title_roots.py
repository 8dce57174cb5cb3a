"""State root of the title module after fixed transactions: a version's behaviour and bytes never change."""

from __future__ import annotations

from tests.modules.title_envelope_kit import envelope, first, hash_of, issuance, manifest, sign
from tests.modules.title_kit import DOCUMENT, Sea

FOREIGN = b"f" * 32


def test_titles_issued_endorsed_pledged_amended_made_paper_and_received_leave_this_root() -> None:
    sea = Sea()
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="BLANK_ENDORSE", hand_over_to="forwarder")
    sea.ok("forwarder", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(3))
    sea.ok("bank-hk", "release_pledge", title=title)
    sea.ok("forwarder", "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    sea.ok("liner", "accept_surrender", title=title)
    again = {"bill": sea.bill(port_of_discharge="HKHKG"), "checksum": DOCUMENT, "document": sea.document()}
    sea.ok("liner", "reissue_title", title=title, **again)
    sea.on_paper("HKG-2")
    chain = sign(first(checksum=FOREIGN, issuanceManifestSignedContent=issuance(FOREIGN)))
    signed = sign(manifest(hash_of(chain), FOREIGN))
    sea.ok("wave", "receive_envelope", **envelope(sea, chain, checksum=FOREIGN, manifest=signed))
    assert sea.kit.state_root.hex() == "be62f8770ae087ac48df926cb85d482b2d2042f75ac18041300d6cd9bbc4a135"
