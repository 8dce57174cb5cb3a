"""Certificates and revocation lists that change on disk are taken over by the running node.

Renewal keeps the TLS key, so a new ``keys/tls.pem`` needs no passphrase: the certificate is judged as any peer would
judge it, must be for the key this node holds and for this node, and is then handed on. Everything else is refused in
one log line that says why and what to do, and the old certificate stays in use.

Files are not written in one step: whoever copies one over the network leaves it half there for a moment. What cannot
be used is therefore looked at again, and complained of only when it has not changed in between. What is still
complained of may become right by itself (a certificate of tomorrow, an authority that is registered later), so it is
tried again, quietly.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from dawan_node.crypto.certificates import CertifiedKey, from_pem
from dawan_node.crypto.revocation import lists_from_pem
from dawan_node.crypto.trust import Trust
from dawan_node.errors import ConfigError, OperatorError, UntrustedCertificate
from dawan_node.node.clock import Calendar
from dawan_node.node.home import REVOCATION_FILE_BYTES_MAX, REVOCATION_FILES_MAX, REVOCATION_SUFFIX, Home
from dawan_node.node.logs import fields

log = logging.getLogger(__name__)

#: One stat per file and tick costs microseconds; an operator who has just copied a file looks at the log this soon.
LOOK_EVERY_S: Final = 2.0
#: A chain of four certificates with comments is a few KiB.
CERTIFICATE_FILE_BYTES_MAX: Final = 64 * 1024

# What tells one state of a file from another: inode, size, and when its content changed.
_State = tuple[int, int, int]


#: Takes a certificate into use. May refuse it by raising OperatorError.
OnCertificate = Callable[[CertifiedKey], None]
#: Gets every organisation's lists (DER) whenever a file came, changed or went. May refuse by raising OperatorError.
OnLists = Callable[[Mapping[str, tuple[bytes, ...]]], None]


class CertificateWatch:
    """Looks at one home's certificate and revocation lists. Everything runs on the event loop and only stats files;
    one that changed is read, which is a few KiB."""

    def __init__(
        self,
        home: Home,
        name: str,
        org: str,
        tls: CertifiedKey,
        trust: Callable[[], Trust],
        clock: Calendar,
        on_certificate: OnCertificate,
        on_lists: OnLists,
    ) -> None:
        """``tls``: what is in use now; its key is kept. ``trust``: what counts at the moment of the question."""
        self._file: Final = home.tls_certificate
        self._folder: Final = home.revocation_lists
        self._name: Final = name
        self._org: Final = org
        self._tls = tls
        self._public_key: Final = tls.public_key
        self._trust: Final = trust
        self._clock: Final = clock
        self._on_certificate: Final = on_certificate
        self._on_lists: Final = on_lists
        self._woken: Final = asyncio.Event()
        # The state in which each file was last taken, and the one in which it was last found wanting, with the reason.
        self._taken: dict[Path, _State | None] = {}
        self._doubted: dict[Path, tuple[_State | None, str]] = {}
        self._lists: dict[str, tuple[bytes, ...]] = {}

    async def run(self) -> None:
        """Look every ``LOOK_EVERY_S`` and whenever ``wake`` is called, until cancelled."""
        at_once = False
        while True:
            self.look(at_once=at_once)
            self._woken.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
                at_once = True
            except TimeoutError:
                at_once = False

    def wake(self) -> None:
        """Look now (SIGHUP): the operator waits for an answer, so a file is complained of at first sight."""
        self._woken.set()

    def look(self, *, at_once: bool = False) -> None:
        """Take over what changed. ``at_once``: do not wait for a second look before complaining."""
        self._look_at_certificate(at_once)
        self._look_at_lists(at_once)

    # The certificate

    def _look_at_certificate(self, at_once: bool) -> None:
        state = _state(self._file)
        if state is not None and self._taken.get(self._file) == state:
            return
        try:
            self._take_certificate()
        except OperatorError as error:
            self._doubt(self._file, state, error, "certificate_refused", at_once)
        else:
            self._taken[self._file] = state
            self._doubted.pop(self._file, None)

    def _take_certificate(self) -> None:
        """Raises OperatorError when the file holds nothing that may be used."""
        der = _first_certificate(_read(self._file, CERTIFICATE_FILE_BYTES_MAX), self._file)
        if der == self._tls.certificate:
            return
        try:
            judged = self._trust().judge(der, self._clock.now())
        except UntrustedCertificate as error:
            raise ConfigError(
                f"{self._file} is not used", str(error), "Have the organisation's CA issue it: dawan-node cert renew."
            ) from None
        if (judged.name, judged.org) != (self._name, self._org):
            raise ConfigError(
                f"{self._file} is not used",
                f"it is of {judged.name} of {judged.org}, this node is {self._name} of {self._org}",
                "Put the certificate of this node there: dawan-node cert renew.",
            )
        if judged.public_key != self._public_key:
            raise ConfigError(
                f"{self._file} is not used",
                "it certifies another key than the TLS key this node holds",
                "Renew with `dawan-node cert renew`, which keeps the key; a new key needs a restart.",
            )
        renewed = CertifiedKey(der, self._tls.private_key)
        self._on_certificate(renewed)
        self._tls = renewed
        log.info(
            "certificate_taken",
            extra=fields(file=self._file, node=self._name, not_after=judged.not_after.isoformat()),
        )

    # Revocation lists

    def _look_at_lists(self, at_once: bool) -> None:
        found = _list_files(self._folder)
        known = {path for path in self._taken if path != self._file}
        changed = {path for path, state in found.items() if self._taken.get(path) != state}
        gone = known - found.keys()
        if not changed and not gone:
            return
        lists = {org: der for org, der in self._lists.items() if self._folder / f"{org}{REVOCATION_SUFFIX}" in found}
        read = []
        for path in sorted(changed):
            try:
                lists[path.name.removesuffix(REVOCATION_SUFFIX)] = _lists(path)
            except OperatorError as error:
                self._doubt(path, found[path], error, "revocation_list_refused", at_once)
            else:
                read.append(path)
        if not read and not gone:
            return
        try:
            self._on_lists(lists)
        except OperatorError as error:
            for path in read:
                self._doubt(path, found[path], error, "revocation_list_refused", at_once)
            return
        self._lists = lists
        for path in gone:
            del self._taken[path]
            self._doubted.pop(path, None)
        for path in read:
            self._taken[path] = found[path]
            self._doubted.pop(path, None)
        log.info(
            "revocation_lists_taken",
            extra=fields(orgs=",".join(sorted(lists)), files=len(found), changed=len(read), gone=len(gone)),
        )

    def _doubt(self, path: Path, state: _State | None, error: OperatorError, event: str, at_once: bool) -> None:
        """Complain of a file once per state and reason, and not while it is still being written."""
        earlier = self._doubted.get(path)
        self._doubted[path] = (state, earlier[1] if earlier else "")
        if not at_once and (earlier is None or earlier[0] != state):
            return
        if earlier is None or earlier[1] != str(error):
            log.error(event, extra=fields(what=error.what, why=error.why, next=error.fix))
            self._doubted[path] = (state, str(error))


def _state(path: Path) -> _State | None:
    try:
        status = path.stat()
    except OSError:
        return None  # reading it says why
    return status.st_ino, status.st_size, status.st_mtime_ns


def _list_files(folder: Path) -> dict[Path, _State | None]:
    """The revocation lists of the folder; a folder that does not exist has none."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(REVOCATION_SUFFIX))
    except OSError:
        return {}
    return {folder / name: _state(folder / name) for name in names[:REVOCATION_FILES_MAX]}


def _read(path: Path, bytes_max: int) -> bytes:
    """Raises ConfigError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            # A pipe or a device would stop the event loop.
            data = file.read(bytes_max + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read", error.strerror or "unknown reason", "Put it back; what was read before is kept."
        ) from None
    if len(data) > bytes_max:
        raise ConfigError(f"{path} is not used", f"it has more than {bytes_max} bytes", "Put the right file there.")
    return data


def _first_certificate(data: bytes, path: Path) -> bytes:
    try:
        return from_pem(data.decode("ascii"))[0]
    except (UnicodeDecodeError, UntrustedCertificate) as error:
        raise ConfigError(
            f"{path} is not used", str(error), "Put the whole PEM file there, as `dawan-node cert renew` wrote it."
        ) from None


def _lists(path: Path) -> tuple[bytes, ...]:
    try:
        return tuple(lists_from_pem(_read(path, REVOCATION_FILE_BYTES_MAX)))
    except UntrustedCertificate as error:
        raise ConfigError(
            f"{path} is not used", str(error), "Put the whole PEM file there, as `dawan-node cert crl` wrote it."
        ) from None
