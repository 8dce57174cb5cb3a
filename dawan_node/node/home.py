"""The folder of one node: what lies where (formats D).

node.toml                       this node's own settings
network/consortium.toml         public: organisations, validators, identities, channels
network/<org>.pem               public: the certificate authorities of each organisation
network/genesis/<channel>.bin   public: the bytes a channel starts from
network/join-request.toml       public: what this node brings to the network, signed
network/validator-request.toml  public: this home's claim to the seat of a validator, signed
network/agreed.toml             public: the file that request was made for, without keys and addresses
keys/node.key.json              the Ed25519 key of hello and votes
keys/tls.key.json, tls.pem      the TLS key and its certificate
keys/<identity>.key.json        keys of people and systems that send transactions, if they are kept here
keys/tls.csr.pem                public: the request for that certificate, while an authority elsewhere has it
keys/retired/                   keys that were replaced; never deleted
keys/ca/ca.pem                  the organisation's certificate authorities, root first
keys/ca/ca.key.json             the key of one of them, on the node of its operator only
keys/ca/issued.jsonl, crl.pem   what that authority issued, and what it took back
network/crl/<org>.crl.pem       public: the revocation lists of each organisation
data/wal/                       everything this node ever signed; never restored from a backup
data/<channel>/db/              the ledger of a channel
data/<channel>/snapshots/       snapshots of its state that this node made for newcomers
data/<channel>/incoming/        a snapshot this node fetches, until it is installed
log/halt-<channel>.json         why a channel stopped for good: both signed statements that contradict each other
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawan_node.crypto import keystore
from dawan_node.crypto.certificates import AUTHORITIES_PER_ORG_MAX, CertifiedKey, from_pem
from dawan_node.crypto.revocation import LIST_BYTES_MAX, lists_from_pem
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import ConfigError, UntrustedCertificate

REVOCATION_SUFFIX: Final = ".crl.pem"
#: One per organisation, of which an alliance has tens; bounds what reading costs when somebody fills the folder.
REVOCATION_FILES_MAX: Final = 256
#: As many lists as an organisation may have authorities, in base64 with line ends.
REVOCATION_FILE_BYTES_MAX: Final = AUTHORITIES_PER_ORG_MAX * LIST_BYTES_MAX * 3 // 2


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one node's folder."""

    path: Path

    @property
    def config_file(self) -> Path:
        """``node.toml``."""
        return self.path / "node.toml"

    @property
    def network(self) -> Path:
        """Public files that every party has alike."""
        return self.path / "network"

    @property
    def consortium_file(self) -> Path:
        """``consortium.toml``."""
        return self.network / "consortium.toml"

    @property
    def join_request_file(self) -> Path:
        """What this node brings to the network, signed by its keys."""
        return self.network / "join-request.toml"

    @property
    def validator_request_file(self) -> Path:
        """This home's claim to the seat of a validator: why its key is not the one in consortium.toml."""
        return self.network / "validator-request.toml"

    @property
    def agreed_file(self) -> Path:
        """What this party agreed to when it made its join-request."""
        return self.network / "agreed.toml"

    def genesis_file(self, channel: str) -> Path:
        """The genesis bytes of a channel."""
        return self.network / "genesis" / f"{channel}.bin"

    @property
    def keys(self) -> Path:
        """Secret keys, mode 0700."""
        return self.path / "keys"

    def identity_key(self, name: str) -> Path:
        """The key of a person or system that sends transactions."""
        return self.keys / f"{name}.key.json"

    @property
    def node_key(self) -> Path:
        """The Ed25519 key of this node."""
        return self.keys / "node.key.json"

    @property
    def tls_key(self) -> Path:
        """The key of the TLS certificate."""
        return self.keys / "tls.key.json"

    @property
    def tls_certificate(self) -> Path:
        """The TLS certificate, PEM."""
        return self.keys / "tls.pem"

    @property
    def tls_request(self) -> Path:
        """The request for the TLS certificate, PEM, while an authority elsewhere has not answered it."""
        return self.keys / "tls.csr.pem"

    @property
    def retired_keys(self) -> Path:
        """Keys that were replaced."""
        return self.keys / "retired"

    @property
    def pending_keys(self) -> Path:
        """Keys that are to replace others, while they do."""
        return self.keys / "pending"

    @property
    def revocation_lists(self) -> Path:
        """The revocation lists that organisations handed over."""
        return self.network / "crl"

    def revocation_file(self, org: str) -> Path:
        """The revocation lists of an organisation, PEM."""
        return self.revocation_lists / f"{org}{REVOCATION_SUFFIX}"

    @property
    def authority_key(self) -> Path:
        """The key of the organisation's certificate authority."""
        return self.keys / "ca" / "ca.key.json"

    @property
    def authority_certificate(self) -> Path:
        """The certificate of the organisation's certificate authority, PEM."""
        return self.keys / "ca" / "ca.pem"

    @property
    def own_revocation_file(self) -> Path:
        """The newest revocation list of that authority, PEM."""
        return self.keys / "ca" / "crl.pem"

    @property
    def data(self) -> Path:
        """Everything the node writes while it runs."""
        return self.path / "data"

    @property
    def wal(self) -> Path:
        """The write-ahead log of what this node signed."""
        return self.data / "wal"

    def database(self, channel: str) -> Path:
        """The LevelDB of one channel."""
        return self.channel_folder(channel) / "db"

    def channel_folder(self, channel: str) -> Path:
        """Everything of one channel: its ledger, snapshots it made, one it fetches."""
        return self.data / channel

    @property
    def log(self) -> Path:
        """Log files, where something writes any."""
        return self.path / "log"

    def halt_file(self, channel: str) -> Path:
        """Why a channel stopped for good, with its proof; there only if it did."""
        return self.log / f"halt-{channel}.json"

    def halt_files(self) -> list[Path]:
        """Those of all channels that stopped."""
        return sorted(self.log.glob("halt-*.json"))


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The unlocked secrets a running node needs; neither shows in ``repr``."""

    node: PrivateKey
    tls: CertifiedKey


def unlock(home: Home, passphrase: bytes) -> NodeKeys:
    """Open the node's key files. Raises KeystoreError, or ConfigError when the TLS certificate is unusable."""
    node = keystore.load_signing_key(home.node_key, passphrase)
    certificate = read_own_certificate(home)
    return NodeKeys(node, CertifiedKey(certificate, keystore.load(home.tls_key, passphrase).secret))


def read_own_certificate(home: Home) -> bytes:
    """The TLS certificate of this home, DER. Raises ConfigError, also when its authority has yet to issue it."""
    if not home.tls_certificate.exists() and home.tls_request.exists():
        raise ConfigError(
            "this node has no TLS certificate yet",
            f"{home.tls_certificate} is missing; {home.tls_request} asks for it",
            "Have your authority sign that request, then run `dawan-node cert install CHAIN.pem`.",
        )
    return read_certificate(home.tls_certificate)


def revocation_files(home: Home) -> dict[str, Path]:
    """The files of revocation lists beside consortium.toml by organisation; a folder that does not exist has none."""
    found = sorted(home.revocation_lists.glob(f"*{REVOCATION_SUFFIX}"))[:REVOCATION_FILES_MAX]
    return {path.name.removesuffix(REVOCATION_SUFFIX): path for path in found}


def read_revocation_lists(path: Path) -> list[bytes]:
    """Every revocation list of a PEM file, DER; at least one, not judged yet. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return lists_from_pem(file.read(REVOCATION_FILE_BYTES_MAX + 1))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", error.strerror or "unknown reason", "Check its mode.") from None
    except UntrustedCertificate as error:
        raise ConfigError(f"{path} is damaged", str(error), "Put back the file from its owner.") from None


def read_certificate(path: Path) -> bytes:
    """The first certificate of a PEM file, DER. Raises ConfigError."""
    return read_certificates(path)[0]


def read_certificates(path: Path) -> list[bytes]:
    """Every certificate of a PEM file, DER; at least one. Raises ConfigError."""
    try:
        return from_pem(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read", error.strerror or "unknown reason", "Check the path, or run `init`."
        ) from None
    except (UnicodeDecodeError, UntrustedCertificate) as error:
        raise ConfigError(f"{path} is damaged", str(error), "Put back the file from its owner.") from None
