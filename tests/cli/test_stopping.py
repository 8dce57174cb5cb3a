"""A command that goes on until it is stopped: it ends in the middle of a wait, and of nothing else."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dawan_node.cli.stopping import Stop, Stopped
from dawan_node.rpc.client import READ_TIMEOUT_S
from tests.rpc.harness import running

#: A signal is heard at once; this machine may have other things to do. Far below any time-out of the client.
PROMPT_S = READ_TIMEOUT_S / 4


@pytest.fixture(autouse=True)
def spared() -> Iterator[list[int]]:
    """Signals that nobody listened to, instead of the end of this process."""
    heard: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(which, lambda number, frame: heard.append(number)) for which in signals]
    try:
        yield heard
    finally:
        for which, handler in zip(signals, before, strict=True):
            signal.signal(which, handler)


@contextmanager
def soon(act: Callable[[], None]) -> Iterator[None]:
    """``act`` in another thread, before or while the body runs."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def interrupt(which: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), which)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_rest_ends_at_the_signal(which: int) -> None:
    stop = Stop()
    with stop.listening():
        assert not stop.rest(0)
        began = time.monotonic()
        with soon(lambda: interrupt(which)):
            assert stop.rest(600)
        assert stop.rest(600), "and there is none afterwards"
    assert time.monotonic() - began < PROMPT_S


def test_what_is_no_wait_is_not_broken_into_and_the_next_wait_ends_at_once() -> None:
    stop = Stop()
    with running() as server, stop.listening(), stop.client(server.url) as client:
        assert client.channel_list() == ["trade"]
        interrupt()
        interrupt()
        assert stop.is_asked and server.node.calls == ["channels"]
        with pytest.raises(Stopped):
            client.channel_list()
        assert stop.rest(600)
        assert server.node.calls == ["channels"], "nothing was asked any more"


def test_after_the_first_signal_another_one_does_not_disturb_the_end() -> None:
    stop = Stop()
    done = False
    with stop.listening(), pytest.raises(Stopped), stop.interruptible():
        try:
            interrupt()
        finally:
            interrupt()
            done = True
    assert done


def test_a_call_of_a_server_that_does_not_answer_ends_at_the_signal_and_its_connection_with_it() -> None:
    stop = Stop()
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            interrupt()
            while connection.recv(65_536):
                continue
            ended.set()

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        soon(serve),
        stop.listening(),
        stop.client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client,
    ):
        began = time.monotonic()
        with pytest.raises(Stopped):
            client.chain_head("trade")
        assert ended.wait(PROMPT_S) and time.monotonic() - began < PROMPT_S


def test_who_listens_no_longer_hears_no_more(spared: list[int]) -> None:
    stop = Stop()
    with stop.listening():
        pass
    interrupt()
    assert spared == [signal.SIGTERM] and not stop.is_asked
