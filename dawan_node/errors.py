"""The whole exception tree of the node.

    DawanError
    ├── InvalidInput              somebody else's bytes are wrong; carries a stable reason
    │   ├── InvalidEncoding       not canonical MessagePack of the expected shape
    │   ├── InvalidKey            a public key or suite that may not be used
    │   ├── InvalidTransaction    refused at admission; carries the stable code of formats section C
    │   ├── InvalidBlock          a block that breaks a consensus rule
    │   ├── InvalidCertificate    a quorum certificate that proves nothing
    │   ├── InvalidProof          a finality, transaction or state proof that does not verify
    │   ├── InvalidGenesis        a genesis no channel may start from
    │   ├── InvalidMessage        a peer's frame or consensus message
    │   │   ├── ForgedBlock       a gossiped block that proves nothing: its sender is left alone at once for long
    │   │   ├── HandshakeRefused  (p2p.handshake) a peer that is not who it should be, with the remedy
    │   │   └── ManifestRefused   (sync.snapshot_parts) a snapshot whose parts are not what it says
    │   ├── UntrustedCertificate  an X.509 certificate or revocation list that does not count; stable reason
    │   ├── InvalidQuery          (execution.executor) a query no module declares, or wrong parameters
    │   └── BadValue              (rpc.values) a JSON value that is not of the ledger type it stands for
    ├── StorageError              the disk is in doubt: the node stops voting and exits (design 6); stable reason
    ├── WalMissing                (storage.wal) no write-ahead log: the node may observe, but not sign
    ├── HistoryPruned             (storage.state_store) a height whose state is not kept any more
    ├── NetworkError              one peer or link failed: that link is dropped
    │   └── Unreachable           (rpc.client) no node answers
    │       └── TlsFailed         (rpc.client) TLS did not come about, or with another node than the one meant
    ├── SigningRefused            the signer guard will not sign two things for one slot
    ├── ApiError                  (rpc.api) a request the node understood and will not answer; has a code
    ├── RpcError                  (rpc.client) the same, as a client sees it
    ├── NotRecords                (node.backups.records) a file that is no list of records although its hash is right
    ├── Cancelled                 (node.backups.making) the node stops while it makes a backup
    ├── Wrong                     (node.database.finding) a check of a database failed
    ├── ChainRefused              (relay.carrier) a chain refused what was carried to it
    ├── DemoFailed                (cli.demo_trade) the demo did not go as told
    └── OperatorError             what an operator can fix; says what, why and what to do next
        ├── DataRefused           a foreign, newer, older or half-copied data directory; stable reason
        ├── ConfigError           a configuration file, flag or environment variable
        ├── FileRefused           (node.database.finding) an export or backup that is not taken; stable code
        ├── RelayRefused          (relay.refusals) a proof that is not carried to another channel; stable reason
        ├── KeystoreError         a key file: missing, readable by others, wrong passphrase
        └── CommandFailed         (cli.exit_codes) a command that ends with an exit code of its own

Those with a module in parentheses live there, beside the one part that raises them.

There are three kinds of trouble: others' fault (``InvalidInput``), the world's fault (``StorageError``,
``NetworkError``) and the operator's (``OperatorError``). Our own fault is an ``assert`` and stops the node.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Self


class DawanError(Exception):
    """Base of everything the node raises on purpose."""


class InvalidInput(DawanError):
    """Bytes or values from outside that break a rule."""


class InvalidEncoding(InvalidInput):
    """Bytes that are not the canonical encoding of the expected type."""


class InvalidKey(InvalidInput):
    """A public key that is malformed, of an unknown suite, or of small order."""


class InvalidTransaction(InvalidInput):
    """A transaction refused before it reaches a block.

    ``code`` is the number and ``reason`` the identifier of formats section C (for example 1001, ``E_SIGNATURE``);
    the message adds what a person needs to know.
    """

    def __init__(self, code: int, reason: str, detail: str = "", path: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.code = code
        self.reason = reason
        self.detail = detail
        self.path = path


class InvalidBlock(InvalidInput):
    """A block that no honest replica may accept."""


class InvalidCertificate(InvalidInput):
    """A quorum certificate whose shape, signers or signatures are wrong."""


class InvalidProof(InvalidInput):
    """A proof that does not prove what it claims."""


class InvalidGenesis(InvalidInput):
    """A genesis whose content is not well formed."""


class InvalidMessage(InvalidInput):
    """A frame or protocol message of a peer that is malformed or not allowed."""


class ForgedBlock(InvalidMessage):
    """A block that a peer sent on as final and that is not.

    Honest nodes prove a block before they pass it on, so this is no bad day of a peer, and each costs as many bytes as
    the largest message there is.
    """


class UntrustedCertificate(InvalidInput):
    """A certificate or revocation list that breaks a rule of crypto.certificates or crypto.revocation.

    ``reason`` is a stable identifier.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class StorageReason(StrEnum):
    """Why a node stopped for its storage: the ``reason`` in its last log line.

    Stable; docs/storage.md has the next step of each.
    """

    READ = "STORAGE_READ"
    """The disk did not give back what is on it."""
    WRITE = "STORAGE_WRITE"
    """The disk did not take a write or a sync: whether it is there is known only after a reopen."""
    FULL = "STORAGE_FULL"
    """No room is left, or less than the node needs to stop cleanly."""
    CORRUPT = "STORAGE_CORRUPT"
    """What is in a ledger's database is not what was written."""
    LOG_CORRUPT = "LOG_CORRUPT"
    """The write-ahead log is damaged in what had been durable: the key may not sign any more."""
    RESULT_DIFFERS = "RESULT_DIFFERS"
    """Executing a certified block gave another result: state or code is not that of the others."""


class StorageError(DawanError):
    """Any doubt about the disk. Never retried on the same handle: the node stops, reopens and verifies.

    ``reason`` is stable; the default is for content that does not fit together.
    """

    def __init__(self, detail: str, reason: StorageReason = StorageReason.CORRUPT) -> None:
        super().__init__(detail)
        self.reason = reason

    @classmethod
    def of(cls, detail: str, error: BaseException, otherwise: StorageReason) -> Self:
        """For an error of the operating system: a full disk has a reason of its own, else it is ``otherwise``."""
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return cls(detail, StorageReason.FULL if full else otherwise)


class NetworkError(DawanError):
    """A link to one peer failed."""


class SigningRefused(DawanError):
    """The signer guard refused a signature that would contradict one already given."""


class OperatorError(DawanError):
    """Something an operator can fix: what happened, why, and what to do next, in one line."""

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what}: {why}. {fix}")
        self.what = what
        self.why = why
        self.fix = fix


class DataRefusal(StrEnum):
    """Why a node does not touch its data directory. Stable; docs/storage.md has the next step of each."""

    NEWER = "DATA_NEWER"
    """A newer version wrote it."""
    OLDER = "DATA_OLDER"
    """A version wrote it that this one has no way from."""
    OTHER_NETWORK = "DATA_OTHER_NETWORK"
    """It belongs to another network."""
    OTHER_NODE = "DATA_OTHER_NODE"
    """It, or the write-ahead log in it, belongs to another node key."""
    OTHER_CHANNEL = "DATA_OTHER_CHANNEL"
    """A database in it is of another chain than the channel it lies under."""
    HALF_COPIED = "DATA_HALF_COPIED"
    """Files are missing that are always written together."""
    NO_PEERS = "DATA_NO_PEERS"
    """The ledger is lost, or damaged, and no other validator has a copy of it."""


class DataRefused(OperatorError):
    """A data directory that this node must not open; nothing in it was changed."""

    def __init__(self, reason: DataRefusal, what: str, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.reason = reason


class ConfigError(OperatorError):
    """A configuration value that cannot be used."""


class KeystoreError(OperatorError):
    """A key file that cannot be used."""
