"""``network verify --file``: what a layout bears is said before anybody makes a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dawan_node.cli.main import cli
from dawan_node.node import consortium

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# operator -> (seats, channel survives its loss, survives its lying)
Table = dict[str, tuple[int, bool, bool]]
SAFE = True, True


def verify(path: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    result = CliRunner().invoke(cli, ["network", "verify", "--file", str(path), "-o", "json", *options])
    return result.exit_code, json.loads(result.stdout), result.stderr


def table_of(channel: dict[str, Any]) -> Table:
    return {
        each["operator"]: (each["seats"], each["survives_loss"], each["survives_lying"])
        for each in channel["operators"]
    }


@pytest.mark.parametrize(
    ("name", "n", "f", "quorum", "table"),
    [
        ("k1", 4, 1, 3, {"gz": (1, *SAFE), "hk": (1, *SAFE), "mo": (1, *SAFE), "hq": (1, *SAFE)}),
        ("k2", 7, 2, 5, {"gz": (2, *SAFE), "hk": (2, *SAFE), "mo": (2, *SAFE), "hq": (1, *SAFE)}),
    ],
)
def test_the_alliances_layouts_bear_any_one_organisation(name: str, n: int, f: int, quorum: int, table: Table) -> None:
    path = CONFIGS / f"consortium.{name}.toml"
    code, said, _ = verify(path)
    assert (code, said["ok"], said["warnings"], said["problems"]) == (0, True, [], [])
    assert [channel["channel"] for channel in said["channels"]] == ["trade", "alliance"]
    for channel in said["channels"]:
        assert (channel["n"], channel["f"], channel["quorum"], channel["chain_id"]) == (n, f, quorum, None)
        assert table_of(channel) == table | {"gdlog": (0, *SAFE), "mo-ins": (0, *SAFE)}
        assert [(each["org"], each["public_key"]) for each in channel["validators"]] == [
            (org, None) for org, (seats, _, _) in sorted(table.items()) for _ in range(seats)
        ]


@pytest.mark.parametrize("name", ["k1", "k2", "devnet"])
def test_every_organisation_of_the_templates_has_its_name_in_four_languages(name: str) -> None:
    document = consortium.load_document(CONFIGS / f"consortium.{name}.toml")
    for org in document.org:
        names = {org.names.en, org.names.zh_hans, org.names.zh_hant, org.names.pt}
        assert len(names) == 4 and all(names)
    administered = {identity.org for identity in document.identity if "org_admin" in identity.roles}
    assert administered == {org.id for org in document.org}
    assert {node.org for node in (*document.validator, *document.observer)} == administered


def layout(folder: Path, seats: dict[str, int], operator: dict[str, str] | None = None) -> Path:
    """A template whose channel has so many validators at each organisation."""
    lines = ["format = 1", 'network = "test"', "created = 2026-12-01T00:00:00Z"]
    nodes = [(f"{org}{number}", org) for org, count in seats.items() for number in range(1, count + 1)]
    for org in seats:
        names = [f'names.{language} = "{org}"' for language in ("en", "zh-Hans", "zh-Hant", "pt")]
        runs = [f'operator = "{operator[org]}"'] if operator and org in operator else []
        lines += ["[[org]]", f'id = "{org}"', *names, "founding = true", *runs]
    for name, org in nodes:
        lines += ["[[validator]]", f'name = "{name}"', f'org = "{org}"']
    names = [name for name, _ in nodes]
    lines += ["[[channel]]", 'name = "trade"', f"orgs = {json.dumps(list(seats))}", f"validators = {json.dumps(names)}"]
    path = folder / "consortium.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("k", "f", "loss", "can_fork", "can_stop"),
    [(1, 0, True, True, False), (2, 1, True, True, False), (3, 2, True, True, False)],
)
def test_three_equal_organisations_bear_a_loss_and_no_lie_however_many_nodes_they_run(
    tmp_path: Path, k: int, f: int, loss: bool, can_fork: bool, can_stop: bool
) -> None:
    path = layout(tmp_path, {"gz": k, "hk": k, "mo": k})
    code, said, _ = verify(path, "--no-byzantine-tolerance")
    [channel] = said["channels"]
    assert (code, channel["n"], channel["f"]) == (0, 3 * k, f)
    assert table_of(channel) == dict.fromkeys(("gz", "hk", "mo"), (k, loss, False))
    assert [(each["can_fork"], each["can_stop"]) for each in channel["operators"]] == [(can_fork, can_stop)] * 3
    forks = [f"{org} alone could fork channel trade: it runs {k} of {3 * k} validators, at most {f} may be faulty"
             for org in ("gz", "hk", "mo")]  # fmt: skip
    assert said["warnings"][:3] == forks
    assert said["warnings"][-1] == (
        "channel trade is run by three equal organisations and no fourth party, so none of them may lie, with however "
        f"many validators; add one validator of a fourth, independently run party: 3k + 1 = {3 * k + 1} validators "
        f"bear f = {k}, a whole organisation"
    )
    assert len(said["warnings"]) == (5 if k == 1 else 4)


@pytest.mark.parametrize(
    ("seats", "table", "warnings"),
    [
        # f + 1 seats at one organisation, for each n mod 3.
        (
            {"gz": 2, "hk": 1, "mo": 1},
            {"gz": (2, False, False), "hk": (1, *SAFE), "mo": (1, *SAFE)},
            ["gz alone could fork", "gz alone could stop"],
        ),
        (
            {"gz": 2, "hk": 1, "mo": 1, "hq": 1},
            {"gz": (2, False, False), "hk": (1, *SAFE), "mo": (1, *SAFE), "hq": (1, *SAFE)},
            ["gz alone could stop"],
        ),
        (
            {"gz": 2, "hk": 1, "mo": 1, "hq": 1, "xx": 1},
            {"gz": (2, True, False), "hk": (1, *SAFE), "mo": (1, *SAFE), "hq": (1, *SAFE), "xx": (1, *SAFE)},
            ["gz alone could fork"],
        ),
        (
            {"gz": 3, "hk": 2, "mo": 1, "hq": 1},
            {"gz": (3, False, False), "hk": (2, *SAFE), "mo": (1, *SAFE), "hq": (1, *SAFE)},
            ["gz alone could fork", "gz alone could stop"],
        ),
        ({"gz": 1}, {"gz": (1, False, False)}, ["gz alone could fork", "gz alone could stop"]),
    ],
    ids=lambda value: str(sum(value.values())) if isinstance(value, dict) and 1 in value.values() else "",
)
def test_an_organisation_with_more_seats_than_may_be_faulty_is_warned_of_and_not_refused(
    tmp_path: Path, seats: dict[str, int], table: Table, warnings: list[str]
) -> None:
    code, said, _ = verify(layout(tmp_path, seats))
    assert (code, said["ok"]) == (0, True)
    assert table_of(said["channels"][0]) == table
    assert [warning.partition(" channel")[0] for warning in said["warnings"]] == warnings


@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_validators_are_refused_unless_somebody_says_so(tmp_path: Path, n: int) -> None:
    path = layout(tmp_path, dict.fromkeys(("gz", "hk", "mo")[:n], 1))
    code, said, error = verify(path)
    assert (code, said["ok"]) == (1, False)
    assert f"channel trade has {n} validators" in said["problems"][0]
    assert "--no-byzantine-tolerance" in error and "Next:" in error
    code, said, _ = verify(path, "--no-byzantine-tolerance")
    assert (code, said["ok"], said["problems"]) == (0, True, [])
    assert any("tolerates crashes at most" in warning for warning in said["warnings"])


def test_seats_of_nodes_that_another_organisation_runs_are_counted_there(tmp_path: Path) -> None:
    _, said, _ = verify(layout(tmp_path, {"gz": 1, "hk": 1, "mo": 1, "hq": 1}, {"hq": "gz"}))
    [channel] = said["channels"]
    assert table_of(channel) == {"gz": (2, False, False), "hk": (1, *SAFE), "mo": (1, *SAFE)}
    assert channel["operators"][0]["orgs"] == ["gz", "hq"]
    assert {each["name"]: each["operator"] for each in channel["validators"]}["hq1"] == "gz"


def test_the_table_for_eyes_says_the_same(tmp_path: Path) -> None:
    path = layout(tmp_path, {"gz": 2, "hk": 1, "mo": 1})
    result = CliRunner().invoke(cli, ["network", "verify", "--file", str(path)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "Network test (a template: keys are missing)"
    assert "Channel trade: n = 4, f = 1, q = 3" in lines and "chain id -" in lines
    assert "gz        gz                 2      no                         no" in lines
    assert "hk        hk                 1      yes                        yes" in lines
    assert [line for line in lines if line.startswith("warning: gz alone could stop")]


def test_a_file_and_a_folder_are_two_questions(tmp_path: Path) -> None:
    path = layout(tmp_path, {"gz": 4})
    result = CliRunner().invoke(cli, ["network", "verify", "--file", str(path), "--from", str(tmp_path)])
    assert result.exit_code == 2 and "--from" in result.stderr
