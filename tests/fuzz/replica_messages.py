"""Consensus messages drawn field by field for a replica in a given situation.

Each field is what would be right just now, next to it, extreme, or of another block, voter, view or epoch; each
signature is the author's over these very fields, somebody else's, or junk. Honest messages are said again as they were.
"""

from __future__ import annotations

import msgspec

from dawan_node.consensus.messages import (
    Commit,
    Decision,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ProposalRequest,
    SlotSummary,
    Status,
    Suspect,
    SuspectEntry,
    ViewChange,
    new_view_bytes,
    suspect_bytes,
    view_change_bytes,
)
from dawan_node.consensus.signer import NEW_VIEW_TAG, SUSPECT_TAG, VIEW_CHANGE_TAG
from dawan_node.crypto.hashing import sha256
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    bitmap_of,
    commit_vote_bytes,
    prepare_vote_bytes,
)
from tests.fuzz.drawing import Draw, digest, flipped, number
from tests.fuzz.replica_states import Situation

replace = msgspec.structs.replace

SIGNERS = ((0, 1, 2), (1, 2, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3), (3,), (), (2, 1, 0), (3, 3, 3))


class MessageDrawer:
    """Draws messages for one situation."""

    def __init__(self, draw: Draw, situation: Situation) -> None:
        self.draw = draw
        self.situation = situation
        self.lab = lab = situation.lab
        self.kinds = (
            self.replayed,
            self.pre_prepare,
            self.prepare,
            self.commit,
            self.suspect,
            self.view_change,
            self.new_view,
            self.decision,
            self.status,
            self.proposal_request,
        )
        #: What honest replicas said; never drawn from twice at different lengths within one target.
        self.said = [message for index in (0, 1, 2) for message in lab[index].sent]

    def message(self) -> Message:
        return self.draw.choice(self.kinds)()

    # --- whole messages ----------------------------------------------------------------------------------------

    def replayed(self) -> Message:
        """An old honest message, or one of its fields changed under the old signature."""
        if not self.said:
            return self.status()
        message = self.draw.choice(self.said)
        if self.draw.integer(0, 2) < 2:
            return message
        name = self.draw.choice(message.__struct_fields__)
        value = getattr(message, name)
        if isinstance(value, bool):
            return replace(message, **{name: not value})
        if isinstance(value, int):
            return replace(message, **{name: number(self.draw, value)})
        if isinstance(value, bytes):
            return replace(message, **{name: flipped(self.draw, value)})
        if isinstance(value, tuple):
            return replace(message, **{name: self.draw.choice((value[:-1], (), value + value[:1], value[::-1]))})
        return message

    def pre_prepare(self) -> PrePrepare:
        name, header = self.block()
        view = self.view()
        data = prepare_vote_bytes(self.lab.chain_id, header.epoch, view, header.height, header.hash)
        signer = self.draw.choice((self.lab.primary(view), self.voter()))
        leaves = self.draw.choice((self.lab.leaves(name), (), self.lab.leaves("x"), self.lab.leaves(name) * 2))
        return PrePrepare(view, header, leaves, self.signature(signer, PREPARE_TAG, data))

    def prepare(self) -> Prepare:
        _, header = self.block()
        epoch, view, voter = self.epoch(header.epoch), self.view(), self.voter()
        height, block_hash = number(self.draw, header.height), digest(self.draw, header.hash)
        data = prepare_vote_bytes(self.lab.chain_id, epoch, view, height, block_hash)
        return Prepare(epoch, view, height, block_hash, voter, self.signature(voter, PREPARE_TAG, data))

    def commit(self) -> Commit:
        _, header = self.block()
        epoch, view, voter = self.epoch(header.epoch), self.view(), self.voter()
        height, block_hash = number(self.draw, header.height), digest(self.draw, header.hash)
        result_hash = self.result_hash(header)
        data = commit_vote_bytes(self.lab.chain_id, epoch, view, height, block_hash, result_hash)
        signature = self.signature(voter, COMMIT_TAG, data)
        return Commit(epoch, view, height, block_hash, result_hash, voter, signature)

    def suspect(self) -> Suspect:
        epoch, view, voter = self.epoch(), self.view(), self.voter()
        data = suspect_bytes(self.lab.chain_id, epoch, view)
        return Suspect(epoch, view, voter, self.signature(voter, SUSPECT_TAG, data))

    def view_change(self) -> ViewChange:
        return self._view_change(self.view())

    def new_view(self) -> NewView:
        draw, view, epoch = self.draw, self.view(), self.epoch()
        honest = [m for m in self.said if isinstance(m, ViewChange) and m.new_view == view]
        chosen: list[ViewChange] = list({message.voter: message for message in honest}.values())
        for _ in range(draw.integer(0, 3)):
            chosen.append(self._view_change(view))
        if draw.integer(0, 4):
            chosen = sorted({message.voter: message for message in chosen}.values(), key=lambda m: m.voter)
            chosen = chosen[: max(0, len(chosen) - draw.integer(0, 1))]
        encoded = [message.encode() for message in chosen]
        if encoded and not draw.integer(0, 6):
            encoded[-1] = draw.choice((encoded[-1][:-1], b"", self.status().encode(), b"\x97\x05", bytes(5_000)))
        prepares = tuple(
            self.signature(self.lab.primary(view), PREPARE_TAG, self._vote_for(view, name))
            for name in self.situation.blocks[: draw.integer(0, 3)]
        )
        message = NewView(epoch, view, tuple(encoded), prepares, bytes(64))
        signer = draw.choice((self.lab.primary(view), self.voter()))
        data = new_view_bytes(self.lab.chain_id, message)
        return replace(message, signature=self.signature(signer, NEW_VIEW_TAG, data))

    def decision(self) -> Decision:
        draw = self.draw
        known = [decided for header in self.lab.tops() if (decided := self.lab.decision(header)) is not None]
        if known and draw.integer(0, 1):
            message = draw.choice(known)
            match draw.integer(0, 4):
                case 1:
                    return replace(message, header=self.changed(message.header))
                case 2:
                    return replace(message, result=replace(message.result, state_root=bytes(32)))
                case 3:
                    return replace(message, links=((message.header, message.result),))
                case 4:
                    return replace(message, leaf_hashes=self.lab.leaves("x"), certificate=self.commit_certificate())
                case _:
                    return message
        name, header = self.block()
        links = tuple((block, self.lab.result(block)) for block in [self.block()[1] for _ in range(draw.integer(0, 2))])
        top = links[-1][0] if links else header
        leaves = draw.choice(((), self.lab.leaves(name), self.lab.leaves("x")))
        return Decision(header, self.result(header), links, self.commit_certificate(top), leaves)

    def status(self) -> Status:
        draw, replica = self.draw, self.lab[self.situation.target].replica
        heights = sorted(number(draw, replica.height + 1, replica.height + 2) for _ in range(draw.integer(0, 3)))
        slots = tuple(SlotSummary(height, bool(draw.integer(0, 1)), self.bitmap(), self.bitmap()) for height in heights)
        if not draw.integer(0, 30):
            slots = tuple(SlotSummary(height, True, b"\xff", b"") for height in range(128))
        block_hash = digest(draw, replica.block_hash, self.lab.chain_id)
        return Status(self.epoch(), self.view(), self.view(), self.height(), block_hash, slots, self.bitmap())

    def proposal_request(self) -> ProposalRequest:
        _, header = self.block()
        return ProposalRequest(
            self.epoch(), self.view(), number(self.draw, header.height), digest(self.draw, header.hash)
        )

    # --- parts -------------------------------------------------------------------------------------------------

    def epoch(self, *others: int) -> int:
        return number(self.draw, self.lab.epoch, *others)

    def view(self) -> int:
        status = self.lab[self.situation.target].replica.status()
        return number(self.draw, status.view, status.target, status.target + 1, status.view + 2, status.target + 3)

    def height(self) -> int:
        head = self.lab[self.situation.target].replica.height
        window = self.lab.rules.window
        return number(self.draw, head + 1, head, head + window, head + 2 * window)

    def voter(self) -> int:
        return number(self.draw, self.lab.LIAR, 0, 1, 2)

    def block(self) -> tuple[str, Header]:
        """A block of the story, its sibling of the liar's making, or one with wrong fields; and its name."""
        name = self.draw.choice(self.situation.blocks)
        if not self.draw.integer(0, 3):
            name = name[:-1] + self.draw.choice("xX")
        header = self.lab.block(name)
        if self.draw.integer(0, 4) == 4:
            header = self.changed(header)
        return name, header

    def changed(self, header: Header) -> Header:
        """One or two fields are others."""
        draw, lab = self.draw, self.lab
        for _ in range(draw.integer(1, 2)):
            name = draw.choice(Header.__struct_fields__)
            value = getattr(header, name)
            if name == "version":
                continue
            if isinstance(value, bool):
                value = not value
            elif name == "timestamp_ms":
                value = number(draw, value, lab.now, lab.now + 3_600_000, lab.now - 3_600_000)
            elif isinstance(value, int):
                value = number(draw, value, value + lab.rules.window, value + 2 * lab.rules.window)
            else:
                value = digest(draw, value, lab.chain_id, sha256(b"another"))
            header = replace(header, **{name: value})
        return header

    def result(self, header: Header) -> Result:
        result = self.lab.result(header)
        match self.draw.integer(0, 5):
            case 4:
                return replace(result, height=number(self.draw, result.height))
            case 5:
                name = self.draw.choice(("block_hash", "parent_result_hash", "state_root", "next_valset_hash"))
                return replace(result, **{name: digest(self.draw, getattr(result, name), sha256(b"another"))})
            case _:
                return result

    def result_hash(self, header: Header) -> bytes:
        return digest(self.draw, self.lab.result(header).hash, self.lab.result(header, junk=True).hash)

    def bitmap(self) -> bytes:
        return self.draw.choice((b"\x07", b"\x0f", b"\x00", b"\xff", b"", b"\x0e", b"\x01\x00", b"\xff" * 8))

    def signature(self, voter: int, tag: bytes, data: bytes) -> bytes:
        match self.draw.integer(0, 7):
            case 6:
                return self.lab.sign(self.lab.LIAR, tag, data)
            case 7:
                return self.draw.choice((bytes(64), b"\xff" * 64, self.lab.sign(self.lab.LIAR, b"other", data)))
            case _:
                return self.lab.sign(voter % len(self.lab.keys), tag, data)

    def prepared_certificate(self, header: Header, view: int) -> PreparedCertificate:
        epoch = self.epoch(header.epoch)
        height, block_hash = number(self.draw, header.height), digest(self.draw, header.hash)
        data = prepare_vote_bytes(self.lab.chain_id, epoch, view, height, block_hash)
        bitmap, signatures = self._signed(PREPARE_TAG, data)
        return PreparedCertificate(epoch, view, height, block_hash, bitmap, signatures)

    def commit_certificate(self, header: Header | None = None) -> CommitCertificate:
        if header is None:
            _, header = self.block()
        epoch, view = self.epoch(header.epoch), self.view()
        height, block_hash = number(self.draw, header.height), digest(self.draw, header.hash)
        result_hash = self.result_hash(header)
        data = commit_vote_bytes(self.lab.chain_id, epoch, view, height, block_hash, result_hash)
        bitmap, signatures = self._signed(COMMIT_TAG, data)
        return CommitCertificate(epoch, view, height, block_hash, result_hash, bitmap, signatures)

    def _signed(self, tag: bytes, data: bytes) -> tuple[bytes, list[bytes]]:
        signers = self.draw.choice(SIGNERS)
        signatures = [self.lab.sign(signer, tag, data) for signer in signers]
        bitmap = bitmap_of(signers, len(self.lab.keys))
        match self.draw.integer(0, 9):
            case 7:
                signatures = signatures[:-1]
            case 8:
                bitmap = self.bitmap()
            case 9:
                signatures = signatures[::-1]
        return bitmap, signatures

    def _vote_for(self, view: int, name: str) -> bytes:
        header = self.lab.block(name)
        return prepare_vote_bytes(self.lab.chain_id, header.epoch, view, header.height, header.hash)

    def _view_change(self, view: int) -> ViewChange:
        draw, lab = self.draw, self.lab
        voter, epoch = self.voter(), self.epoch()
        suspects: tuple[SuspectEntry, ...] = ()
        for signer in draw.choice(SIGNERS):
            wish = number(draw, view)
            data = suspect_bytes(lab.chain_id, epoch, wish)
            suspects += (SuspectEntry(signer, wish, lab.sign(signer, SUSPECT_TAG, data)),)
        if not draw.integer(0, 2):
            for message in self.said:  # the wishes that were really made
                if isinstance(message, ViewChange) and message.new_view == view:
                    suspects = message.suspects
        last: tuple[tuple[Header, CommitCertificate], ...] = ()
        known = [decided for header in lab.tops() if (decided := lab.decision(header)) is not None]
        if known and draw.integer(0, 1):
            message = draw.choice(known)
            last = ((message.header, message.certificate),)
        elif draw.integer(0, 1):
            _, header = self.block()
            last = ((header, self.commit_certificate(header)),)
        prepared = []
        for _ in range(draw.integer(0, 3)):
            _, header = self.block()
            prepared.append((header, self.prepared_certificate(header, number(draw, max(0, view - 1), 0))))
        if draw.integer(0, 3):
            prepared.sort(key=lambda entry: entry[0].height)
        draft = ViewChange(epoch, view, suspects, last, tuple(prepared), voter, bytes(64))
        data = view_change_bytes(lab.chain_id, draft)
        return replace(draft, signature=self.signature(voter, VIEW_CHANGE_TAG, data))
