"""Certificates that prove nothing: repeated and missing signers, bitmaps of a wrong length, proofs of other blocks."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import msgspec

from dawan_node.consensus.messages import Decision, Message, PrePrepare, SuspectEntry, ViewChange
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate
from dawan_node.testing.attackers.attacker import Attacker, Delivery, View, others, to_all
from dawan_node.testing.attackers.forger import Forger, variant
from dawan_node.testing.attackers.primaries import RestlessPrimary

C = TypeVar("C", CommitCertificate, PreparedCertificate)


class PaddedCertificates(RestlessPrimary):
    """Brings PCs, commit certificates and SuspectCerts padded to a quorum with repeated signers, with its own signature
    in others' places, with bits for nobody, or with more or fewer signatures than bits (pitfalls B8 and B16,
    CometBFT ASA-2025-003): in VIEW-CHANGEs that it signs, and in DECISIONs. Some are for blocks that nobody prepared,
    made from the transactions of real proposals, in the latest view there can be.

    Stopped by: one valid signature per set bit of a bitmap of exactly the right length, every one verified.
    """

    name: ClassVar[str] = "padded-certificates"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._decisions: deque[Decision] = deque(maxlen=8)
        self._proposals: deque[PrePrepare] = deque(maxlen=16)

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if isinstance(message, ViewChange) and message.voter == view.own and message.epoch == view.epoch:
            return [Delivery(receiver, self._padded(message, view).encode()) for receiver in receivers]
        if isinstance(message, PrePrepare):
            self._proposals.append(message)
        if isinstance(message, Decision):
            self._decisions.append(message)
            padded = msgspec.structs.replace(message, certificate=self.pad(message.certificate, view))
            return to_all(padded.encode(), receivers)
        return super().send(message, receivers, view)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        if isinstance(message, Decision):
            self._decisions.append(message)
        elif isinstance(message, PrePrepare):
            self._proposals.append(message)
        return []

    def tick(self, view: View) -> list[Delivery]:
        if not self._decisions or self.rng.random() < 0.5:
            return []
        decision = self._decisions[self.rng.randrange(len(self._decisions))]
        padded = msgspec.structs.replace(decision, certificate=self.pad(decision.certificate, view))
        return to_all(padded.encode(), others(view))

    def pad(self, certificate: C, view: View) -> C:
        """``certificate`` with something wrong about its signers, and often for another block than it was given for."""
        changed = certificate
        if self.rng.random() < 0.4:
            changed = msgspec.structs.replace(certificate, block_hash=self.rng.randbytes(32))
        return self._with_other_signers(changed, view)

    def _with_other_signers(self, certificate: C, view: View) -> C:
        rng, n = self.rng, view.n
        bitmap: bytes = certificate.bitmap
        signatures: list[bytes] = certificate.signatures
        own = self._own_signature(certificate, view)
        everybody = ((1 << n) - 1).to_bytes((n + 7) // 8, "little")
        alone = (1 << view.own).to_bytes((n + 7) // 8, "little")
        paddings: list[tuple[bytes, list[bytes]]] = [
            (everybody, [own] * n),
            (bitmap, [own] * len(signatures)),
            (alone, [own]),
            (alone, [own] * view.q),
            (everybody, signatures),
            (bitmap, [*signatures, own]),
            (bitmap, signatures[:-1]),
            (bitmap, signatures[::-1]),
            (bitmap + b"\x00", signatures),
            (bitmap + b"\xff" * 7, [own] * 56),
            (bitmap[:-1], signatures),
            (b"", []),
            (b"\xff" * ((n + 7) // 8), [own] * (8 * ((n + 7) // 8))),
            (everybody, signatures[:1] * n),
        ]
        other_bitmap, other_signatures = rng.choice(paddings)
        return msgspec.structs.replace(certificate, bitmap=other_bitmap, signatures=other_signatures)

    def _own_signature(self, certificate: C, view: View) -> bytes:
        if isinstance(certificate, CommitCertificate):
            return self.forger.commit(
                view,
                view.own,
                certificate.view,
                certificate.height,
                certificate.block_hash,
                certificate.result_hash,
            ).signature
        return self.forger.prepare(
            view, view.own, certificate.view, certificate.height, certificate.block_hash
        ).signature

    def _padded(self, truth: ViewChange, view: View) -> ViewChange:
        suspects, last, prepared = truth.suspects, truth.last, truth.prepared
        kind = self.rng.randrange(6)
        if kind >= 4:
            prepared = self._made_up(truth, view)
        elif kind == 0 and prepared:
            which = self.rng.randrange(len(prepared))
            header, pc = prepared[which]
            prepared = (*prepared[:which], (header, self.pad(pc, view)), *prepared[which + 1 :])
        elif kind == 1 and last:
            last = ((last[0][0], self.pad(last[0][1], view)),)
        elif kind == 2 and prepared:
            prepared = (prepared[0], *prepared)
        else:
            suspects = self._padded_suspects(suspects, truth.new_view, view)
        return self.forger.view_change(view, view.own, truth.new_view, suspects, last, prepared)

    def _made_up(self, truth: ViewChange, view: View) -> tuple[tuple[Header, PreparedCertificate], ...]:
        """PCs for other blocks than the ones that were proposed above its head, above all that was really prepared."""
        found = {header.height: (header, pc) for header, pc in truth.prepared}
        for proposal in self._proposals:
            header = proposal.header
            if header.epoch != view.epoch or not view.height < header.height <= view.height + view.window:
                continue
            other, _ = variant(header, proposal.leaf_hashes, 1 + self.rng.randrange(3), header.parent_hash)
            pc = self.forger.prepared_certificate(view, truth.new_view - 1, other.height, other.hash, range(view.q))
            found[other.height] = (other, self._with_other_signers(pc, view) if self.rng.random() < 0.5 else pc)
        return tuple(found[height] for height in sorted(found))

    def _padded_suspects(self, suspects: tuple[SuspectEntry, ...], number: int, view: View) -> tuple[SuspectEntry, ...]:
        own = self.forger.suspects(view, number, (view.own,))
        return self.rng.choice(
            (
                own * view.q,
                self.forger.suspects(view, number, range(view.q)),
                (*suspects[:1], *suspects[: view.q - 1]),
                suspects[::-1],
                (*suspects[:-1], *self.forger.suspects(view, number, (view.n,))),
                (),
                own * 64,
            )
        )


class ForgedDecision(Attacker):
    """Announces blocks as final that are not: another block under a real certificate, another result, links that lead
    elsewhere, a certificate of its own making; and real ones with the leaf list of something else (D10, C6).

    Stopped by: the certificate is checked first, then the links from it downwards, before anything is executed (U4);
    a leaf list must hash to its header, and is asked for elsewhere when it does not.
    """

    name: ClassVar[str] = "forged-decision"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._known: deque[Decision] = deque(maxlen=32)

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, Decision):
            return super().send(message, receivers, view)
        self._known.append(message)
        return [Delivery(receiver, self.forge(message, view).encode()) for receiver in receivers]

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        if isinstance(message, Decision):
            self._known.append(message)
        return []

    def tick(self, view: View) -> list[Delivery]:
        if not self._known:
            return []
        model = self._known[self.rng.randrange(len(self._known))]
        ahead = msgspec.structs.replace(
            model.header,
            height=view.height + self.rng.randint(1, 2 * view.window + 2),
            epoch=view.epoch,
            valset_hash=view.validators.hash,
            parent_hash=self.rng.randbytes(32),
        )
        made_up = msgspec.structs.replace(model, header=ahead, links=())
        return to_all(self.forge(self._certified(made_up, view), view).encode(), others(view))

    def forge(self, truth: Decision, view: View) -> Decision:
        """``truth`` with something wrong; what is wrong with ``truth`` already stays so."""
        rng = self.rng
        noise = rng.randbytes(32)
        other = msgspec.structs.replace(truth.header, tx_root=noise)
        kind = rng.randrange(8)
        if kind == 0:
            return msgspec.structs.replace(truth, header=other)
        if kind == 1:
            return msgspec.structs.replace(truth, result=msgspec.structs.replace(truth.result, state_root=noise))
        if kind == 2:
            return self._certified(msgspec.structs.replace(truth, header=other), view)
        if kind == 3 and self._known:
            stranger = self._known[rng.randrange(len(self._known))]
            return msgspec.structs.replace(truth, certificate=stranger.certificate)
        if kind == 4:
            return msgspec.structs.replace(truth, links=((truth.header, truth.result), *truth.links)[:64])
        if kind == 5:
            return msgspec.structs.replace(truth, links=((other, truth.result),))
        if kind == 6:
            return msgspec.structs.replace(truth, leaf_hashes=(noise,))
        return msgspec.structs.replace(truth, leaf_hashes=truth.leaf_hashes[::-1])

    def _certified(self, decision: Decision, view: View) -> Decision:
        """With a certificate of q signers, all of them in the node's own hand but its friends'."""
        header = decision.header
        result = msgspec.structs.replace(decision.result, height=header.height, block_hash=header.hash)
        certificate = self.forger.commit_certificate(
            view, decision.certificate.view, header.height, header.hash, result.hash, range(view.q)
        )
        return msgspec.structs.replace(decision, result=result, certificate=certificate)
