"""`devnet up --two-channels`: titles and money part, and a network that was made otherwise is not taken for one."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_channels import BELIEVED, LOGISTICS, MODULES, TRADE, with_two_channels
from dawan_node.cli.main import cli
from dawan_node.execution.registry import load_module


def test_each_channel_runs_what_its_modules_need_and_believes_only_what_the_other_runs() -> None:
    template = devnet_creation.template_for(7)
    parted = with_two_channels(template)
    assert [channel.name for channel in parted.channel] == [TRADE, LOGISTICS, "alliance"]
    for channel in parted.channel[:2]:
        assert (channel.orgs, channel.validators) == (template.channel[0].orgs, template.channel[0].validators)
        names = [text.partition("@")[0] for text in channel.modules]
        for name in names:
            assert set(load_module(name, 1).uses) <= {*names, "governance"}, name
    run = {place: {text.partition("@")[0] for text in modules} for place, modules in MODULES.items()}
    for place, believed in BELIEVED.items():
        assert set(believed) <= run[place]
    assert run[TRADE] | run[LOGISTICS] >= {text.partition("@")[0] for text in template.channel[0].modules}


def test_the_story_of_titles_and_a_second_channel_are_refused_where_there_is_one(tmp_path: Path) -> None:
    home = tmp_path / "net"
    asked = CliRunner().invoke(cli, ["devnet", "up", "--home", str(home), "--demo", "titles"])
    assert (asked.exit_code, "--two-channels" in asked.stderr, home.exists()) == (1, True, False)
    devnet_creation.create(home, 1)
    for options in (["--two-channels"], ["--demo", "titles"]):
        asked = CliRunner().invoke(cli, ["devnet", "up", "--home", str(home), *options])
        assert (asked.exit_code, "down --purge" in asked.stderr) == (1, True), asked.output
