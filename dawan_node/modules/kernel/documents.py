"""Documents kept off chain: what the channel knows of them, and the tombstone that stays.

On chain is only the hash of ``salt || payload`` with a random salt of 32 bytes that travels with the payload: a bare
hash of a short document can be guessed. The purge of payload, salt and key happens where they are; the chain records
that it was due and that it is done, and never forgets that the document existed.
"""

from __future__ import annotations

import re
from typing import Final

from dawan_node.execution.module import Context, is_date, key_of, replace
from dawan_node.modules.kernel.checks import require_orgs
from dawan_node.modules.kernel.declaration import Document, DocumentPurged, module

#: An alliance of 54 members and the regulators that read with them.
READERS_MAX: Final = 64
#: A gigabyte: scans of a whole shipment's papers.
SIZE_MAX: Final = 2**30
_MEDIA_TYPE: Final = re.compile("[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,126}")
_SCHEMA: Final = re.compile("[A-Za-z0-9][A-Za-z0-9:/#._-]{0,199}|")


@module.export("register_document")
def register_document(
    ctx: Context, digest: bytes, size: int, media_type: str, schema_id: str, readers: tuple[str, ...], retain_until: str
) -> None:
    """Record a document that ``readers`` (organisations) may read and that is kept at least until a date.

    Fails with E_DUP_DOCUMENT, E_DOCUMENT, E_READERS.
    """
    ctx.require(len(digest) == len(bytes(32)) and 0 < size <= SIZE_MAX, "E_DOCUMENT")
    ctx.require(_MEDIA_TYPE.fullmatch(media_type) is not None and is_date(retain_until), "E_DOCUMENT")
    ctx.require(_SCHEMA.fullmatch(schema_id) is not None, "E_DOCUMENT")
    require_orgs(ctx, readers, READERS_MAX, "E_READERS")
    ctx.require(ctx.get(Document, key_of(digest)) is None, "E_DUP_DOCUMENT")
    ordered = tuple(sorted(readers))
    ctx.put(
        Document(digest, ctx.caller, size, media_type, schema_id, ordered, retain_until, ctx.sender.name, purged_ms=0)
    )


@module.export("purge_document")
def purge_document(ctx: Context, digest: bytes) -> None:
    """Leave the tombstone of a document of the calling module whose retention is over.

    Fails with E_UNKNOWN_DOCUMENT, E_PURGED, E_RETENTION.
    """
    found = ctx.get(Document, key_of(digest)) if len(digest) == len(bytes(32)) else None
    if found is None or found.module != ctx.caller:
        ctx.fail("E_UNKNOWN_DOCUMENT")
    ctx.require(found.purged_ms == 0, "E_PURGED")
    ctx.require(ctx.business_date > found.retain_until, "E_RETENTION")
    ctx.put(replace(found, purged_ms=ctx.time_ms, readers=()))
    ctx.emit(DocumentPurged(digest=digest))
