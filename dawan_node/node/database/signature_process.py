"""A process that only checks signatures: ``python -m dawan_node.node.database.signature_process``.

It reads batches from standard input and answers each with one number: the position of the first signature that does
not verify, or ``ALL_GOOD``. A batch is its length in bytes (u32), then for each signature: public key (32), signature
(64), length of what was signed (u32), what was signed. All numbers are big-endian. It ends with its input.
"""

from __future__ import annotations

import signal
import struct
import sys
from collections.abc import Iterable
from typing import BinaryIO, Final

from dawan_node.crypto.signatures import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify_ed25519

ALL_GOOD: Final = 0xFFFF_FFFF
NUMBER: Final = struct.Struct(">I")

_FIXED_BYTES: Final = PUBLIC_KEY_BYTES + SIGNATURE_BYTES + NUMBER.size

#: Public key, what was signed, signature.
Check = tuple[bytes, bytes, bytes]


def pack(checks: Iterable[Check]) -> bytes:
    """A batch as it travels. Keys and signatures of another length cannot travel; they are no signatures at all."""
    joined = b"".join([key + signature + NUMBER.pack(len(signed)) + signed for key, signed, signature in checks])
    return NUMBER.pack(len(joined)) + joined


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer until the input ends."""
    while len(head := source.read(NUMBER.size)) == NUMBER.size:
        (length,) = NUMBER.unpack(head)
        batch = source.read(length)
        if len(batch) < length:
            return
        target.write(NUMBER.pack(_first_bad(batch)))
        target.flush()


def _first_bad(batch: bytes) -> int:
    position = number = 0
    while position < len(batch):
        signature_at = position + PUBLIC_KEY_BYTES
        length_at = signature_at + SIGNATURE_BYTES
        end = position + _FIXED_BYTES + NUMBER.unpack_from(batch, length_at)[0]
        signed = batch[position + _FIXED_BYTES : end]
        if not verify_ed25519(batch[position:signature_at], signed, batch[signature_at:length_at]):
            return number
        position = end
        number += 1
    return ALL_GOOD


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the whole group; the parent closes the pipe
    serve(sys.stdin.buffer, sys.stdout.buffer)
