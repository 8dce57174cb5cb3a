"""One of each command of ``governance``, and everything that can become of its proposals, people and nodes."""

from __future__ import annotations

from typing import Any

from dawan_node.crypto.signatures import ED25519
from dawan_node.primitives.evidence import Offence
from dawan_node.testing.module_kit import ModuleKit, key_of_person, private_key_of, seat_args
from tests.modules.examples.notebook import Notebook
from tests.modules.refdata_kit import Reference
from tests.primitives.forger import Forger

PEOPLE = {"anna": ("gz", ["supplier"]), "visitor": ("shenzhen", ["supplier"])}
VOTERS = ("gz", "hk", "mo")


def story() -> Notebook:
    # With refdata beside it, whose changes are resolutions.
    reference = Reference(people=PEOPLE)
    kit = reference.kit
    notebook = Notebook(kit)
    _people(kit, notebook)
    _organisations(kit, notebook)
    _nodes(kit)
    _rules(kit)
    _validators(kit)
    reference.set_parameter("lc.exam.banking_days", 4, reference.day(1))
    return notebook


def _ok(kit: ModuleKit, person: str, command: str, /, **args: Any) -> None:
    receipt = kit.run(person, command, args, module="governance")
    assert receipt.code == 0, f"{command}: {receipt.code} {receipt.reason}"


def _decide(kit: ModuleKit, proposal: str) -> None:
    for org in VOTERS:
        _ok(kit, f"{org}-admin", "vote", proposal=proposal, approve=True)
    _ok(kit, "gz-admin", "enact", proposal=proposal)


def _key(name: str) -> dict[str, Any]:
    return {"suite": ED25519, "public_key": key_of_person(name)}


def _people(kit: ModuleKit, notebook: Notebook) -> None:
    notebook.knows("dora", private_key_of("dora"))
    _ok(kit, "gz-admin", "enrol", name="dora", roles=["buyer", "supplier"], **_key("dora"))
    _ok(kit, "gz-admin", "rotate", name="anna", **_key("anna-2"))
    _ok(kit, "gz-admin", "revoke", name="anna")
    _ok(kit, "dora", "tick")


def _organisations(kit: ModuleKit, notebook: Notebook) -> None:
    notebook.knows("gdlog-admin", private_key_of("gdlog-admin"))
    node = {"name": "gdlog1", **_key("node gdlog1"), "addresses": ["gdlog1.example.org:7100"]}
    names = {"en": "Guangdong Logistics Ltd", "zh-Hans": "广东物流有限公司"}
    joining = {"id": "join-gdlog", "org": "gdlog", "names": names, "ca": [b"its root certificate, DER"]}
    joining |= {"admin": "gdlog-admin", **_key("gdlog-admin"), "nodes": [node]}
    _ok(kit, "gz-admin", "propose_org", **joining)
    _decide(kit, "join-gdlog")
    _ok(kit, "gdlog-admin", "remove_node", name="gdlog1")
    _ok(kit, "gdlog-admin", "register_node", **node)
    authorities = [b"its root certificate, DER", b"its next root certificate, DER"]
    _ok(kit, "gdlog-admin", "propose_org_ca", id="gdlog-root", org="gdlog", ca=authorities)
    _decide(kit, "gdlog-root")
    for number, (org, status) in enumerate(
        [("gdlog", "suspended"), ("gdlog", "active"), ("gdlog", "removed"),
         ("shenzhen", "suspended"), ("shenzhen", "removed")]
    ):  # fmt: skip
        _ok(kit, "gz-admin", "propose_org_status", id=f"status-{number}", org=org, status=status)
        _decide(kit, f"status-{number}")


def _nodes(kit: ModuleKit) -> None:
    _ok(kit, "gz-admin", "register_node", name="gz9", **_key("node gz9"), addresses=["gz9.example.org:7100"])
    _ok(kit, "gz-admin", "remove_node", name="gz9")
    _ok(kit, "gz-admin", "publish_revocations", lists=[b"a revocation list, DER"])


def _rules(kit: ModuleKit) -> None:
    _ok(kit, "gz-admin", "propose_parameter", id="wider", name="window", value=8)
    _decide(kit, "wider")
    _ok(kit, "gz-admin", "propose_freeze", id="stop", module="refdata", frozen=True)
    for org in ("gz", "hk"):
        _ok(kit, f"{org}-admin", "vote", proposal="stop", approve=False)
    _ok(kit, "gz-admin", "propose_org_role", id="bank", org="gz", role="bank")
    _decide(kit, "bank")


def _validators(kit: ModuleKit) -> None:
    for seat in ("gz1", "hk1"):
        kit.use_key(seat, private_key_of(f"validator {seat}").public_key)
    liar = Forger(private_key_of("validator hk1"), kit.genesis.chain_id, 0)
    _ok(kit, "gz1", "record_evidence", proof=liar.of_each_kind()[Offence.EQUIVOCATION])
    # A node that was removed comes back as a validator.
    more = seat_args(kit.genesis, "more", "gz9", private_key_of("node gz9"), addresses=["gz9.example.org:7100"])
    _ok(kit, "gz-admin", "propose_validator", **more)
    _decide(kit, "more")
    other = seat_args(kit.genesis, "rekey", "gz1", private_key_of("the next key of gz1"))
    _ok(kit, "gz-admin", "propose_validator_key", **other)
    _decide(kit, "rekey")
    _ok(kit, "hq-admin", "propose_validator_removal", id="less", validator="gz9")
    _decide(kit, "less")
