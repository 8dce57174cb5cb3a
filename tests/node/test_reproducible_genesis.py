"""Whoever assembles, in whatever order and on whatever machine, gets the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.node import assembly, consortium
from dawan_node.node.assembly import files
from dawan_node.node.join_request import JoinRequest
from tests.node.joining_kit import NOW, requests_for

ROOT = Path(__file__).resolve().parents[2]
# Two nodes per association, an observer per member company: requests with and without an authority and identities.
TEMPLATE = ROOT / "configs" / "consortium.k2.toml"

OTHER_MACHINE = """
import hashlib, json, locale, pathlib, sys, time
from datetime import datetime
from dawan_node.node import assembly, consortium, join_request
time.tzset()
locale.setlocale(locale.LC_ALL, "")
template, *paths = map(pathlib.Path, sys.argv[2:])
given = [(path.name, join_request.load(path)) for path in paths]
made = assembly.assemble("t", consortium.load_document(template), given, datetime.fromisoformat(sys.argv[1]))
print(json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in assembly.files(made).items()}))
"""


@pytest.fixture(scope="module")
def requests() -> list[tuple[str, JoinRequest]]:
    return requests_for(consortium.load_document(TEMPLATE))


@pytest.fixture(scope="module")
def expected(requests: list[tuple[str, JoinRequest]]) -> dict[str, bytes]:
    return files(assembly.assemble("t", consortium.load_document(TEMPLATE), requests, NOW))


@given(order=st.permutations(range(9)))
def test_the_order_of_the_requests_never_shows(
    requests: list[tuple[str, JoinRequest]], expected: dict[str, bytes], order: list[int]
) -> None:
    assert len(requests) == 9
    turned = [requests[place] for place in order]
    assert files(assembly.assemble("t", consortium.load_document(TEMPLATE), turned, NOW)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "zone", "locale", "newline"),
    [
        ("0", "UTC", "C", "\n"),
        ("1", "Asia/Macau", "C.UTF-8", "\r\n"),
        ("4242", "America/St_Johns", "POSIX", "\r\n"),
    ],
)
def test_another_machine_computes_the_same_bytes(
    requests: list[tuple[str, JoinRequest]],
    expected: dict[str, bytes],
    tmp_path: Path,
    seed: str,
    zone: str,
    locale: str,
    newline: str,
) -> None:
    """Other hash seed, time zone, locale, line ends, file names and order, in a process of its own."""
    paths = []
    for number, (_, request) in enumerate(requests):
        path = tmp_path / f"{hashlib.sha256(str(number).encode()).hexdigest()[:8]}.toml"
        path.write_bytes(request.render().replace("\n", newline).encode())
        paths.append(path)
    template = tmp_path / "template.toml"
    template.write_bytes(TEMPLATE.read_bytes().replace(b"\n", newline.encode()))
    environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale, "PYTHONUTF8": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", OTHER_MACHINE, NOW.isoformat(), template, *sorted(paths)],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(ran.stdout) == {name: hashlib.sha256(data).hexdigest() for name, data in expected.items()}


def test_two_nodes_of_one_organisation_may_both_bring_its_authority(
    requests: list[tuple[str, JoinRequest]], expected: dict[str, bytes]
) -> None:
    from tests.node.joining_kit import request_for

    document = consortium.load_document(TEMPLATE)
    again = [
        (name, request_for(document, "gz2", "gz", 1, identity=()) if request.name == "gz2" else request)
        for name, request in requests
    ]
    assert again[1][1].ca and not requests[1][1].ca
    assert files(assembly.assemble("t", document, again, NOW)) == expected
