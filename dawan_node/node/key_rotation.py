"""Replacing a key by another so that no moment has neither, and a crash between two steps loses nothing.

The new key is made in ``keys/pending`` and stays there until everybody knows it: an identity's when the channels have
committed its rotation, a TLS key's when its certificate is issued. Then the old file gets a second name in
``keys/retired``, and the new one takes its place in one step. Whoever starts again finds the pending key and goes on
with it; no key is ever deleted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from dawan_node.crypto import keystore
from dawan_node.crypto.keystore import KeyInfo, SecretKind
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import KeystoreError
from dawan_node.node.home import Home
from dawan_node.storage.files import sync_directory


@dataclass(frozen=True, slots=True)
class Rotation:
    """An identity's change of keys under way. ``path`` is the file that both have in turn."""

    path: Path
    identity: str
    old: PrivateKey = field(repr=False)
    new: PrivateKey = field(repr=False)


def check(home: Home, path: Path) -> KeyInfo:
    """What ``path`` holds, if it is an identity of this home. Raises KeystoreError; needs no passphrase."""
    info = keystore.describe(path)
    if path.resolve() == home.node_key.resolve():
        raise KeystoreError(
            "the node key is not rotated",
            "a validator key is tied to the log of everything it signed; under another key that log proves nothing",
            "Make a new home with `init`, have its key voted in, then stop this node.",
        )
    if info.kind is not SecretKind.ED25519 or path.resolve().parent != home.keys.resolve():
        raise KeystoreError(
            f"{path} is not rotated",
            "it is no identity of this home",
            "Name a key of `keys list`. For the TLS key: cert renew --new-key.",
        )
    return info


def begin(home: Home, path: Path, passphrase: bytes) -> Rotation:
    """Make the new key of the identity in ``path``, or take up the one an interrupted change left.

    Raises KeystoreError: the file does not open, or its key is not one that can be rotated.
    """
    info = check(home, path)
    old = keystore.load_signing_key(path, passphrase)
    pending = _pending(home, path)
    if pending.exists():
        new = keystore.load_signing_key(pending, passphrase)
    else:
        new = keystore.create_signing_key(pending, info.name, passphrase, cost=info.cost)
    return Rotation(path, info.name, old, new)


def finish(home: Home, rotation: Rotation) -> Path:
    """Put the new key in the place of the old one; where the old one is kept now. Raises KeystoreError."""
    kept = retire(home, rotation.path)
    switch(_pending(home, rotation.path), rotation.path)
    return kept


def retire(home: Home, path: Path) -> Path:
    """A second name for a key file below ``keys/retired``, so that nothing is lost when the first is given away.

    Returns it. Calling it again for the same key is fine. Raises KeystoreError.
    """
    public_key = keystore.describe(path).public_key
    keystore.make_private_folder(home.retired_keys)
    kept = home.retired_keys / f"{path.name.removesuffix('.key.json')}-{public_key[-8:].hex()}.key.json"
    try:
        if not kept.exists():
            os.link(path, kept)
            sync_directory(home.retired_keys)
    except OSError as error:
        raise _failed(path, error) from None
    return kept


def switch(pending: Path, path: Path) -> None:
    """Give a pending key file its final name, in one step. Raises KeystoreError."""
    try:
        os.replace(pending, path)
        sync_directory(path.parent)
    except OSError as error:
        raise _failed(path, error) from None


def _pending(home: Home, path: Path) -> Path:
    return home.pending_keys / path.name


def _failed(path: Path, error: OSError) -> KeystoreError:
    return KeystoreError(
        f"{path} could not be replaced",
        error.strerror or "unknown reason",
        "Check the disk, then run the same command again: it goes on where it stopped.",
    )
