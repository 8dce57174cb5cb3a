"""Importing many UBL invoices into real validators: rate, memory, and what a kill -9 in the middle leaves behind.

    scripts/bench import_invoices --invoices 100000
    scripts/bench import_invoices --invoices 5000 --kill-at 0.5

A file of one invoice per line is made before the clock starts and given to ``dawan-node trade import-ubl`` in a
process of its own, as an ERP's export would be: everything is in the figure, from parsing the XML and looking each
invoice up to its signature, journal, block and report. With ``--kill-at`` the importer is killed with SIGKILL once that
share of the invoices is on chain, and run again; then every invoice must be there, and there must be as many
transactions on chain as invoices: nothing lost, nothing sent twice. A last run, over the finished import, says what it
costs to find that there is nothing to do.

How to read it: ``invoices_per_s`` is of the run (or of both runs together when killed), start of the program included.
``importer_rss_mib`` is the peak of the process, ``importer_cpu_us_per_invoice`` its processor time; on a machine that
is also the validators' the two compete. ``lost`` and ``duplicates`` must be 0.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.network import Running, machine, running
from benchmarks.workloads import workload_of
from dawan_node.cli.demo_invoices import BUYER, invoice
from dawan_node.rpc.client import Client

PERSON: Final = "gz-supplier"
CHANNEL: Final = "trade"
#: Between two looks at the chain while waiting for the moment to kill.
_LOOK_S: Final = 0.05
_PROGRAM: Final = "from dawan_node.cli.main import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--invoices", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=4, help="validators: 4, 7, 10, ...")
    parser.add_argument("--kill-at", type=float, default=0.0, help="share on chain at which the importer is killed")
    parser.add_argument("--no-again", action="store_true", help="leave out the last run, over the finished import")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dawan-bench-"))
    try:
        figures = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name:<32} {value!s:>14}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if figures["lost"] or figures["duplicates"]:
        sys.exit("invoices were lost or sent twice")


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One network, one import, and the same import once more."""
    about = machine()
    file = folder / "invoices.ndxml"
    write_invoices(file, options.invoices)
    with (
        running(folder / "network", workload_of("record", 0), 0, validators=options.nodes) as network,
        Client(network.validators[0].rpc_url) as client,
    ):
        chain = Chain(client)
        before = chain.transactions()
        began = time.monotonic()
        killed_at, runs = 0, []
        if options.kill_at:
            goal = before + int(options.invoices * options.kill_at)
            runs.append(import_all(network, file, folder, until=lambda: chain.transactions() >= goal))
            killed_at = chain.transactions() - before
        runs.append(import_all(network, file, folder))
        took_s = time.monotonic() - began
        last = runs[-1]
        sent = chain.transactions() - before
        known = chain.invoices()
        began = time.monotonic()
        again = last if options.no_again else import_all(network, file, folder)
        again_s = time.monotonic() - began
        resent = chain.transactions() - before - sent
    if last.code or again.code:
        raise RuntimeError(f"the importer ended with {last.code} and {again.code}: {last.said} {again.said}")
    return {
        **about,
        "nodes": options.nodes,
        "invoices": options.invoices,
        "file_mib": round(file.stat().st_size / 2**20, 1),
        "killed_with_on_chain": killed_at,
        "seconds": round(took_s, 1),
        "invoices_per_s": round(options.invoices / took_s, 1),
        "importer_rss_mib": round(max(each.rss_kib for each in runs) / 1024, 1),
        "importer_cpu_us_per_invoice": round(sum(each.cpu_s for each in runs) * 1e6 / options.invoices),
        "lost": options.invoices - known,
        "duplicates": sent - options.invoices + resent,
        **({} if options.no_again else {"again_per_s": round(options.invoices / again_s, 1)}),
        "said": last.said,
    }


@dataclass(frozen=True, slots=True)
class Import:
    """What one run of the importer used and said."""

    code: int
    cpu_s: float
    rss_kib: int
    said: str


class Chain:
    """Counts what is on the channel; blocks that were counted are not read again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._height = 0
        self._transactions = 0

    def transactions(self) -> int:
        """Transactions in all blocks up to now, refused ones included."""
        head = self._client.chain_head(CHANNEL)["height"]
        while self._height < head:
            self._height += 1
            self._transactions += len(self._client.chain_getBlock(CHANNEL, self._height)["txs"])
        return self._transactions

    def invoices(self) -> int:
        """Invoices of the supplier in the state."""
        count, cursor = 0, None
        while True:
            page = self._client.module_query(CHANNEL, "receivable", "invoices", {"party": PERSON}, 200, cursor)
            count += len(page["items"])
            cursor = page["cursor"]
            if cursor is None:
                return count


def import_all(network: Running, file: Path, folder: Path, until: Any = None) -> Import:
    """Run the importer to its end, or kill it once ``until()`` holds."""
    home = next(
        network.devnet.home(node).keys.parent
        for node in network.nodes
        if network.devnet.home(node).identity_key(PERSON).exists()
    )
    command = [sys.executable, "-c", _PROGRAM, "trade", "import-ubl", str(file), "--key", PERSON, "--buyer", "gz-buyer"]
    command += ["--home", str(home), "--passphrase-file", str(network.devnet.passphrase_file), "-c", CHANNEL]
    command += ["--journal", str(folder / "import.journal")]
    environment = {**os.environ, "DAWAN_RPC": network.validators[0].rpc_url}
    with (folder / "said").open("w+b") as said:
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        # Not Popen's own waiting: wait4 says what the process used.
        done, status, used = os.wait4(child.pid, 0 if until is None else os.WNOHANG)
        while not done:
            if until is not None and until():
                child.send_signal(signal.SIGKILL)
                until = None
            time.sleep(_LOOK_S)
            done, status, used = os.wait4(child.pid, os.WNOHANG)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode().strip().replace("\n", " / ")
    return Import(child.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss, text)


def write_invoices(file: Path, count: int) -> None:
    """``count`` different invoices of today, one per line."""
    today = datetime.now(UTC).date()
    due = (today + timedelta(days=90)).isoformat()
    with file.open("wb") as stream:
        for number in range(count):
            amount = f"{1_000 + number % 900_000}.00"
            text = invoice(f"IMP-{number:07d}", BUYER, today.isoformat(), due, "CNY", amount, "0.00")
            stream.write(text.replace(b"\n", b" ") + b"\n")


if __name__ == "__main__":
    main()
