"""Disks that change what they hold: bits that flip, pages of zeros, pages in each other's place, files of last week.

After each fault the disk is opened as a node opens it, and then *everything* is read: every block with its result,
certificate, body, receipts and index, every value of the state, every node of its tree. What may come of it:

* ``refused``: the node does not start, with a StorageError or an OperatorError;
* ``observer``: it starts, says that its log is not the one of its database, and does not sign;
* ``behind``: it starts, and knows from its log that blocks are missing in its database: up to that height it signs
  nothing else, and it fetches them from its peers;
* ``at read``: it starts, and the first read that meets the damage raises StorageError;
* ``harmless``: everything that is read equals what was written, nothing is missing, and every vote is remembered.

The first four are detection *before a wrong value is served*. All else is a failure: a value that differs, a block or
a vote that is gone without anybody knowing.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dawan_node.consensus.records import SHELL_KINDS_FROM, Record, RecordKind, recorded_height
from dawan_node.errors import DawanError, OperatorError, StorageError
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.restore import open_channel
from dawan_node.node.signer import ChannelSigner, NodeSigner
from dawan_node.storage import leveldb
from dawan_node.storage.wal import Wal, WalMissing
from tests.node.ledger import START_MS
from tests.storage_faults import chain, life
from tests.storage_faults.forks import copy, in_child, start_life
from tests.storage_faults.healing import healed
from tests.storage_faults.reopening import Told, lost_votes, wrong_blocks, wrong_state
from tests.storage_faults.verdicts import Verdicts

PAGE_BYTES = 4096
HARMLESS = "harmless"
#: What the campaign must have done at least once each.
KINDS = ("bit flipped", "page zeroed", "pages swapped", "older copy", "removed")
DETECTED = ("refused", "observer", "behind", "at read")


@dataclass(frozen=True, slots=True)
class Disk:
    """A home at some height, what its node told others, and the same files as they were some blocks earlier."""

    home: Path
    earlier: Path
    told: Told


def prepare(folder: Path, height: int, *, killed: bool) -> Disk:
    """A disk with ``height`` blocks, after an orderly end or a death."""
    home, earlier = folder / "home", folder / "earlier"
    in_child(lambda: life.prepare(home))
    said: list[str] = []
    for up_to, is_last in ((height * 2 // 3, False), (height - 3, False), (height, True)):
        running = start_life(home, up_to, dies=killed and is_last)
        assert running.end() == (-signal.SIGKILL if killed and is_last else 0)
        said += [line for line in running.lines.told if line.startswith(("decided", "sent"))]
        if up_to < height - 3:
            copy(home, earlier)
    return Disk(home, earlier, Told.parse(said))


@dataclass(frozen=True, slots=True)
class Fault:
    """One change of one file, by path below the home."""

    kind: str
    file: str
    what: str
    content: bytes | None


def files_of(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def faults(disk: Disk, source: random.Random) -> list[Fault]:
    """One fault of each kind in each file that can have it."""
    found = []
    for name in files_of(disk.home):
        before = (disk.home / name).read_bytes()
        for kind, change in _CHANGES.items():
            changed = change(before, source)
            if changed is not None and changed[0] != before:
                found.append(Fault(kind, name, changed[1], changed[0]))
        old = disk.earlier / name
        if old.exists() and old.read_bytes() != before:
            found.append(Fault("older copy", name, "", old.read_bytes()))
        found.append(Fault("removed", name, "", None))
    source.shuffle(found)
    return found


Change = Callable[[bytes, random.Random], tuple[bytes, str] | None]


def _flip(data: bytes, source: random.Random) -> tuple[bytes, str] | None:
    if not data:
        return None
    changed, offset, bit = bytearray(data), source.randrange(len(data)), source.randrange(8)
    changed[offset] ^= 1 << bit
    return bytes(changed), f"bit {bit} of byte {offset} of {len(data)}"


def _zero(data: bytes, source: random.Random) -> tuple[bytes, str] | None:
    if not data:
        return None
    page = source.randrange(-(-len(data) // PAGE_BYTES)) * PAGE_BYTES
    end = min(page + PAGE_BYTES, len(data))
    return data[:page] + bytes(end - page) + data[end:], f"the page at {page} of {len(data)}"


def _swap(data: bytes, source: random.Random) -> tuple[bytes, str] | None:
    pages = len(data) // PAGE_BYTES
    if pages < 2:
        return None
    one, other = (place * PAGE_BYTES for place in sorted(source.sample(range(pages), 2)))
    middle = data[one + PAGE_BYTES : other]
    after = data[other + PAGE_BYTES :]
    changed = data[:one] + data[other : other + PAGE_BYTES] + middle + data[one : one + PAGE_BYTES] + after
    return changed, f"the pages at {one} and {other} of {len(data)}"


_CHANGES: dict[str, Change] = {"bit flipped": _flip, "page zeroed": _zero, "pages swapped": _swap}


@dataclass
class Outcomes:
    """What came of the faults, by kind of fault and outcome, and everything that may not be."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    strata: Counter[tuple[str, str, str]] = field(default_factory=Counter)


def inject(
    disk: Disk, given: Sequence[Fault], work: Path, outcomes: Outcomes, known: Verdicts, *, heal_each: int
) -> None:
    """Each fault on a copy of its own; of those that were detected, the first ``heal_each`` of each stratum (kind of
    fault, kind of file, outcome) are healed by a peer."""
    for number, fault in enumerate(given):
        stratum = fault.kind, _kind_of(fault.file)
        outcome, why = known.of(f"{disk.home.parent.name} {number}", partial(_detect, disk, fault, work))
        outcomes.counts[fault.kind, outcome] += 1
        where = f"{fault.kind} in {fault.file}, {fault.what}"
        if outcome not in DETECTED:
            if outcome != HARMLESS:
                outcomes.wrong[fault.kind] += 1
                outcomes.broken.append(f"{where}: {outcome}: {why}")
            continue
        outcomes.strata[*stratum, outcome] += 1
        if outcomes.strata[*stratum, outcome] > heal_each:
            continue
        broken = known.of(f"{disk.home.parent.name} {number} healed", partial(_heal, disk, fault, work))
        outcomes.counts[fault.kind, "not healed" if broken else "healed"] += 1
        outcomes.broken += [f"{where}: {outcome} ({why}), and not healed: {text}" for text in broken]


def _kind_of(file: str) -> str:
    """What a file is for, without its number."""
    name = Path(file).name
    return Path(file).suffix if Path(file).suffix in (".wal", ".log", ".ldb") else name.partition("-")[0]


def _damage(disk: Disk, fault: Fault, work: Path) -> None:
    copy(disk.home, work)
    path = work / fault.file
    if fault.content is None:
        path.unlink()
    else:
        path.write_bytes(fault.content)


def _detect(disk: Disk, fault: Fault, work: Path) -> tuple[str, str]:
    _damage(disk, fault, work)
    outcome, why = in_child(lambda: judge(work, disk.told))
    return outcome, why


def _heal(disk: Disk, fault: Fault, work: Path) -> list[str]:
    """From the damaged disk as it is found, before anybody has opened it."""
    _damage(disk, fault, work)
    broken: list[str] = in_child(lambda: healed(work, disk.home, disk.told))
    return broken


def judge(home: Path, told: Told) -> tuple[str, str]:
    """The outcome of opening and reading ``home``, and the particulars."""
    leveldb.WRITE_BUFFER_BYTES = life.WRITE_BUFFER_BYTES
    wal: Wal | None = None
    try:
        with suppress(WalMissing):  # as in ``node.node``: without a log the node observes
            wal = Wal.open(life.wal_of(home))
        records = None if wal is None else wal.records()
        parts = open_channel(
            chain.genesis(), life.database_of(home), life.HISTORY_BLOCKS, records, NodeSigner(chain.validator_key()),
            START_MS,
        )  # fmt: skip
    except (StorageError, OperatorError) as error:
        return "refused", str(error)
    finally:
        if wal is not None:
            wal.close()
    try:
        return _read_all(parts, told)
    except StorageError as error:
        return "at read", str(error)
    finally:
        parts.store.close()


def _read_all(parts: ChannelParts, told: Told) -> tuple[str, str]:
    height, acknowledged = parts.store.head.height, max(told.decided)
    signer = parts.signer
    wrong = [*wrong_blocks(parts, range(1, height + 1)), *wrong_state(parts, height)]
    if wrong:
        return "WRONG VALUE", "; ".join(wrong[:3])
    if not isinstance(signer, ChannelSigner):
        return "observer", ""
    forgotten = lost_votes(parts, told.sent)
    if forgotten:
        return "FORGOTTEN VOTE", forgotten[0]
    if height < acknowledged:
        if signer.floor >= acknowledged:
            return "behind", f"{height} of {acknowledged}"
        return "LOST BLOCKS", f"{height} of {acknowledged}, and the log says {signer.floor}"
    return HARMLESS, ""


# The log cut off


def cut_log(disk: Disk, work: Path, outcomes: Outcomes, offsets: Sequence[int]) -> None:
    """Cut the newest segment at each offset. What is left must be a beginning of what was, and a log that has lost a
    decision the database knows must be known to have."""
    segment = sorted(life.wal_of(disk.home).glob("*.wal"))[-1]
    whole = segment.read_bytes()
    target = work / "wal"
    full = _replayed(disk.home, work)
    height = max(told_height for told_height in disk.told.decided)
    for offset in offsets:
        shutil.rmtree(work, ignore_errors=True)
        target.mkdir(parents=True)
        (target / segment.name).write_bytes(whole[:offset])
        try:
            wal = Wal.open(target)
        except (StorageError, WalMissing):
            outcomes.counts["log cut", "refused"] += 1
            continue
        records = wal.records()
        wal.close()
        if records != full[: len(records)]:
            outcomes.broken.append(f"log cut at {offset}: what it replays was never written")
            continue
        own = [Record(RecordKind(each.kind), each.payload) for each in records if each.kind < SHELL_KINDS_FROM]
        if len(records) == len(full):
            outcomes.counts["log cut", HARMLESS] += 1
        elif (recorded_height(own) or 0) < height:
            outcomes.counts["log cut", "observer"] += 1
        else:
            outcomes.broken.append(f"log cut at {offset}: {len(full) - len(records)} records are gone, unnoticed")


def _replayed(home: Path, work: Path) -> Sequence[object]:
    copy(life.wal_of(home), work / "wal")
    wal = Wal.open(work / "wal")
    records = wal.records()
    wal.close()
    return records


def last_records_begin(disk: Disk, work: Path, count: int) -> tuple[int, int]:
    """Where the last ``count`` records of the newest segment begin, and its length."""
    segment = sorted(life.wal_of(disk.home).glob("*.wal"))[-1]
    whole = segment.read_bytes()
    records = len(_replayed(disk.home, work))
    target = work / "wal"
    low, high = 0, len(whole)  # at ``high`` at least ``records - count + 1`` records are left, at ``low`` not
    while high - low > 1:
        middle = (low + high) // 2
        shutil.rmtree(target)
        target.mkdir()
        (target / segment.name).write_bytes(whole[:middle])
        try:
            wal = Wal.open(target)
            left = len(wal.records())
            wal.close()
        except DawanError:
            left = 0
        if left > records - count:
            high = middle
        else:
            low = middle
    return low, len(whole)
