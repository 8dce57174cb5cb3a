"""``run``: the daemon, in the foreground; whoever wants it in the background has an init system for that."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import click

from dawan_node.cli.options import home_option, load_home, obtain_passphrase, passphrase_option


@click.command()
@home_option
@passphrase_option
@click.option("--log-format", type=click.Choice(["logfmt", "json"]), help="Overrides [log] format.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Overrides [log] level.")
def run(home: Path, passphrase_file: Path | None, log_format: str | None, log_level: str | None) -> None:
    """Run the node until SIGTERM or Ctrl-C.

    Reads HOME/node.toml (environment variables DAWAN_... override it) and HOME/network.
    """
    place = load_home(home)
    # Heavy imports only now: --help and refusals answer at once.
    from dawan_node.node import config, logs
    from dawan_node.node.home import unlock

    flags = {key: value for key, value in (("log.format", log_format), ("log.level", log_level)) if value}
    settings = config.load(place.config_file, environment=os.environ, flags=flags)
    logs.configure(settings.log.format, settings.log.level)
    keys = unlock(place, obtain_passphrase(passphrase_file))
    # What the heaviest of them makes stays; the collector, which would go over it time and again, takes a thirteenth of
    # the time it takes.
    gc.disable()
    from dawan_node.node.process import run_node

    gc.enable()
    run_node(settings, place, keys)
