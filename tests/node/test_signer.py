"""The key signs nothing that contradicts what it signed before, across restarts, and nothing outside its place."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.consensus.messages import ViewChange, view_change_bytes
from dawan_node.consensus.records import CommitRecord, DecidedRecord, PrepareRecord, Record, RecordKind
from dawan_node.consensus.signer import Statement, VoteKind, VoteSigner
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import ED25519, PrivateKey, verify
from dawan_node.errors import InvalidInput, SigningRefused
from dawan_node.node.signer import LINK_TAGS, ChannelSigner, NodeSigner, evidence_body
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import (
    CommitCertificate,
    PreparedCertificate,
    commit_vote_bytes,
    prepare_vote_bytes,
)
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.evidence import Offence, evidence_nonce
from dawan_node.primitives.transaction import Body, Transaction
from tests.primitives.forger import Forger

CHAIN = sha256(b"a channel")
KEY = PrivateKey.from_seed(sha256(b"the node key"))
SIGNATURE = bytes(64)


def header_of(name: str, height: int = 5, epoch: int = 0) -> Header:
    """A block that differs from others by its name."""
    root = sha256(name.encode())
    return Header(1, CHAIN, epoch, height, bytes(32), root, 1, 100, 1_000, 0, bytes(32), False)


def result_of(header: Header, name: str = "r") -> Result:
    return Result(header.height, header.hash, bytes(32), sha256(name.encode()), bytes(32), bytes(32))


def prepare(name: str = "a", view: int = 0, height: int = 5, epoch: int = 0) -> Statement:
    block = header_of(name, height, epoch).hash
    data = prepare_vote_bytes(CHAIN, epoch, view, height, block)
    return Statement(VoteKind.PREPARE, epoch, view, height, block, b"", data)


def commit(name: str = "a", view: int = 0, height: int = 5, epoch: int = 0, result: str = "r") -> Statement:
    header = header_of(name, height, epoch)
    result_hash = result_of(header, result).hash
    data = commit_vote_bytes(CHAIN, epoch, view, height, header.hash, result_hash)
    return Statement(VoteKind.COMMIT, epoch, view, height, header.hash, result_hash, data)


def vote_of_view(kind: VoteKind, view: int, content: bytes = b"c", epoch: int = 0) -> Statement:
    data = encode([CHAIN, epoch, view, sha256(content)])
    return Statement(kind, epoch, view, 0, b"", b"", data)


def signer_of(*records: Record) -> ChannelSigner:
    return NodeSigner(KEY).channel(CHAIN, records)


def refuses(signer: ChannelSigner, statement: Statement) -> bool:
    try:
        signer.sign(statement)
    except SigningRefused:
        return True
    return False


class Log:
    """What a replica writes about its votes, as the write-ahead log gives it back."""

    @staticmethod
    def prepare(signer: ChannelSigner, name: str = "a", view: int = 0, height: int = 5) -> Record:
        signature = signer.sign(prepare(name, view, height))
        return Record(RecordKind.PREPARE, PrepareRecord(view, header_of(name, height), 0, signature).encode())

    @staticmethod
    def commit(signer: ChannelSigner, name: str = "a", view: int = 0, height: int = 5) -> Record:
        signature = signer.sign(commit(name, view, height))
        header = header_of(name, height)
        prepared = PreparedCertificate(0, view, height, header.hash, b"\x07", [SIGNATURE] * 3)
        record = CommitRecord(view, header, result_of(header), prepared, 0, signature)
        return Record(RecordKind.COMMIT, record.encode())

    @staticmethod
    def view_change(signer: ChannelSigner, view: int) -> Record:
        unsigned = ViewChange(0, view, (), (), (), 0, SIGNATURE)
        data = view_change_bytes(CHAIN, unsigned)
        signature = signer.sign(Statement(VoteKind.VIEW_CHANGE, 0, view, 0, b"", b"", data))
        return Record(RecordKind.VIEW_CHANGE, ViewChange(0, view, (), (), (), 0, signature).encode())

    @staticmethod
    def decided(name: str = "a", height: int = 5, epoch: int = 0) -> Record:
        header = header_of(name, height, epoch)
        result = result_of(header)
        certificate = CommitCertificate(epoch, 0, height, header.hash, result.hash, b"\x07", [SIGNATURE] * 3)
        return Record(RecordKind.DECIDED, DecidedRecord(header, result, (), certificate).encode())


class TestSigning:
    def test_a_signature_is_the_keys_under_the_kinds_own_tag(self) -> None:
        signer: VoteSigner = signer_of()
        for statement in (prepare(), commit(), vote_of_view(VoteKind.SUSPECT, 3)):
            signature = signer.sign(statement)
            assert verify(ED25519, KEY.public_key, statement.kind.tag, statement.data, signature)
        assert signer.public_key == KEY.public_key

    def test_the_same_statement_gives_the_same_signature(self) -> None:
        signer = signer_of()
        assert signer.sign(prepare()) == signer.sign(prepare())

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (prepare("a"), prepare("b")),
            (commit("a"), commit("b")),
            (commit("a", result="r"), commit("a", result="s")),
            (commit("a", view=0, result="r"), commit("a", view=3, result="s")),
            (prepare("a", view=2), prepare("b", view=1)),
            (vote_of_view(VoteKind.VIEW_CHANGE, 2), vote_of_view(VoteKind.VIEW_CHANGE, 2, b"other")),
            (vote_of_view(VoteKind.NEW_VIEW, 2), vote_of_view(VoteKind.NEW_VIEW, 2, b"other")),
            (vote_of_view(VoteKind.VIEW_CHANGE, 2), vote_of_view(VoteKind.VIEW_CHANGE, 1)),
            (vote_of_view(VoteKind.VIEW_CHANGE, 2), prepare("a", view=1)),
            (vote_of_view(VoteKind.VIEW_CHANGE, 2), commit("a", view=0)),
            (prepare("a", epoch=1, height=9), prepare("a", height=10)),
            (prepare("a", epoch=1, height=9), vote_of_view(VoteKind.VIEW_CHANGE, 9)),
        ],
    )
    def test_a_contradiction_is_refused_and_changes_nothing(self, first: Statement, second: Statement) -> None:
        signer = signer_of()
        signature = signer.sign(first)
        for _ in range(2):
            with pytest.raises(SigningRefused):
                signer.sign(second)
        if first.kind in (VoteKind.PREPARE, VoteKind.COMMIT):
            assert signer.sign(first) == signature

    def test_one_block_may_be_voted_for_again_in_a_later_view(self) -> None:
        signer = signer_of()
        for view in (0, 1, 4):
            signer.sign(prepare("a", view))
            signer.sign(commit("a", view))

    def test_wishes_bind_nobody(self) -> None:
        signer = signer_of()
        signer.sign(vote_of_view(VoteKind.SUSPECT, 9))
        signer.sign(vote_of_view(VoteKind.SUSPECT, 4))
        signer.sign(prepare("a", view=0))

    def test_the_bytes_must_say_what_the_statement_says(self) -> None:
        signer = signer_of()
        good, other = prepare("a"), prepare("b")
        lie = Statement(good.kind, good.epoch, good.view, good.height, good.block_hash, b"", other.data)
        assert refuses(signer, lie)
        elsewhere = prepare_vote_bytes(bytes(32), 0, 0, 5, good.block_hash)
        assert refuses(signer, Statement(good.kind, 0, 0, 5, good.block_hash, b"", elsewhere)), "another chain"

    def test_below_the_decided_height_only_the_decided_block_is_voted_for(self) -> None:
        """Amendments U7 and L6."""
        signer = signer_of()
        header = header_of("a")
        signer.decided(0, 5, header.hash, result_of(header).hash)
        assert signer.floor == 5
        assert refuses(signer, prepare("b", view=1))
        assert refuses(signer, prepare("x", view=1, height=3)), "a height whose block is not known"
        assert refuses(signer, commit("a", view=1, result="s"))
        signer.sign(prepare("a", view=1))
        signer.sign(commit("a", view=1))
        signer.sign(prepare("next", view=1, height=6))


class TestRestart:
    def test_everything_signed_before_is_known_after(self) -> None:
        before = signer_of()
        records = [Log.prepare(before), Log.commit(before)]
        after = signer_of(*records)
        assert after.sign(prepare()) == before.sign(prepare())
        assert after.sign(commit()) == before.sign(commit())
        assert refuses(after, prepare("b"))
        assert refuses(after, commit("b"))
        assert refuses(after, commit("a", view=2, result="s"))

    def test_a_promise_to_leave_a_view_survives(self) -> None:
        """Amendment U6: a validator that forgets its VIEW-CHANGE and votes in the old view forks the chain."""
        before = signer_of()
        records = [Log.view_change(before, 2)]
        after = signer_of(*records)
        assert refuses(after, prepare("a", view=1))
        assert refuses(after, vote_of_view(VoteKind.VIEW_CHANGE, 2, b"other"))
        after.sign(prepare("a", view=2))

    def test_the_decided_height_survives(self) -> None:
        after = signer_of(Log.decided())
        assert after.floor == 5
        assert refuses(after, prepare("b"))
        after.sign(prepare("a", view=1))

    def test_an_epoch_that_is_over_stays_over(self) -> None:
        """Amendment U3: after the first decision of the new epoch no vote goes to the old one."""
        after = signer_of(Log.decided("barrier", 5), Log.decided("first", 6, epoch=1))
        assert refuses(after, prepare("a", height=7))
        after.sign(prepare("a", height=7, epoch=1))

    def test_a_damaged_record_stops_the_start(self) -> None:
        with pytest.raises(InvalidInput):
            signer_of(Record(RecordKind.PREPARE, b"\x90"))

    def test_any_history_refuses_the_same_after_a_restart_as_before(self) -> None:
        """Every order of three acts, then every statement of a small world asked of both."""

        def act(signer: ChannelSigner, name: str) -> Record:
            match name:
                case "prepare":
                    return Log.prepare(signer)
                case "commit later":
                    return Log.commit(signer, view=1)
                case "leave":
                    return Log.view_change(signer, 1)
                case _:
                    header = header_of("a", 4)
                    signer.decided(0, 4, header.hash, result_of(header).hash)
                    return Log.decided("a", 4)

        world = [
            statement
            for name, view, height in itertools.product("ab", range(3), (4, 5, 6))
            for statement in (prepare(name, view, height), commit(name, view, height))
        ] + [vote_of_view(VoteKind.VIEW_CHANGE, view) for view in range(3)]
        for names in itertools.permutations(("prepare", "commit later", "leave", "decide"), 3):
            before, records = signer_of(), []
            try:
                for name in names:
                    records.append(act(before, name))
            except SigningRefused:
                continue
            for statement in world:
                # Fresh copies: asking must not influence the next question.
                assert refuses(signer_of(*records), statement) == refuses(_replayed(names, act), statement), names


def _replayed(names: tuple[str, ...], act: object) -> ChannelSigner:
    signer = signer_of()
    for name in names:
        act(signer, name)  # type: ignore[operator]
    return signer


class TestEvidence:
    """The one transaction a validator's key signs, and every other one it refuses."""

    LIAR = Forger(PrivateKey.from_seed(sha256(b"another key")), CHAIN)
    PROOF = LIAR.double_vote()

    def test_the_transaction_that_records_evidence_is_signed(self) -> None:
        for proof in self.LIAR.of_each_kind().values():
            body = evidence_body(CHAIN, proof, 1_000)
            transaction = Transaction.decode(signer_of().sign_evidence(body))
            assert transaction.verify_signature() and transaction.public_key == KEY.public_key
            assert transaction.body_bytes == body
            assert (transaction.body.module, transaction.body.command) == ("governance", "record_evidence")
            assert transaction.body.args == {"proof": proof}

    def test_it_is_the_same_every_time_and_does_not_touch_the_account_of_votes(self) -> None:
        signer = signer_of()
        body = evidence_body(CHAIN, self.PROOF, 1_000)
        assert signer.sign_evidence(body) == signer.sign_evidence(body)
        signer.sign(prepare())

    @pytest.mark.parametrize(
        "changes",
        [
            {"chain_id": sha256(b"another channel")},
            {"nonce": bytes(16)},
            {"module": "receivable"},
            {"command": "enrol"},
            {"command": "vote", "args": {"proposal": "p", "approve": True}},
            {"args": {}},
            {"args": {"proof": PROOF, "more": 1}},
            {"args": {"proof": PROOF.hex()}},
            {"args": {"proof": PROOF[:-1]}},
            {"args": {"proof": LIAR.prove(Offence.EQUIVOCATION, LIAR.commit("a"), LIAR.commit("a"))}},
            {"args": {"proof": Forger(LIAR.key, sha256(b"another channel")).double_vote()}},
            {"args": {"proof": Forger(KEY, CHAIN).double_vote()}},
        ],
        ids=lambda changes: ",".join(changes),
    )
    def test_every_other_body_is_refused(self, changes: dict[str, object]) -> None:
        right = {
            "version": 1,
            "chain_id": CHAIN,
            "nonce": evidence_nonce(self.PROOF),
            "valid_until_ms": 1_000,
            "module": "governance",
            "command": "record_evidence",
            "args": {"proof": self.PROOF},
        }
        signer = signer_of()
        assert signer.sign_evidence(Body(**right).encode())  # type: ignore[arg-type]
        wrong = right | changes
        proof = wrong["args"].get("proof")  # type: ignore[attr-defined]
        if "args" in changes and isinstance(proof, bytes):
            wrong["nonce"] = evidence_nonce(proof)
        with pytest.raises(SigningRefused):
            signer.sign_evidence(Body(**wrong).encode())  # type: ignore[arg-type]

    @given(st.binary(max_size=300))
    def test_bytes_that_are_no_such_body_are_refused(self, body: bytes) -> None:
        with pytest.raises(SigningRefused):
            signer_of().sign_evidence(body)

    @given(st.integers(0, 10_000), st.integers(1, 255))
    def test_no_changed_byte_gets_anything_but_such_a_transaction_signed(self, place: int, change: int) -> None:
        body = bytearray(evidence_body(CHAIN, self.PROOF, 1_000))
        body[place % len(body)] ^= change
        try:
            envelope = signer_of().sign_evidence(bytes(body))
        except SigningRefused:
            return
        signed = Transaction.decode(envelope).body  # how long it is valid, which nothing depends on
        assert signed.encode() == evidence_body(CHAIN, self.PROOF, signed.valid_until_ms)

    def test_a_votes_bytes_cannot_be_had_through_it_nor_a_transaction_through_a_vote(self) -> None:
        with pytest.raises(SigningRefused):
            signer_of().sign_evidence(commit().data)
        assert b"dawan:tx:v1" not in {kind.tag for kind in VoteKind} | LINK_TAGS


class TestKey:
    def test_only_link_messages_are_signed_outside_of_a_channel(self) -> None:
        node = NodeSigner(KEY)
        for tag in LINK_TAGS:
            assert verify(ED25519, node.public_key, tag, b"hello", node.sign(tag, b"hello"))
        tags = [kind.tag for kind in VoteKind] + [b"dawan:tx:v1", b"", b"dawan:hello:v1\nx"]
        for tag in tags:
            with pytest.raises(SigningRefused):
                node.sign(tag, b"data")

    def test_there_is_one_account_per_channel(self) -> None:
        node = NodeSigner(KEY)
        node.channel(CHAIN, ())
        node.channel(sha256(b"another channel"), ())
        with pytest.raises(SigningRefused):
            node.channel(CHAIN, ())

    def test_a_failed_start_may_be_tried_again(self) -> None:
        node = NodeSigner(KEY)
        with pytest.raises(InvalidInput):
            node.channel(CHAIN, [Record(RecordKind.COMMIT, b"")])
        node.channel(CHAIN, ())

    def test_the_secret_is_not_shown(self) -> None:
        node = NodeSigner(KEY)
        secret = KEY.seed()
        for shown in (repr(node), str(node), repr(node.channel(CHAIN, ()))):
            assert KEY.public_key.hex() in shown
            assert secret.hex() not in shown
            assert repr(secret) not in shown
