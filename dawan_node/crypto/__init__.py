"""Hashing, signatures, Merkle trees, key files and certificates: bytes in, bytes out."""
