"""The registry against double financing: REGISTERED -> FINANCED -> RELEASED, or CANCELLED (domain.md 1.3, point 7).

A document has two tags of 32 bytes. The **exact** one is over everything that makes it the same document (seller,
buyer, number, date, currency, amount); while it is live, nobody registers it again. The **loose** one (seller, number)
is the wider net: a live look-alike does not block, the registration is HELD until a second person of the same
organisation lets it through and says why, because ``1-12`` and ``11-2`` look alike and may be two documents.

Which bytes the tags are is the module's choice: hashes of what stands on the channel in clear (``tag_of``), or, for
what does not, an HMAC under a key of the financiers, computed off chain; a bare hash of an invoice nobody else sees can
be guessed. Numbers go through ``document_numbers`` and identifiers through ``identifiers`` before they are hashed.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, key_of, replace, tagged_hash
from dawan_node.modules.kernel.checks import require_name, require_reason
from dawan_node.modules.kernel.declaration import (
    LIVE_STATES,
    Fingerprint,
    FingerprintState,
    SimilarFingerprint,
    module,
)
from dawan_node.primitives.encoding import encode

DOCUMENT_TAG: Final = b"dawan:kernel:fingerprint:v1"
_TAG_BYTES: Final = 32


def tag_of(kind: str, fields: tuple[str | int, ...]) -> bytes:
    """A tag over normalised fields that are public on the channel; ``kind`` keeps exact and loose, and document types,
    apart."""
    return tagged_hash(DOCUMENT_TAG, encode([kind, *fields]))


@module.export("register_fingerprint")
def register_fingerprint(ctx: Context, exact: bytes, loose: bytes, subject: str) -> FingerprintState:
    """Register a document that ``subject`` of the calling module is to finance; REGISTERED, or HELD when a live
    document looks alike. Fails with E_DUP_FINANCE, E_TAG, E_NAME_FORM."""
    ctx.require(len(exact) == _TAG_BYTES and len(loose) == _TAG_BYTES, "E_TAG")
    require_name(ctx, subject)
    known = ctx.get(Fingerprint, key_of(exact))
    ctx.require(known is None or known.state not in LIVE_STATES, "E_DUP_FINANCE")
    similar = ctx.scan(Fingerprint, "live", (loose,), limit=1)
    state: FingerprintState = "HELD" if similar else "REGISTERED"
    similar_to = similar[0].exact if similar else b""
    ctx.put(
        Fingerprint(
            exact=exact,
            loose=loose,
            module=ctx.caller,
            subject=subject,
            state=state,
            registered_by=ctx.sender.name,
            org=ctx.sender.org,
            similar_to=similar_to,
            override_by="",
            override_reason="",
        )
    )
    if similar:
        ctx.emit(SimilarFingerprint(module=ctx.caller, subject=subject, similar_to=similar_to))
    return state


@module.export("approve_similar")
def approve_similar(ctx: Context, exact: bytes, reason: str) -> None:
    """A second person of the organisation lets a HELD document through. Fails with E_NOT_REGISTERED, E_FOUR_EYES."""
    require_reason(ctx, reason)
    found = _own(ctx, exact, ("HELD",))
    ctx.require(ctx.sender.org == found.org and ctx.sender.name != found.registered_by, "E_FOUR_EYES")
    ctx.put(replace(found, state="REGISTERED", override_by=ctx.sender.name, override_reason=reason))


@module.export("finance_fingerprint")
def finance_fingerprint(ctx: Context, exact: bytes) -> None:
    """The registered document is financed now. Fails with E_NOT_REGISTERED."""
    ctx.put(replace(_own(ctx, exact, ("REGISTERED",)), state="FINANCED"))


@module.export("release_fingerprint")
def release_fingerprint(ctx: Context, exact: bytes) -> None:
    """The financing is repaid; the document may be registered again. Fails with E_NOT_REGISTERED."""
    ctx.put(replace(_own(ctx, exact, ("FINANCED",)), state="RELEASED"))


@module.export("cancel_fingerprint")
def cancel_fingerprint(ctx: Context, exact: bytes) -> None:
    """The financing did not come about; the document may be registered again. Fails with E_NOT_REGISTERED."""
    ctx.put(replace(_own(ctx, exact, ("HELD", "REGISTERED")), state="CANCELLED"))


def _own(ctx: Context, exact: bytes, states: tuple[FingerprintState, ...]) -> Fingerprint:
    found = ctx.get(Fingerprint, key_of(exact)) if len(exact) == _TAG_BYTES else None
    if found is None or found.module != ctx.caller or found.state not in states:
        ctx.fail("E_NOT_REGISTERED")
    return found
