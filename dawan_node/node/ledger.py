"""Reading one channel's ledger for people and programs: blocks, receipts, state, events, members.

Everything here reads the disk and is called in a reading thread. Answers that hold more than one value come from one
snapshot at one height, which they name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dawan_node.errors import InvalidEncoding, StorageError
from dawan_node.execution import state_tree
from dawan_node.execution.channel import GENESIS_COLLECTION, GOVERNANCE, REPLAY_COLLECTION, Identity
from dawan_node.execution.executor import InvalidQuery
from dawan_node.execution.keys import key_of
from dawan_node.execution.membership import read_membership
from dawan_node.modules.governance.declaration import ValidatorEpoch
from dawan_node.node.channel import Channel
from dawan_node.node.consortium import Consortium, Names
from dawan_node.primitives.certificate import CommitCertificate, indexes_of
from dawan_node.primitives.proofs import StateProof, state_key_hash
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.rpc import api
from dawan_node.rpc.api import ApiError, At, TxStatus
from dawan_node.storage.state_view import StateView

#: Blocks and receipts looked through for one page of events, whichever is reached first: tens of milliseconds. A caller
#: that filters sparsely simply asks again from where the page ended.
EVENT_BLOCKS_MAX: Final = 200
EVENT_RECEIPTS_MAX: Final = 2_000

#: Behind every event of a block, in a cursor's four bytes.
_POSITION_MAX: Final = 2**32 - 1

#: What governance keeps in the state beside its entities: the genesis, and each block's nonces (formats A.3 and A.5).
_UNTYPED: Final = frozenset({(GOVERNANCE, GENESIS_COLLECTION), (GOVERNANCE, REPLAY_COLLECTION)})


class Ledger:
    """One channel, read-only."""

    def __init__(self, channel: Channel, consortium: Consortium) -> None:
        self._channel: Final = channel
        self._consortium: Final = consortium

    def height(self, at: At) -> int:
        """The height a selector names. Raises ApiError -32001."""
        if at == "latest":
            return self._channel.head.height
        if isinstance(at, bytes):
            height = self._channel.store.blocks.height_of(at)
            if height is None:
                raise ApiError.not_found("block", "0x" + at.hex())
            return height
        assert isinstance(at, int)
        if not 0 <= at <= self._channel.head.height:
            raise ApiError.not_found("block", str(at), f"the newest height is {self._channel.head.height}")
        return at

    def block(self, at: At, full: bool) -> api.BlockInfo:
        """A decided block."""
        height = self.height(at)
        self._require_block(height)
        blocks = self._channel.store.blocks
        result = blocks.result(height)
        if result is None:
            raise StorageError(f"the result of block {height} is not there")
        if height == 0:
            return api.BlockInfo(0, self._channel.chain_id, None, result, None, (), (), (), ())
        header, stored = blocks.header(height), blocks.certificate(height)
        receipts = tuple(Receipt.decode(receipt) for receipt in blocks.receipts(height) or ())
        if header is None or stored is None:
            raise StorageError(f"block {height} is not complete")
        certificate = CommitCertificate.decode(stored.certificate)
        names = self.names_at(height)
        signers = tuple(names[index] for index in indexes_of(certificate.bitmap, len(names)))
        return api.BlockInfo(
            height,
            result.block_hash,
            header,
            result,
            certificate.view,
            signers,
            tuple(receipt.tx_id for receipt in receipts),
            (blocks.envelopes(height) or ()) if full else (),
            receipts if full else (),
        )

    def finality(self, height: int) -> bytes:
        """The encoded FinalityProof of a block."""
        proof = self._channel.store.blocks.finality(height)
        if proof is None and height:
            self._require_block(height)
        if proof is None:
            raise ApiError.invalid("height 0 is the genesis; the chain id proves it", hint="Ask from height 1 on.")
        return proof.encode()

    def _require_block(self, height: int) -> None:
        """Raises ApiError 1301 for a block that was pruned here, or that this node never had."""
        oldest = self._channel.store.blocks.kept().oldest
        if 0 < height < oldest:
            raise ApiError.block_pruned(f"block {height}", oldest)

    def require_all_blocks(self) -> None:
        """A transaction that is not found here was never on chain, unless blocks are gone: then nobody can tell.

        Raises ApiError 1301.
        """
        oldest = self._channel.store.blocks.kept().oldest
        if oldest > 1:
            raise ApiError.block_pruned(f"a transaction below height {oldest:,}", oldest)

    def entries_now(self) -> tuple[tuple[str, str, str, bytes], ...]:
        """Name, organisation, suite and key of the validators that vote on the next block."""
        return self._channel.executor.configuration(self._channel.store.state).validators

    def entries_at(self, height: int) -> tuple[tuple[str, str, str, bytes], ...]:
        """The validators that voted on ``height``, however long ago: today's state has the set of every epoch."""
        header = self._channel.store.blocks.header(height) if height else None
        epoch = 0 if header is None else header.epoch
        if epoch == 0:
            return self._channel.executor.genesis.configuration.validators
        with self._channel.store.state.latest() as view:
            stored = view.get(GOVERNANCE, ValidatorEpoch.spec.collection, key_of(epoch))
        if stored is None:
            raise StorageError(f"nobody is on record for epoch {epoch}")
        found: ValidatorEpoch = ValidatorEpoch.spec.decode(stored)
        return found.validators

    def names_at(self, height: int) -> list[str]:
        """The names of the validators that voted on ``height``, in index order."""
        return [entry[0] for entry in sorted(self.entries_at(height), key=lambda entry: entry[3])]

    def validators_at(self, height: int) -> api.ValidatorsInfo:
        """The validators that voted on ``height``."""
        entries = self.entries_at(height)
        header = self._channel.store.blocks.header(height)
        validators = ValidatorSet([(suite, key) for _, _, suite, key in entries])
        return self.validators_info(0 if header is None else header.epoch, validators, entries)

    @staticmethod
    def validators_info(
        epoch: int,
        validators: ValidatorSet,
        entries: Sequence[tuple[str, str, str, bytes]],
    ) -> api.ValidatorsInfo:
        """Validators in index order."""
        ordered = sorted(entries, key=lambda entry: entry[3])
        return api.ValidatorsInfo(
            epoch,
            validators.hash,
            tuple(api.ValidatorInfo(i, name, org, suite, key) for i, (name, org, suite, key) in enumerate(ordered)),
        )

    def receipt(self, tx_id: bytes) -> api.ReceiptInfo | None:
        """A transaction's receipt and place, None when it is not on chain."""
        blocks = self._channel.store.blocks
        place = blocks.find_tx(tx_id)
        if place is None:
            return None
        height, index = place
        receipt, result = blocks.receipt(height, index), blocks.result(height)
        envelope = blocks.envelope(height, index)
        if receipt is None or result is None or envelope is None:
            raise StorageError(f"transaction {index} of block {height} is not complete")
        module = Transaction.decode(envelope).body.module
        return api.ReceiptInfo(Receipt.decode(receipt), result.block_hash, module)

    def stored_tx(self, tx_id: bytes) -> api.TxInfo | None:
        """A transaction on chain."""
        info = self.receipt(tx_id)
        if info is None:
            return None
        envelope = self._channel.store.blocks.envelope(info.receipt.height, info.receipt.index)
        if envelope is None:
            raise StorageError(f"transaction {info.receipt.index} of block {info.receipt.height} is not there")
        return api.TxInfo(envelope, status_of(info.receipt), info)

    def view(self, at: At) -> StateView:
        """A consistent state at a height."""
        if at == "latest":
            return self._channel.store.state.latest()
        return self._channel.store.state.at(self.height(at))

    def state(self, module: str, collection: str, key: bytes, at: At, proof: bool) -> api.StateInfo:
        """One entry of the state, with a proof when asked for.

        A name that no module of the channel declares is refused: a misspelt one must not look like proof of absence.
        """
        declared = self._channel.executor.registry.module(module)
        if declared is None:
            raise ApiError.not_found("module", module, "module_list names the modules of a channel")
        if collection not in declared.entities and (module, collection) not in _UNTYPED:
            raise ApiError.not_found(
                "collection", f"{module}.{collection}", "module_describe names a module's entities"
            )
        with self.view(at) as view:
            value = view.get(module, collection, key)
            entity = None if value is None else self._channel.executor.registry.decode_entity(module, collection, value)
            plain = None
            if entity is not None:
                plain = {name: getattr(entity, name) for name in entity.__struct_fields__}
            encoded: bytes | None = None
            if proof:
                steps, terminal = state_tree.prove(view.tree_node, state_key_hash(module, collection, key))
                finality = self.finality(view.height)
                encoded = StateProof(
                    1, finality, module, collection, key, value or b"", [(b, h) for b, h in steps], terminal
                ).encode()
            return api.StateInfo(view.height, value, plain, encoded)

    def query(self, module: str, query: str, params: dict[str, Any], limit: int, cursor: bytes | None) -> api.QueryPage:
        """One page of a module's query on the newest state."""
        found = self._channel.executor.registry.module(module)
        if found is None:
            raise ApiError.not_found("module", module, "module_list names the modules of a channel")
        if query not in found.queries:
            raise ApiError.not_found("query", f"{module}.{query}", "module_describe names a module's queries")
        with self._channel.store.state.latest() as view:
            header = self._channel.store.blocks.header(view.height)
            time_ms = self._channel.genesis.created_ms if header is None else header.timestamp_ms
            try:
                items, following = self._channel.executor.query(
                    view, module, query, params, limit, cursor, height=view.height, time_ms=time_ms
                )
            except InvalidQuery as error:
                raise ApiError.invalid(str(error), path=f"params.params.{error.path}".rstrip(".")) from None
            except InvalidEncoding as error:
                raise ApiError.invalid(str(error), path="params.cursor") from None
        return api.QueryPage(items, following, view.height)

    def events(self, after: api.EventPosition, limit: int, wanted: api.EventFilter) -> api.EventPage:
        """Events after a position, in order."""
        blocks, newest = self._channel.store.blocks, self._channel.head.height
        oldest = blocks.kept().oldest
        is_whole_below = after.height == oldest - 1 and after.index == _POSITION_MAX
        if oldest > 1 and after.height < oldest and not is_whole_below:
            # An event must never be missed in silence: whoever goes on from here does so knowing what is gone.
            raise ApiError.block_pruned(f"what happened between height {after.height} and {oldest}", oldest)
        found: list[api.EventInfo] = []
        position = after
        last = min(newest, max(1, after.height) + EVENT_BLOCKS_MAX - 1)
        looked_at = 0
        for height in range(max(1, after.height), last + 1):
            receipts = blocks.receipts(height) or ()
            if looked_at + len(receipts) > EVENT_RECEIPTS_MAX and looked_at:
                last = height - 1
                break
            looked_at += len(receipts)
            for encoded in receipts:
                receipt = Receipt.decode(encoded)
                module = ""
                for n, (name, data) in enumerate(receipt.events):
                    here = api.EventPosition(height, receipt.index, n)
                    if here <= after:
                        continue
                    if not module:
                        envelope = blocks.envelope(height, receipt.index) or b""
                        module = Transaction.decode(envelope).body.module
                    position = here
                    if (wanted.modules and module not in wanted.modules) or (wanted.names and name not in wanted.names):
                        continue
                    found.append(api.EventInfo(here, receipt.tx_id, module, name, data))
                    if len(found) == limit:
                        return api.EventPage(tuple(found), position)
        # Everything up to the end of ``last`` was looked at, also where it held no event.
        if last > position.height:
            position = api.EventPosition(last, _POSITION_MAX, _POSITION_MAX)
        return api.EventPage(tuple(found), position)

    def members(self) -> api.MemberList:
        """Organisations and identities as of now."""
        listed = {org.id: org.names for org in self._consortium.document.org}
        membership = read_membership(self._channel.executor, self._channel.store.state)
        orgs = tuple(
            api.OrgInfo(
                record.id,
                # The genesis has one name of each; the file it was made from has them all.
                names_of(listed[record.id]) if record.id in listed else dict(record.names),
                "founding" if record.founding else "member",
                record.status,
            )
            for _, record in sorted(membership.organisations.items())
        )
        known = dict(self._channel.executor.genesis.identities)
        for _, value in self._channel.store.state.entities(GOVERNANCE, Identity.spec.collection):
            identity: Identity = Identity.spec.decode(value)
            known[identity.name] = identity
        identities = tuple(
            api.IdentityInfo(
                identity.name,
                identity.org,
                tuple(identity.roles),
                identity.suite,
                identity.public_key,
                identity.status,
                identity.since_height,
            )
            for _, identity in sorted(known.items())
        )
        return api.MemberList(orgs, identities)


def names_of(names: Names) -> dict[str, str]:
    """An organisation's names by language tag."""
    return {"en": names.en, "zh-Hans": names.zh_hans, "zh-Hant": names.zh_hant, "pt": names.pt}


def status_of(receipt: Receipt) -> TxStatus:
    """Where a transaction with this receipt stands."""
    return TxStatus.COMMITTED if receipt.code == 0 else TxStatus.FAILED
