"""Reading titles: what other modules import from here, with ``uses=("title",)``."""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, QueryContext, key_of
from dawan_node.modules.document_numbers import normalised_number
from dawan_node.modules.title.entities import Title

Reader = Context | QueryContext

#: Versions one document can have; each amendment takes the carrier's and the holder's signature.
VERSIONS_MAX: Final = 1_000


def current_title(ctx: Reader, document: str) -> Title | None:
    """The newest version of a document (``SMDG-HMM/HKG-0042``), whatever its state."""
    title = ctx.get(Title, key_of(document))
    for _ in range(VERSIONS_MAX):
        if title is None or title.replaced_by == "":
            return title
        title = ctx.get(Title, key_of(title.replaced_by))
    return title


def is_kept(ctx: Reader, carrier: str, reference: str) -> bool:
    """Whether a bill of this carrier and reference is kept here, in whatever spelling both are given."""
    code, number = normalised_number(carrier), normalised_number(reference)
    if code is None or number is None:
        return False
    return len(ctx.scan(Title, "by_number", (code, number), limit=1)) > 0


def is_delivered_against(ctx: Reader, document: str) -> bool:
    """Whether the carrier accepted the surrender of this document for delivery: the goods may leave."""
    title = current_title(ctx, document)
    return title is not None and title.state == "SURRENDERED_FOR_DELIVERY"
