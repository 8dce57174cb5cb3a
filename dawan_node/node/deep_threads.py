"""Threads that execute what modules wrote, with room for what modules can make.

The interpreter takes apart, hashes and compares nested values by recursion in C, which nothing counts and which ends
the whole process where the stack ends. How deep a value can be is bounded by the work of a transaction
(``execution.meter``): eight levels a unit, 160,000 units by default. That needs some 100 MiB of stack, where a thread
has 8 as a rule. Only address space is set aside; memory is used when it is touched.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

#: A level takes up to 100 bytes of C stack on the supported platform; this is twice what all levels of the default
#: budget take.
STACK_BYTES: Final = 256 * 1024 * 1024


def deep_threads(count: int, name: str) -> ThreadPoolExecutor:
    """A pool of ``count`` threads, all of which exist at once: a thread's stack is laid out when it begins."""
    everybody = threading.Barrier(count)
    before = threading.stack_size(STACK_BYTES)
    try:
        pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        for _ in range(count):
            pool.submit(everybody.wait)
    finally:
        threading.stack_size(before)
    return pool
