"""What a relay signs and sends, with a journal: written before it is sent, handed in again with the same bytes.

Killed at any moment, it leaves either nothing on chain, or the bytes of what may be on chain in the journal. Whoever
resumes hands those in first and gets the first answer to them, so nothing is done twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_delivery import Answer, Patience, deliver
from dawan_node.cli.import_journal import Journal
from dawan_node.relay.errands import Errand, Outcome
from dawan_node.relay.refusals import understood
from dawan_node.relay.source import head_of
from dawan_node.rpc.client import Client, TransactionKey, build_body, sign_transaction
from dawan_node.rpc.values import from_int

if TYPE_CHECKING:
    from dawan_node.relay.target import Target

#: How long a transaction may wait for its block.
VALID_FOR_MS: Final = 600_000


def journal_of(target: Target, key: TransactionKey, command: str, home: Path, file: Path | None) -> Journal:
    """The journal of what one key sends to one channel by ``command``; ``file``: another place for it.

    Raises CommandFailed when another process has it, or it cannot be written.
    """
    owner = {
        "channel": target.channel,
        "chain_id": "0x" + target.chain_id.hex(),
        "public_key": "0x" + key.public_key.hex(),
        "command": command,
    }
    name = f"{target.channel}-{command.replace(' ', '-')}-{key.public_key.hex()[:16]}.journal"
    return Journal(file or home / "relay" / name, owner, "relay")


class JournaledSending:
    """Sends to one channel by one key."""

    def __init__(self, target: Target, key: TransactionKey, journal: Journal, patience: Patience) -> None:
        self._client: Final[Client] = target.client
        self._channel: Final = target.channel
        self._chain_id: Final = target.chain_id
        self._key: Final = key
        self._journal: Final = journal
        self._patience: Final = patience

    def send(self, errands: Sequence[Errand]) -> list[Outcome]:
        """An answer to each, in order; unknown ones stay in the journal. Raises RpcError and CommandFailed."""
        # Block time is not before the last block's, even where clocks were moved.
        now_ms = max(time.time_ns() // 1_000_000, head_of(self._client, self._channel)[1])
        bodies = [
            build_body(self._chain_id, each.module, each.command, each.args, valid_until_ms=now_ms + VALID_FOR_MS)
            for each in errands
        ]
        return self.send_bodies(bodies)

    def send_bodies(self, bodies: Sequence[bytes]) -> list[Outcome]:
        """The same for transactions that are built already."""
        envelopes = [sign_transaction(self._key, body) for body in bodies]
        number = self._journal.next_batch()
        # On disk before a byte of it leaves.
        self._journal.set_open(number, envelopes)
        return self._hand_in(number, envelopes)

    def resume(self) -> int:
        """Hand in again what is open, the same bytes; how many are open still."""
        left = 0
        for number, envelopes in sorted(self._journal.open_batches.items()):
            left += sum(not outcome.is_known for outcome in self._hand_in(number, envelopes))
        return left

    def resumed(self) -> list[tuple[bytes, Outcome]]:
        """The same, with what became of each envelope."""
        found: list[tuple[bytes, Outcome]] = []
        for number, envelopes in sorted(self._journal.open_batches.items()):
            found += zip(envelopes, self._hand_in(number, envelopes), strict=True)
        return found

    def no_answer(self) -> CommandFailed:
        """The failure to end with when nobody answered any more."""
        return CommandFailed(
            ExitCode.TIMED_OUT,
            "the node stopped answering",
            f"nothing was answered for {self._patience.seconds:g} s; what was sent stands in {self._journal.path}",
            "Run the same command again: it sends the same bytes first and goes on from there.",
        )

    def _hand_in(self, number: int, envelopes: Sequence[bytes]) -> list[Outcome]:
        # An answer that is none leaves everything in the journal: what it is about may be on chain.
        with understood("tx_submitMany"):
            answers = deliver(self._client, self._channel, envelopes, self._patience)
            outcomes = [_outcome(answer) for answer in answers]
        left = [envelope for envelope, answer in zip(envelopes, answers, strict=True) if not answer.known]
        self._journal.set_open(number, left)
        return outcomes


def _outcome(answer: Answer) -> Outcome:
    """Raises ValueError and TypeError for what a node of this version does not answer."""
    return Outcome(
        str(answer.shown.get("tx_id", "")),
        answer.known,
        from_int(answer.code, "code"),
        str(answer.reason),
        str(answer.message),
        from_int(answer.shown.get("height", 0), "height", 0),
    )
