"""The decided chain as a replica needs it: its head, the last few blocks, and certificates above the head.

Older blocks live in the store. The last ``2W`` stay here because peers that are a little behind are helped from them
(L4), an O entry may name one of them (L6), and a certificate that contradicts one of them is proof that more than f
validators lied.
"""

from __future__ import annotations

from dataclasses import dataclass

from dawan_node.consensus.config import ChannelRules, Head
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate


@dataclass(frozen=True, slots=True)
class Final:
    """A final block with its proof. ``links`` are empty when the certificate is its own."""

    block_hash: bytes
    header: Header
    result: Result
    result_hash: bytes
    links: tuple[tuple[Header, Result], ...]
    certificate: CommitCertificate
    leaf_hashes: tuple[bytes, ...] | None = None


class Chain:
    """Head, epoch and rules, recent blocks; and what is proven about the heights above."""

    def __init__(self, head: Head, created_ms: int) -> None:
        self.height = head.height
        self.block_hash = head.block_hash
        self.timestamp_ms = created_ms if head.header is None else head.header.timestamp_ms
        self.result_hash = head.result.hash
        self.certificate = head.certificate
        self.epoch = head.epoch
        self.rules = head.rules
        self.epoch_base = head.epoch_base
        self.recent: dict[int, Final] = {}
        #: The first valid certificate per height above the head.
        self.certificates: dict[int, CommitCertificate] = {}
        #: Blocks above the head whose header *and* result are proven.
        self.proven: dict[int, Final] = {}
        #: The highest height a valid certificate was seen for, and who signed it.
        self.seen_height = head.height
        self.seen_signers: tuple[int, ...] = ()
        #: Everything up to here is durably stored by the shell.
        self.applied = head.height
        # A head proven through a descendant brings that descendant's proof along: it is the way to a certified head.
        for position, (header, result) in enumerate(head.links):
            assert head.certificate is not None, "links lead to a certificate"
            self.proven[header.height] = Final(
                header.hash, header, result, result.hash, head.links[position + 1 :], head.certificate
            )
        if head.header is not None and head.certificate is not None:
            self.recent[head.height] = Final(
                head.block_hash, head.header, head.result, self.result_hash, head.links, head.certificate
            )

    @property
    def is_certified(self) -> bool:
        """Whether the head has its own certificate or is the epoch's base block: only then may votes be signed (L3)."""
        return self.height == self.epoch_base[0] or (
            self.certificate is not None and self.certificate.height == self.height
        )

    def holds(self, height: int, block_hash: bytes) -> bool | None:
        """Whether ``block_hash`` is decided at ``height``; None when that is too old (or not decided) to say."""
        if height == self.height:
            return block_hash == self.block_hash
        if height == self.epoch_base[0]:
            return block_hash == self.epoch_base[1]
        final = self.recent.get(height)
        return None if final is None else final.block_hash == block_hash

    def append(self, final: Final, window: int) -> None:
        """Move the head to ``final``, the block above it."""
        assert final.header.height == self.height + 1 and final.header.parent_hash == self.block_hash
        self.height = final.header.height
        self.block_hash = final.block_hash
        self.timestamp_ms = final.header.timestamp_ms
        self.result_hash = final.result_hash
        self.certificate = final.certificate
        self.recent[self.height] = final
        for height in [height for height in self.recent if height <= self.height - 2 * window]:
            del self.recent[height]
        self.certificates.pop(self.height, None)
        self.proven.pop(self.height, None)
        self.seen_height = max(self.seen_height, self.height)

    def enter_epoch(self, rules: ChannelRules) -> None:
        """The head ended its epoch: the next height belongs to the next one."""
        self.epoch += 1
        self.rules = rules
        self.epoch_base = (self.height, self.block_hash)
        self.certificates.clear()
        self.proven.clear()
        self.seen_height = self.height
