"""What a replica is told when it is built: rules of the channel, local timers, and the head it starts from.

The split matters (amendment U13). ``ChannelRules`` are read by acceptance rules, so they must be equal on every
replica: they come from genesis and change only by a barrier block. ``Timers`` are local: they decide how fast a
replica complains, never what it accepts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.validators import ValidatorSet


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """The channel configuration that acceptance reads, in force until a barrier block changes it.

    ``window`` is W: how many heights may be in flight, and how far above the head a VIEW-CHANGE reaches.
    """

    validators: ValidatorSet
    window: int
    block_txs_max: int
    block_bytes_max: int

    @classmethod
    def of_genesis(cls, genesis: Genesis) -> ChannelRules:
        """The rules of epoch 0."""
        return cls(
            genesis.validator_set,
            genesis.param("window"),
            genesis.param("block_txs_max"),
            genesis.param("block_bytes_max"),
        )


@dataclass(frozen=True, slots=True)
class Timers:
    """Local durations, all in milliseconds. The defaults are consensus.md 1.17 and amendment L9.

    ``view_ms``: D0, how long a view may go without a decision while there is work. Doubled per fruitless view up to
    ``view_max_ms``; without the cap a chain can wait for hours (Besu #7642 waited 4,096 s). A replica that measures
    fast commits shortens it down to ``view_min_ms``, never lengthens it: the primary it watches must not be able to
    drag it up.
    ``proposal_ms``, ``proposal_min_ms``: how long work may wait for an accepted proposal, shortened and doubled like
    ``view_ms``. ``pace_ms``: over so much time with work waiting the primary must have used a quarter of the window.
    ``silence_ms``: the primary's link gives no sign of life for so long.
    ``status_ms``: STATUS period. ``resend_ms``: how old a message is before it is repeated to a peer that lacks it.
    ``suspect_resend_ms`` / ``suspect_expiry_ms``: a wish is repeated while its reason lasts and forgotten after.
    ``behind_ms``: f + 1 validators claim more than our head for so long before range catch-up is asked for.
    ``precision_ms`` / ``message_delay_ms``: PREC and MSGDELAY of the timestamp rule (L11).
    ``view_change_interval_ms``: at most one new VIEW-CHANGE per voter in this time (CPU bound, consensus.md 1.14).
    """

    view_ms: int = 3_000
    view_min_ms: int = 1_000
    view_max_ms: int = 60_000
    proposal_ms: int = 2_000
    proposal_min_ms: int = 1_000
    pace_ms: int = 10_000
    silence_ms: int = 5_000
    status_ms: int = 1_000
    resend_ms: int = 500
    suspect_resend_ms: int = 1_000
    suspect_expiry_ms: int = 5_000
    behind_ms: int = 2_000
    precision_ms: int = 500
    message_delay_ms: int = 5_000
    view_change_interval_ms: int = 200


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """Constant for a replica's life. ``created_ms`` is the genesis time, the time floor of block 1.

    ``verify`` exists so that simulations can replace Ed25519 by something fast; a node never sets it. ``own_key`` is
    for a replica without signer: the key that only observes for now, and must not become one that forgot (U6).
    ``listens_first``: as every node does (``listening``); without it the first word waits for nobody.
    """

    chain_id: bytes
    created_ms: int
    timers: Timers = field(default_factory=Timers)
    verify: Verify = verify_ed25519
    own_key: bytes | None = None
    listens_first: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The last block in the store, and what holds for the next one.

    ``header``, ``certificate`` are None at genesis (height 0, ``block_hash`` = chain id). ``certificate`` is the
    block's own CommitCert, or a descendant's with ``links`` leading up to it. ``epoch`` and ``rules`` are those of
    height + 1: if the head is a barrier that changed the validator set they are already the new ones.
    ``epoch_base`` is (height, block hash) of the block that ended the previous epoch; genesis for epoch 0.
    """

    height: int
    block_hash: bytes
    header: Header | None
    result: Result
    certificate: CommitCertificate | None
    links: tuple[tuple[Header, Result], ...]
    epoch: int
    rules: ChannelRules
    epoch_base: tuple[int, bytes]

    @classmethod
    def at_genesis(cls, genesis: Genesis, result: Result) -> Head:
        """The head of a channel without blocks; ``result`` is result(0)."""
        chain_id = genesis.chain_id
        return cls(0, chain_id, None, result, None, (), 0, ChannelRules.of_genesis(genesis), (0, chain_id))
