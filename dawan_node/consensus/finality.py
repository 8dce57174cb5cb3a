"""Deciding: certificates in, final blocks out (consensus.md 1.3, amendments L3, L4, U3 and U12).

A block at h is decided here when h - 1 is, its bodies are held, my own result equals the certified one, and there is
a valid certificate for it or for a descendant in the same epoch. Deciding on a valid certificate is always safe, in
any view and during a view change.

Three things can come of a certificate: the next decision; QUARANTINE, when my result differs from the one a quorum
signed (my software or disk is wrong, or theirs; either way my votes are worth nothing until they agree); and HALT,
when it contradicts what is decided, which takes more than f liars.
"""

from __future__ import annotations

from dawan_node.consensus.block_tree import Block, Run
from dawan_node.consensus.chain import Final
from dawan_node.consensus.config import ChannelRules
from dawan_node.consensus.messages import Decision
from dawan_node.consensus.ready import AlarmKind, Decided
from dawan_node.consensus.records import DecidedRecord, QuarantineRecord, Record, RecordKind
from dawan_node.consensus.state import ReplicaState
from dawan_node.consensus.view_change import Contradiction
from dawan_node.crypto import merkle
from dawan_node.errors import InvalidCertificate, InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate, indexes_of
from dawan_node.primitives.validators import ValidatorSet


class Finality:
    """Turns certificates into decisions; the only part that moves the head."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        #: Decided blocks the shell has not stored yet, by height: their bodies are not released before.
        self._unapplied: dict[int, bytes] = {}

    # --- what proves a block -----------------------------------------------------------------------------------

    def add_certificate(self, certificate: CommitCertificate) -> None:
        """Take note of a certificate of this epoch whose signatures were verified."""
        state, chain = self._state, self._state.chain
        known = chain.certificates.get(certificate.height)
        if known is None and certificate.height <= chain.height:
            final = chain.recent.get(certificate.height)
            if final is not None and (certificate.block_hash, certificate.result_hash) != (
                final.block_hash,
                final.result_hash,
            ):
                state.halt(_two_certificates(final.certificate, certificate, certificate.height))
            return
        if known is not None:
            if (known.block_hash, known.result_hash) != (certificate.block_hash, certificate.result_hash):
                state.halt(_two_certificates(known, certificate, known.height))
            return
        if self.is_forged_in_my_name(certificate, state.validators):
            return
        if certificate.height > chain.seen_height:
            chain.seen_height = certificate.height
            chain.seen_signers = tuple(indexes_of(certificate.bitmap, state.validators.n))
        if certificate.height > chain.height + 2 * state.window:
            state.sync_height = max(state.sync_height, certificate.height)
            return
        chain.certificates[certificate.height] = certificate
        for slot in state.log.all_slots():
            if slot.height == certificate.height:
                slot.certified = True

    def is_forged_in_my_name(self, certificate: CommitCertificate, validators: ValidatorSet) -> bool:
        """A COMMIT of my key, in whatever view, that was not written here: my key is used elsewhere, or what I wrote is
        lost (U6, A6). Stop. ``validators`` signed the verified ``certificate``; its epoch may be a later one.

        Of heights that the log says are decided the votes may have left it long ago, and are of no more use. Of any
        other height every COMMIT stays in my records until the block is stored. So a database that is lost alone, with
        its log there, fetches what it decided itself and is not taken for forgetful.
        """
        state = self._state
        if state.own_key is None or certificate.height <= max(state.chain.height, state.catch_up_to):
            return False
        index = validators.index_of(state.own_key)
        if index is None or index not in indexes_of(certificate.bitmap, validators.n):
            return False
        own = state.own_records.get(certificate.height)
        if own is not None and (RecordKind.COMMIT, certificate.block_hash) in own.by_block:
            return False
        if certificate.block_hash in state.logged_commits:
            return False
        state.stop_for_own_key(certificate.encode())
        return state.halted is not None

    def on_decision(self, message: Decision) -> None:
        """A final block with its proof, from whoever (L4). Raises InvalidMessage when it proves nothing."""
        state, chain = self._state, self._state.chain
        header = message.header
        if header.epoch != chain.epoch or header.height <= chain.epoch_base[0]:
            return
        if header.height <= chain.height and chain.holds(header.height, header.hash) is not False:
            return
        self.check_proof(header, message.result, message.links, message.certificate)
        self.add_certificate(message.certificate)
        if state.halted is not None or header.height <= chain.height:
            return
        if header.height > chain.height + 2 * state.window:
            return
        path = ((header, message.result), *message.links)
        for position, (block, result) in enumerate(path):
            if block.height > chain.height + 2 * state.window or block.height in chain.proven:
                continue
            leaves = message.leaf_hashes if position == 0 and is_leaf_list(block, message.leaf_hashes) else None
            chain.proven[block.height] = Final(
                block.hash, block, result, result.hash, path[position + 1 :], message.certificate, leaves
            )

    def check_proof(
        self,
        header: Header,
        result: Result,
        links: tuple[tuple[Header, Result], ...],
        certificate: CommitCertificate,
    ) -> None:
        """Require that ``certificate`` proves ``header`` and ``result``: the certificate first, then the links from the
        top down, before anything is executed (U4). Raises InvalidMessage."""
        state = self._state
        path = ((header, result), *links)
        top, top_result = path[-1]
        signed = (certificate.epoch, certificate.height, certificate.block_hash, certificate.result_hash)
        if signed != (state.chain.epoch, top.height, top.hash, top_result.hash):
            raise InvalidMessage("the certificate is not that of the top of the links")
        try:
            state.verifier.commit_certificate(certificate, state.validators)
        except InvalidCertificate as error:
            raise InvalidMessage(f"the certificate at height {certificate.height}: {error}") from None
        for position in range(len(path) - 1, -1, -1):
            block, outcome = path[position]
            if block.chain_id != state.chain_id or block.epoch != state.chain.epoch:
                raise InvalidMessage("a proven header belongs to another chain or epoch")
            if block.valset_hash != state.validators.hash:
                raise InvalidMessage("a proven header names another validator set")
            if outcome.height != block.height or outcome.block_hash != block.hash:
                raise InvalidMessage("a proven result is not that of its header")
            if position < len(path) - 1 and outcome.next_valset_hash != block.valset_hash:
                raise InvalidMessage("a block that ends an epoch needs its own certificate")
            if position:
                below, below_outcome = path[position - 1]
                if (block.height, block.parent_hash, outcome.parent_result_hash) != (
                    below.height + 1,
                    below.hash,
                    below_outcome.hash,
                ):
                    raise InvalidMessage("a link does not follow from the one below")

    # --- deciding ----------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Decide as many heights as proofs and executions allow."""
        while self._state.halted is None and self._decide_next():
            pass

    def _decide_next(self) -> bool:
        state, chain = self._state, self._state.chain
        if not chain.proven and not chain.certificates:
            return False
        height = chain.height + 1
        proof = chain.proven.get(height)
        certificate = chain.certificates.get(height)
        if proof is not None:
            block_hash, expected = proof.block_hash, proof.result_hash
            state.tree.add(block_hash, proof.header, proof.leaf_hashes)
            links, by = proof.links, proof.certificate
            if certificate is not None:
                if (certificate.block_hash, certificate.result_hash) != (block_hash, expected):
                    state.halt(_two_certificates(certificate, by, height))
                    return False
                links, by = (), certificate
        elif certificate is not None:
            block_hash, expected = certificate.block_hash, certificate.result_hash
            links, by = (), certificate
        else:
            return self._prove_by_descendant()
        block = state.tree.get(block_hash)
        if block is None:
            return False  # the header comes with a DECISION or PRE-PREPARE of those who have it
        if block.header.parent_hash != chain.block_hash:
            first = b"" if chain.certificate is None else chain.certificate.encode()
            state.halt(Contradiction(f"the certified block at height {height} is not on mine", first, by.encode()))
            return False
        self._pursue(block, by)
        if block.run is not Run.DONE:
            return False
        if block.result_hash != expected:
            self.quarantine(block, expected)
            return False
        assert block.result is not None
        self._decide(
            Final(block_hash, block.header, block.result, expected, links, by, block.leaf_hashes),
            block.next_rules,
            False,
        )
        return True

    def _pursue(self, block: Block, certificate: CommitCertificate) -> None:
        """Have a certified block's bodies gathered and, as soon as its parent allows, executed."""
        signers = tuple(
            index for index in indexes_of(certificate.bitmap, self._state.validators.n) if index != self._state.own
        )
        self._state.tree.want(block, signers, True)
        block.live = True
        self._state.tree.run(block)

    def _prove_by_descendant(self) -> bool:
        """Without a certificate for the next height, a certified descendant on a known branch proves it once every
        block up to it is executed and the topmost result is the certified one (L3)."""
        state, chain = self._state, self._state.chain
        for height in sorted(chain.certificates):
            certificate = chain.certificates[height]
            path = state.tree.branch(certificate.block_hash)
            if not path or len(path) > state.window:
                continue
            for block in path:
                self._pursue(block, certificate)
            if any(block.result is None for block in path):
                return False
            top = path[-1]
            if top.result_hash != certificate.result_hash:
                self.quarantine(top, certificate.result_hash)
                return False
            pairs = [(block.header, block.result) for block in path if block.result is not None]
            if any(result.next_valset_hash != header.valset_hash for header, result in pairs[:-1]):
                return False
            for position, (block, (header, result)) in enumerate(zip(path, pairs, strict=True)):
                chain.proven[header.height] = Final(
                    block.block_hash,
                    header,
                    result,
                    block.result_hash,
                    tuple(pairs[position + 1 :]),
                    certificate,
                    block.leaf_hashes,
                )
            return True
        return False

    def _decide(self, final: Final, next_rules: ChannelRules | None, synced: bool) -> None:
        state, chain = self._state, self._state.chain
        header = final.header
        if header.height > state.catch_up_to:
            kind = RecordKind.SYNCED if synced else RecordKind.DECIDED
            payload = DecidedRecord(header, final.result, final.links, final.certificate).encode()
            state.outbox.records.append(Record(kind, payload, None if synced else final.block_hash))
        changes_set = final.result.next_valset_hash != header.valset_hash
        if state.signer is not None:
            state.signer.decided(header.epoch + changes_set, header.height, final.block_hash, final.result_hash)
        chain.append(final, state.window)
        state.tree.decide(final.block_hash, header.height)
        state.prepared.pop(header.height, None)
        self._unapplied[header.height] = final.block_hash
        if state.quarantine is not None and header.height >= state.quarantine.height:
            state.quarantine = None  # my own result is the certified one again (U12)
        state.outbox.decide.append(
            Decided(
                final.block_hash,
                header,
                final.result,
                final.certificate,
                final.links,
                final.leaf_hashes,
                state.view,
                synced,
            )
        )
        assert header.barrier or not changes_set, "only a barrier block may change the validator set (U11)"
        if next_rules is not None and header.barrier:
            chain.rules = next_rules
        if changes_set:
            assert next_rules is not None and next_rules.validators.hash == final.result.next_valset_hash
            chain.enter_epoch(next_rules)
            state.enter_epoch()
            state.outbox.alarm(AlarmKind.EPOCH, "a new validator set is in force", epoch=chain.epoch)

    def quarantine(self, block: Block, other_result_hash: bytes) -> None:
        """My result of ``block`` is not the one a quorum signed, or not the one I signed before: vote no more."""
        state = self._state
        if state.quarantine is not None:
            return
        height = block.header.height
        state.quarantine = QuarantineRecord(height, block.block_hash, block.result_hash, other_result_hash)
        state.outbox.records.append(Record(RecordKind.QUARANTINE, state.quarantine.encode()))
        state.outbox.alarm(
            AlarmKind.QUARANTINE,
            "executing this block here gives another result than the quorum's; this node votes no more",
            height=height,
            block=block.block_hash.hex(),
            own=block.result_hash.hex(),
            other=other_result_hash.hex(),
        )

    # --- what the shell reports --------------------------------------------------------------------------------

    def executed(self, block: Block, result: Result, next_rules: ChannelRules | None) -> None:
        """The result of a running block."""
        block.run = Run.DONE
        block.result = result
        block.result_hash = result.hash
        block.next_rules = next_rules
        if block.signed_result_hash is not None and block.signed_result_hash != block.result_hash:
            self.quarantine(block, block.signed_result_hash)

    def decided_by_sync(self, final: Final, next_rules: ChannelRules | None) -> bool:
        """A block that catch-up fetched and executed on top of the head. Raises InvalidMessage on a bad proof."""
        state, chain = self._state, self._state.chain
        if state.halted is not None or final.header.height != chain.height + 1:
            return False
        self.check_proof(final.header, final.result, final.links, final.certificate)
        if final.header.parent_hash != chain.block_hash:
            first = b"" if chain.certificate is None else chain.certificate.encode()
            state.halt(Contradiction("a certified block is not on mine", first, final.certificate.encode()))
            return False
        known = chain.certificates.get(final.header.height)
        if known is not None and (known.block_hash, known.result_hash) != (final.block_hash, final.result_hash):
            state.halt(_two_certificates(known, final.certificate, final.header.height))
            return False
        block = state.tree.get(final.block_hash)
        if block is not None and block.result is not None and block.result_hash != final.result_hash:
            self.quarantine(block, final.result_hash)
            return False
        certificate = final.certificate
        if self.is_forged_in_my_name(certificate, state.validators):
            return False
        if certificate.height > chain.seen_height:
            chain.seen_height = certificate.height
        self._decide(final, next_rules, True)
        return True

    def applied(self, height: int) -> None:
        """Every block up to ``height`` is durably in the store."""
        state, chain = self._state, self._state.chain
        chain.applied = max(chain.applied, min(height, chain.height))
        for done in [at for at in self._unapplied if at <= chain.applied]:
            state.outbox.drop(self._unapplied.pop(done), True)
        for done in [at for at in state.own_records if at <= chain.applied]:
            del state.own_records[done]
        for stored in [name for name, at in state.logged_commits.items() if at <= chain.applied]:
            del state.logged_commits[stored]


def is_leaf_list(header: Header, leaf_hashes: tuple[bytes, ...]) -> bool:
    """Whether this is the header's ordered leaf list. Whoever passes it on may have changed it."""
    return 0 < len(leaf_hashes) == header.tx_count and merkle.root(leaf_hashes) == header.tx_root


def _two_certificates(first: CommitCertificate, second: CommitCertificate, height: int) -> Contradiction:
    """Two certificates that prove different things of ``height``, by themselves or through blocks below them."""
    return Contradiction(f"two blocks or results are certified at height {height}", first.encode(), second.encode())
