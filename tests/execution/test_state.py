"""Layers of state against a dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dawan_node.execution.state import Changes, GrowingOverlay, Overlay, SortedIndex, merged_scan
from dawan_node.testing.memory_state import MemoryState

keys = st.binary(min_size=0, max_size=3).map(lambda key: bytes(byte % 3 for byte in key))
entries = st.dictionaries(keys, st.none() | st.binary(max_size=2), max_size=12)


def scan_of(model: dict[bytes, bytes], prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    return [(key, model[key]) for key in sorted(model) if key.startswith(prefix) and key > after][:limit]


@given(st.lists(entries, max_size=4), keys, keys, st.integers(1, 5))
def test_a_scan_through_any_layers_is_the_scan_of_the_merged_state(layers, prefix, after, limit):
    model: dict[bytes, bytes] = {}
    reader: MemoryState | Overlay = MemoryState()
    for number, layer in enumerate(layers):
        changes = Changes(indexes={("m", "c", "i", key): value for key, value in layer.items()})
        if number == 0:
            reader.apply(changes)
        else:
            reader = Overlay(reader, changes)
        for key, value in layer.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
    assert reader.index_scan("m", "c", "i", prefix, after, limit) == scan_of(model, prefix, after, limit)
    assert reader.index_scan("m", "c", "other", prefix, after, limit) == []


@given(st.lists(entries, max_size=5), keys, keys, st.integers(1, 5), st.booleans())
def test_a_layer_that_grows_answers_as_layers_on_one_another_do(layers, prefix, after, limit, is_scanned_between):
    store = MemoryState()
    store.apply(Changes(indexes={("m", "c", "i", bytes([0, n])): b"s" for n in range(3)}, nonces=[(b"k", b"9", 9)]))
    stacked, growing = store, GrowingOverlay(store)
    for number, layer in enumerate(layers):
        changes = Changes(
            {("m", "c", key): value for key, value in layer.items()},
            {("m", "c", "i", key): value for key, value in layer.items()},
            layer,
            [(b"k", bytes([number]), number)],
        )
        stacked = Overlay(stacked, changes)
        growing.take(changes)
        if is_scanned_between:
            growing.index_scan("m", "c", "i", b"", b"", 1)
    assert growing.index_scan("m", "c", "i", prefix, after, limit) == stacked.index_scan(
        "m", "c", "i", prefix, after, limit
    )
    for key in {prefix, after, *(key for layer in layers for key in layer)}:
        assert growing.get("m", "c", key) == stacked.get("m", "c", key)
        assert growing.tree_node(key) == stacked.tree_node(key)
    for nonce in (b"9", b"\x00", b"\x01", b"\x04", b"\x05"):
        assert growing.nonce_used(b"k", nonce) == stacked.nonce_used(b"k", nonce)


def test_a_merge_asks_the_layer_below_for_further_pages_when_removals_ate_the_first():
    below = {b"%03d" % number: b"x" for number in range(300)}
    own = SortedIndex()
    for number in range(0, 300, 2):
        own.put(b"%03d" % number, None)
    found = merged_scan(own, lambda p, a, n: scan_of(below, p, a, n), b"", b"", 150)
    assert [key for key, _ in found] == [b"%03d" % number for number in range(1, 300, 2)]


def test_an_overlay_answers_first_and_passes_on_what_it_does_not_know():
    store = MemoryState()
    store.apply(
        Changes(
            state={("m", "c", b"1"): b"old", ("m", "c", b"2"): b"kept"},
            nodes={b"": b"root", b"\x01": b"child"},
            nonces=[(b"k", b"1", 10), (b"k", b"2", 10)],
        )
    )
    overlay = Overlay(
        store,
        Changes(
            state={("m", "c", b"1"): None, ("m", "c", b"3"): b"new"},
            nodes={b"": b"new root"},
            nonces=[(b"k", b"1", 99)],
        ),
    )
    assert [overlay.get("m", "c", key) for key in (b"1", b"2", b"3", b"4")] == [None, b"kept", b"new", None]
    assert [overlay.tree_node(path) for path in (b"", b"\x01", b"\x02")] == [b"new root", b"child", None]
    assert [overlay.nonce_used(b"k", nonce) for nonce in (b"1", b"2", b"3")] == [99, 10, None]
    assert store.get("m", "c", b"1") == b"old"
