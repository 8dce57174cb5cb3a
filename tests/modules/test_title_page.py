"""docs/title.md lists what the module has, no more and no less; its diagram and its example are what happens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.modules.title import module
from dawan_node.modules.title.checks import HOLDERS
from dawan_node.modules.title.entities import Action, State
from dawan_node.primitives.encoding import encode
from tests.modules.title_envelope_kit import envelope
from tests.modules.title_kit import DOCUMENT, Sea

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "title.md").read_text(encoding="utf-8")
TITLE = "SMDG-HMM/HKG-1"


def rows_below(header: str) -> list[list[str]]:
    rows = PAGE.split(header)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_lists_every_command_with_the_roles_that_may_send_it() -> None:
    said = set(re.findall(r"[a-z_]+", PAGE.split("*Holders* are the roles")[1].split(".")[0]))
    assert said == set(HOLDERS)
    named = {}
    for names, roles, _ in rows_below("| Command | Role | What else, and the effect |"):
        for name in re.findall(r"`(\w+)`", names):
            named[name] = {"holders": HOLDERS, "anyone": ()}.get(roles, tuple(roles.split(", ")))
    assert named == {name: command.roles for name, command in module.commands.items()}


def test_the_page_lists_every_query_export_action_and_reason() -> None:
    queries = PAGE.split("Queries:")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", queries)) == set(module.queries)
    calls = PAGE.split("read; ")[1].split("are called")[0]
    assert set(re.findall(r"`(\w+)`", calls)) == set(module.exports)
    actions = " ".join(re.findall(r"`([A-Z_ \n]+)`", PAGE.split("The actions are")[1].split("which\nother")[0]))
    assert tuple(actions.split()) == get_args(Action)
    reasons = {row[0].strip("`"): row[1] for row in rows_below("| Reason | Meaning |")}
    assert reasons == dict(module.errors)


def test_the_page_has_the_time_of_an_answer_as_it_is_voted_first() -> None:
    shown = dict(re.findall(r"`(title\.[a-z.]+)` \((\d+)", PAGE))
    assert shown == {key: str(spec.first) for key, spec in PARAMETERS.items() if key.startswith("title.")}


def test_an_entrys_hash_is_made_as_the_page_says() -> None:
    sea = Sea()
    title = sea.issued()
    (entry,) = sea.history(title)
    named = PAGE.split("enc([title, ")[1].split("])")[0].replace("\n", " ").split(", ")
    fields = [DOCUMENT if name.strip() == "checksum" else getattr(entry, name.strip()) for name in named]
    assert tagged_hash(b"dawan:title:entry:v1", encode([title, *fields])) == entry.hash


# -- the diagram ------------------------------------------------------------------------------------------------------


def surrendered(purpose: str, reason: str = "") -> Callable[[Sea], None]:
    def make(sea: Sea) -> None:
        sea.issued()
        sea.ok("shipper", "surrender_title", title=TITLE, purpose=purpose, reason=reason)

    return make


def accepted(sea: Sea) -> None:
    surrendered("AMENDMENT")(sea)
    sea.ok("liner", "accept_surrender", title=TITLE)


def unanswered(reach: Callable[[Sea], object]) -> Callable[[Sea], None]:
    def make(sea: Sea) -> None:
        reach(sea)
        sea.kit.pass_time(days=15)

    return make


def nothing(sea: Sea) -> None:
    """A channel without titles."""


def issued(sea: Sea) -> None:
    sea.issued()


def approved(sea: Sea) -> None:
    sea.approved()


def on_paper(sea: Sea) -> None:
    sea.on_paper()


def again(sea: Sea) -> dict[str, Any]:
    return {"title": TITLE, "bill": sea.bill(), "checksum": DOCUMENT, "document": sea.document()}


def draft(sea: Sea) -> dict[str, Any]:
    return {"carrier": "SMDG-HMM", "reference": "HKG-1", "bill": sea.bill(), "checksum": DOCUMENT}


ONE = {"title": TITLE}
NO = ONE | {"why": "?"}
DELIVERY, AMENDMENT = "PENDING_SURRENDER_FOR_DELIVERY", "PENDING_SURRENDER_FOR_AMENDMENT"
#: An arrow of the diagram: how the state before it is reached, who sends what.
ARROWS: dict[tuple[str, str, str], tuple[Callable[[Sea], object], str, Callable[[Sea], dict[str, Any]]]] = {
    ("(none)", "draft_title", "DRAFT"): (nothing, "liner", draft),
    ("DRAFT", "approve_draft", "APPROVED"): (Sea.drafted, "shipper", lambda _: ONE | {"checksum": DOCUMENT}),
    ("APPROVED", "issue_title", "ISSUED"): (approved, "liner", lambda sea: ONE | {"document": sea.document()}),
    ("APPROVED", "draft_title", "DRAFT"): (approved, "liner", draft),
    ("(none)", "receive_envelope", "ISSUED"): (nothing, "wave", lambda sea: envelope(sea, reference="HKG-1")),
    ("ISSUED", "surrender_title DELIVERY", DELIVERY): (issued, "shipper", lambda _: ONE | {"purpose": "DELIVERY"}),
    (DELIVERY, "reject_surrender", "ISSUED"): (surrendered("DELIVERY"), "liner", lambda _: NO),
    (DELIVERY, "accept_surrender", "SURRENDERED_FOR_DELIVERY"): (surrendered("DELIVERY"), "liner", lambda _: ONE),
    ("ISSUED", "surrender_title AMENDMENT", AMENDMENT): (issued, "shipper", lambda _: ONE | {"purpose": "AMENDMENT"}),
    (AMENDMENT, "reject_surrender", "ISSUED"): (surrendered("AMENDMENT"), "liner", lambda _: NO),
    (AMENDMENT, "accept_surrender", "SURRENDERED_FOR_AMENDMENT"): (surrendered("AMENDMENT"), "liner", lambda _: ONE),
    ("SURRENDERED_FOR_AMENDMENT", "reissue_title", "VOIDED"): (accepted, "liner", again),
    (AMENDMENT, "accept_surrender SWTP", "VOIDED"): (
        surrendered("AMENDMENT", "SWTP"), "liner", lambda _: ONE | {"paper": "P-1"},
    ),
    (DELIVERY, "withdraw_surrender", "ISSUED"): (unanswered(surrendered("DELIVERY")), "shipper", lambda _: ONE),
    (AMENDMENT, "withdraw_surrender", "ISSUED"): (unanswered(surrendered("AMENDMENT")), "shipper", lambda _: ONE),
    ("SURRENDERED_FOR_AMENDMENT", "withdraw_surrender", "VOIDED"): (unanswered(accepted), "shipper", lambda _: ONE),
    ("VOIDED", "restore_title", "VOIDED"): (
        on_paper, "liner", lambda sea: again(sea) | {"paper": "P-1", "to": "buyer"},
    ),
}  # fmt: skip


def arrows() -> set[tuple[str, str, str]]:
    """Every arrow between two states; a line may hold several in a row."""
    found = set()
    for line in PAGE.split("## States")[1].split("```")[1].splitlines():
        parts = re.split(r" --(.+?)--> ", re.sub(r" {2,}\(.*\)$", "", line))
        found |= {(parts[i], parts[i + 1], parts[i + 2]) for i in range(0, len(parts) - 2, 2)}
    return found


def test_the_diagram_has_every_state_and_the_arrows_tried_below() -> None:
    assert arrows() == set(ARROWS)
    assert {state for before, _, after in arrows() for state in (before, after)} == {"(none)", *get_args(State)}


@pytest.mark.parametrize("arrow", ARROWS, ids=" ".join)
def test_an_arrow_of_the_diagram_is_what_happens(arrow: tuple[str, str, str]) -> None:
    before, command, after = arrow
    reach, person, args = ARROWS[arrow]
    sea = Sea()
    reach(sea)
    if before != "(none)":
        assert sea.get(TITLE).state == before
    sea.ok(person, command.split()[0], **args(sea))
    assert sea.get(TITLE).state == after
    if command in ("reissue_title", "restore_title") or (command, after) == ("withdraw_surrender", "VOIDED"):
        assert sea.get(f"{TITLE}.2").state == "ISSUED"


# -- the example ------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """JSON of the page as the ledger has it."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else value


def test_the_example_runs_as_it_says() -> None:
    sea = Sea()
    steps = re.findall(r"^(\S+) (\w+) (\{.*\})\n  -> (.+)$", PAGE.split("## Example")[1].split("```")[1], re.M)
    assert len(steps) == 8
    for person, command, args, outcome in steps:
        if outcome.startswith("E_"):
            sea.expect(outcome, person, command, **plain(json.loads(args)))
        else:
            sea.ok(person, command, **plain(json.loads(args)))
            assert [each or "-" for each in sea.control("SMDG-HMM/HKG-42")] == outcome.split()
