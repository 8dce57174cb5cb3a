"""``status``: one screen, one node, and the names of those it waits for. Exit code 6 when it is not well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dawan_node.cli.connect import connected, rpc_options, url_of
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.health import ChannelHealth, Finding, examine
from dawan_node.cli.options import output_option, print_json, print_table
from dawan_node.storage.room import FREE_BYTES_FAIL, GIB, MIB

_COLUMNS = {
    "channel": "CHANNEL",
    "height": "HEIGHT",
    "state": "STATE",
    "view": "VIEW",
    "primary": "PRIMARY",
    "commit": "LAST COMMIT",
    "validators": "VALIDATORS",
    "missing": "MISSING",
}


@click.command()
@rpc_options
@output_option
def status(rpc: str | None, home: Path, output: str) -> None:
    """Is the node healthy, and if not, whose fault is it?

    Exit code 6 when a channel cannot commit: no quorum, stuck, or this node stopped voting.
    """
    with connected(rpc, home) as client:
        report = client.node_status()
        peers = client.net_peers()
        healths: list[ChannelHealth] = []
        channels: list[dict[str, Any]] = []
        for row in report["channels"]:
            info = client.channel_get(row["channel"])
            pbft = client.pbft_status(row["channel"])
            health = examine(report["node"], row, info, pbft, peers)
            healths.append(health)
            channels.append({**row, "n": info["n"], "f": info["f"], "quorum": info["quorum"], "pbft": pbft})
    findings = [finding for health in healths for finding in health.findings]
    grave = [finding for finding in findings if finding.grave]
    if output == "json":
        print_json(
            {
                "healthy": not grave,
                "node": {name: report[name] for name in ("node", "org", "network", "uptime_s")},
                "disk": report.get("disk"),
                "channels": [
                    {**channel, "missing": list(health.missing), "findings": _as_json(health.findings)}
                    for channel, health in zip(channels, healths, strict=True)
                ],
                "peers": peers,
                "certificates": report.get("certificates", []),
            }
        )
    else:
        _show(report, channels, healths, url_of(rpc, home))
    if grave:
        raise CommandFailed(
            ExitCode.UNHEALTHY,
            f"{report['node']} is not well",
            f"{grave[0].channel}: {grave[0].text}",
            "Look at the nodes named, then at this node's log.",
        )


def _show(report: dict[str, Any], channels: list[dict[str, Any]], healths: list[ChannelHealth], url: str) -> None:
    click.echo(
        f"{report['node']} ({report['org']}) of network {report['network']}, up {_span(report['uptime_s'])}, "
        f"{report['peers']} {'peer' if report['peers'] == 1 else 'peers'}, {url}"
        f"{_room(report.get('disk'))}"
    )
    click.echo()
    rows = [
        {
            **channel,
            "commit": _age(channel["last_commit_age_ms"]),
            "validators": f"{channel['n']} (f={channel['f']}, q={channel['quorum']})",
            "missing": health.missing,
        }
        for channel, health in zip(channels, healths, strict=True)
    ]
    print_table(_COLUMNS, rows)
    findings = [finding for health in healths for finding in health.findings]
    certificates = report.get("certificates", [])
    is_low = _is_low(report.get("disk"))
    if findings or certificates or is_low:
        click.echo()
    for finding in findings:
        click.echo(f"{'!!' if finding.grave else ' !'} {finding.channel}: {finding.text}")
    if is_low:
        # Not grave either, until it stops; then nobody answers.
        click.echo(" ! the disk is nearly full. Free or add space; ledgers never shrink by themselves.")
    for warning in certificates:
        # Not grave: links that are up stay up, and commits go on.
        click.echo(f" ! {warning['text']}. {warning['fix']}")


def _room(disk: dict[str, int] | None) -> str:
    """Empty for whom the node does not tell, and from a node of an earlier version."""
    if disk is None:
        return ""
    stops = f"stops below {_size(disk['floor_bytes'])}, {_size(disk['reserve_bytes'])} in reserve"
    return f", disk: {_size(disk['free_bytes'])} free ({stops})"


def _is_low(disk: dict[str, int] | None) -> bool:
    return disk is not None and int(disk["free_bytes"]) < FREE_BYTES_FAIL


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count // MIB} MiB"


def _as_json(findings: tuple[Finding, ...]) -> list[dict[str, Any]]:
    return [{"grave": finding.grave, "text": finding.text} for finding in findings]


def _age(ms: int | None) -> str:
    if ms is None:
        return "none since start"
    return f"{ms} ms ago" if ms < 10_000 else f"{_span(ms // 1000)} ago"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
