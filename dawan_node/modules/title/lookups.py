"""Reading titles: what other modules import from here, with ``uses=("title",)``."""

from __future__ import annotations

from typing import Final

import msgspec

from dawan_node.execution.module import Context, QueryContext, key_of
from dawan_node.modules.title.entities import Carrier, Title

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


def title_of(value: bytes) -> Title | None:
    """A title as another channel's proof shows it; None when the value is none."""
    try:
        found: Title = Title.spec.decode(value)
    except msgspec.MsgspecError:
        return None
    return found


def carrier_of(value: bytes) -> Carrier | None:
    """A carrier's enrolment as another channel's proof shows it; None when the value is none."""
    try:
        found: Carrier = Carrier.spec.decode(value)
    except msgspec.MsgspecError:
        return None
    return found


def is_delivered_against(ctx: Reader, document: str) -> bool:
    """Whether the carrier accepted the surrender of this document for delivery: the goods may leave."""
    title = current_title(ctx, document)
    return title is not None and title.state == "SURRENDERED_FOR_DELIVERY"
