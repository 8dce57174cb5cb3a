"""The protocol's objects: frozen values that are valid once built, and their canonical bytes.

This package writes design section 4 and formats section A down as code. Nothing here does I/O, and nothing here
knows who uses it.
"""
