"""docs/modules.md, the part on a network: what `module new` wrote runs on real nodes and answers as printed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from network_kit import running

from dawan_node.cli.module_new import write

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.extended]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")


def test_a_new_module_answers_on_a_network_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "greetings"
    write("greetings", project)
    info = project / "dawan_greetings-1.dist-info"  # what `pip install -e` leaves beside the path to the project
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dawan-greetings\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dawan_node.modules]\ngreetings = dawan_greetings:module\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project), str(ROOT)]))
    (block,) = re.findall(r"```network\n(.*?)```", PAGE, re.DOTALL)
    with running(tmp_path, 4, modules=["greetings@1"]) as network:
        (tmp_path / "devnet").symlink_to(network.devnet.folder)
        before = ""
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            answered = subprocess.run(
                ["bash", "-c", f"{before}{command}"], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert answered.returncode == 0, (command, answered.stderr)
            pattern = re.escape(expected.strip("\n")).replace("…", "(.|\n)*")
            assert re.fullmatch(pattern, answered.stdout.strip("\n")), (command, answered.stdout)
            if command.startswith("source"):
                before = f"{command} && "
