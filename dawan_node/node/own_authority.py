"""The organisation's certificate authority as files: its key, what it issued, what it took back.

    ca.pem         the organisation's CA certificates, root first; public
    ca.key.json    the key of one of them, where this home may issue
    issued.jsonl   one line for every certificate that was issued or revoked
    crl.pem        the newest revocation list; public, for every node of every organisation

A certificate is written into ``issued.jsonl`` before it is handed out, and a revocation before the list that says it,
so a crash in between loses nothing: the next list is made from the register. Commands that change the folder hold its
lock one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from dawan_node.crypto import authority, keystore
from dawan_node.crypto.certificates import CertifiedKey, public_key_of, title_of
from dawan_node.crypto.revocation import (
    RevocationList,
    Revoked,
    lists_from_pem,
    load_revocation_list,
)
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node.home import read_certificates
from dawan_node.node.public_files import replace_files
from dawan_node.storage.files import sync_directory
from dawan_node.storage.lock import DirectoryLock

# Some 200 bytes a line: room for 80 000 certificates.
REGISTER_BYTES_MAX: Final = 16 * 1024 * 1024
#: Words an operator may give for a revocation (RFC 5280 section 5.3.1); the others are for lists of other kinds.
REASONS: Final = ("unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation")
_SERIAL_DIGITS_MIN: Final = 16  # shorter hexadecimal may be a node's name; serial numbers here have about 40


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of ``issued.jsonl``. ``name`` is the certificate's name under ``.dawan``, empty where it is unknown."""

    event: Literal["issued", "revoked"]
    at: datetime
    serial: str
    name: str
    not_after: datetime | None = None
    reason: str = ""

    @property
    def number(self) -> int:
        """The serial number."""
        return int(self.serial, 16)


@dataclass(frozen=True, slots=True)
class AuthorityFolder:
    """``keys/ca`` of a home."""

    path: Path
    org: str

    @property
    def key_file(self) -> Path:
        """The authority's key, where this home may issue."""
        return self.path / "ca.key.json"

    @property
    def certificate_file(self) -> Path:
        """The organisation's CA certificates."""
        return self.path / "ca.pem"

    @property
    def register_file(self) -> Path:
        """What was issued and revoked."""
        return self.path / "issued.jsonl"

    @property
    def list_file(self) -> Path:
        """The newest revocation list."""
        return self.path / "crl.pem"

    def can_issue(self) -> bool:
        """Whether the authority's key is here."""
        return self.key_file.exists()

    def require_key(self, otherwise: str) -> None:
        """Raises ConfigError, with ``otherwise`` as the way out, when this home runs no authority."""
        if not self.can_issue():
            raise ConfigError(
                "this home does not run its organisation's authority", f"there is no {self.key_file}", otherwise
            )

    def certificate(self) -> bytes:
        """The CA certificate of the key in this folder, DER. Raises ConfigError, KeystoreError."""
        public_key = keystore.describe(self.key_file).public_key
        for der in read_certificates(self.certificate_file):
            if public_key_of(x509.load_der_x509_certificate(der)) == public_key:
                return der
        raise ConfigError(
            f"{self.certificate_file} does not fit {self.key_file.name}",
            "none of its certificates is for that key",
            "Put back both files from the same backup.",
        )

    @contextmanager
    def unlocked(self, passphrase: bytes) -> Iterator[CertifiedKey]:
        """The authority, ready to sign, while nobody else changes the folder.

        Raises ConfigError, KeystoreError, and OperatorError when another command is at work.
        """
        certificate = self.certificate()
        lock = DirectoryLock.acquire(self.path / "ca.lock", self.path)
        try:
            yield CertifiedKey(certificate, keystore.load(self.key_file, passphrase).secret)
        finally:
            lock.release()

    def records(self) -> list[Record]:
        """The register, oldest first. Raises ConfigError when a line cannot be read."""
        try:
            with self.register_file.open("rb") as file:
                data = file.read(REGISTER_BYTES_MAX + 1)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(self.register_file, error) from None
        if len(data) > REGISTER_BYTES_MAX:
            raise ConfigError(f"{self.register_file} is refused", "it is larger than 16 MiB", "Move old lines away.")
        # A last line without its end was being written when the power went; what it was for was never handed out.
        lines = data.split(b"\n")[:-1]
        found = []
        for number, line in enumerate(lines, 1):
            try:
                found.append(msgspec.json.decode(line, type=Record))
                int(found[-1].serial, 16)
            except (msgspec.DecodeError, msgspec.ValidationError, ValueError):
                raise ConfigError(
                    f"{self.register_file} is damaged", f"line {number} cannot be read", "Put it back from its backup."
                ) from None
        return found

    def record_issued(self, certificate: bytes, now: datetime) -> None:
        """Write down a certificate that is about to be handed out; durable. Raises ConfigError."""
        parsed = x509.load_der_x509_certificate(certificate)
        self._append(
            Record("issued", now, hex(parsed.serial_number), _name_of(parsed), not_after=parsed.not_valid_after_utc)
        )

    def find(self, target: str, now: datetime, *, unregistered: bool = False) -> list[Record]:
        """The certificates that ``target`` (a node's name, a serial number, a PEM file) means, unrevoked ones only.

        A name means all its certificates that have not expired. ``unregistered`` allows a serial number of which the
        register knows nothing. Raises ConfigError when there is none.
        """
        records = self.records()
        revoked = {record.number for record in records if record.event == "revoked"}
        issued = [record for record in records if record.event == "issued"]
        dawan_name = f"{target}.{self.org}.dawan"
        if named := [record for record in issued if record.name in (dawan_name, target)]:
            found = [record for record in named if record.not_after is None or record.not_after >= now]
        elif Path(target).is_file():
            found = [self._record_of_file(Path(target), now)]
        elif (serial := _serial(target)) is not None:
            found = [record for record in issued if record.number == serial]
            if not found and unregistered:
                found = [Record("issued", now, hex(serial), "")]
        else:
            found = []
        left = [record for record in found if record.number not in revoked]
        if not left:
            raise ConfigError(
                f"nothing to revoke for {target!r}",
                "all of it is revoked or expired already"
                if found or named
                else f"this authority issued to {', '.join(sorted({r.name for r in issued})) or 'nobody yet'}",
                "Name a node, a serial number (0x...) of `cert show`, or the certificate's file.",
            )
        return left

    def revoke(self, signing: CertifiedKey, found: list[Record], reason: str, now: datetime, days: int) -> Path:
        """Take certificates back: into the register first, then into a new list. Returns the list's file."""
        for record in found:
            self._append(Record("revoked", now, record.serial, record.name, reason=reason))
        return self.sign_list(signing, now, days)

    def sign_list(self, signing: CertifiedKey, now: datetime, days: int) -> Path:
        """A fresh list of everything that was ever revoked. Returns its file. Raises ConfigError."""
        previous = self.current_list(signing.certificate, now)
        entries = dict(previous.revoked) if previous is not None else {}
        for record in self.records():
            if record.event == "revoked":
                entries.setdefault(record.number, Revoked(record.number, record.at, record.reason))
        # Milliseconds since 1970 go on rising where the previous list was lost; peers keep the higher number.
        number = max(previous.number + 1 if previous is not None else 1, int(now.timestamp() * 1000))
        der = authority.make_revocation_list(signing, entries.values(), number, now, days=days)
        # Judged like a peer will, before it replaces the list that is there.
        load_revocation_list(der, self.org, [signing.certificate], now)
        pem = x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
        replace_files(self.path, {self.list_file.name: pem})
        return self.list_file

    def current_list(self, certificate: bytes, now: datetime) -> RevocationList | None:
        """The list in ``crl.pem``, None when there is none. Raises ConfigError."""
        try:
            data = self.list_file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.list_file, error) from None
        try:
            return load_revocation_list(lists_from_pem(data)[0], self.org, [certificate], now)
        except UntrustedCertificate as error:
            raise ConfigError(
                f"{self.list_file} is refused",
                str(error),
                f"Move it away and run `cert crl`: what was revoked stands in {self.register_file.name} too.",
            ) from None

    def _record_of_file(self, path: Path, now: datetime) -> Record:
        parsed = x509.load_der_x509_certificate(read_certificates(path)[0])
        try:
            parsed.verify_directly_issued_by(x509.load_der_x509_certificate(self.certificate()))
        except (InvalidSignature, ValueError, TypeError):
            raise ConfigError(
                f"{path} cannot be revoked here",
                f"{title_of(parsed)} was not issued by this home's authority",
                "Only the authority that issued a certificate can revoke it.",
            ) from None
        return Record("issued", now, hex(parsed.serial_number), _name_of(parsed), parsed.not_valid_after_utc)

    def _append(self, record: Record) -> None:
        line = msgspec.json.encode(record) + b"\n"
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.register_file, flags, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                data = file.read()
                if data and not data.endswith(b"\n"):
                    file.truncate(data.rfind(b"\n") + 1)  # see records()
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if size == 0:
                sync_directory(self.path)
        except OSError as error:
            raise _unusable(self.register_file, error) from None


def _name_of(parsed: x509.Certificate) -> str:
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next((name for name in names.get_values_for_type(x509.DNSName) if name.endswith(".dawan")), "")


def _serial(text: str) -> int | None:
    digits = text.removeprefix("0x")
    if digits == text and len(digits) < _SERIAL_DIGITS_MIN:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path} cannot be used", error.strerror or "unknown reason", "Check the disk and the folder's owner and mode."
    )
