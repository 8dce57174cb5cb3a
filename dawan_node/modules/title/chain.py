"""The chain of a title: every act is an entry that carries the hash of the one before it.

The hash binds the title, the document's checksum and the place in the chain, so an entry of another bill, of another
version of the same bill or of another place fits nowhere. Whoever has the entries and their state proofs can recompute
all of it offline; ``Title.head`` and ``Title.length`` say that none is missing at the end.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, replace, tagged_hash
from dawan_node.modules.title.entities import Action, ChainEntry, Title
from dawan_node.primitives.encoding import encode

ENTRY_TAG: Final = b"dawan:title:entry:v1"
#: What the first entry of a chain carries as hash of the one before it.
NO_ENTRY: Final = bytes(32)


def entry_hash(checksum: bytes, entry: ChainEntry) -> bytes:
    """``tagged_hash`` over all fields of the entry but ``hash``, and the document's checksum."""
    fields = [
        entry.title,
        checksum,
        entry.position,
        entry.action,
        entry.reason,
        entry.actor,
        entry.recipient,
        entry.on_behalf_of,
        entry.at_ms,
        entry.transaction,
        entry.previous,
    ]
    return tagged_hash(ENTRY_TAG, encode(fields))


def record(
    ctx: Context, title: Title, action: Action, recipient: str = "", *, on_behalf_of: str = "", reason: str = ""
) -> Title:
    """Store ``title`` as it is after the sender's ``action``, and the entry that says so; the title as stored."""
    entry = ChainEntry(
        title=title.title,
        position=title.length,
        action=action,
        reason=reason,
        actor=ctx.sender.name,
        recipient=recipient,
        on_behalf_of=on_behalf_of,
        at_ms=ctx.time_ms,
        transaction=ctx.tx_id,
        previous=title.head,
        hash=b"",
    )
    entry = replace(entry, hash=entry_hash(title.checksum, entry))
    ctx.put(entry)
    stored = replace(title, length=title.length + 1, head=entry.hash)
    ctx.put(stored)
    return stored
