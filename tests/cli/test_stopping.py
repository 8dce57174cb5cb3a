"""A command that goes on until it is stopped: it ends in the middle of a wait, and of nothing else."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType

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


def waits_in(thread: int, function: FunctionType) -> None:
    """Return once ``thread`` is in a system call of ``function``: it makes no step in far more time than the
    interpreter gives one thread beside another that asks for its turn."""
    place, since = None, 0.0
    while place is None or time.monotonic() - since < 20 * sys.getswitchinterval():
        frame = sys._current_frames()[thread]
        now = (frame.f_code, frame.f_lasti)
        if now != place or frame.f_code is not function.__code__:
            place, since = now, time.monotonic()


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


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_interrupts_no_system_call_ends_the_wait_all_the_same(which: int) -> None:
    """As one that comes between the last step of the interpreter and the wait; another thread takes it here."""
    stop, began, listener = Stop(), time.monotonic(), threading.get_ident()

    def take() -> None:
        waits_in(listener, Stop.rest)
        signal.pthread_kill(threading.get_ident(), which)

    with stop.listening(), soon(take):
        assert stop.rest(600)
    assert time.monotonic() - began < PROMPT_S


def test_signals_that_came_before_and_in_between_leave_no_thread_and_no_signal_behind(spared: list[int]) -> None:
    threads, woken = threading.active_count(), signal.set_wakeup_fd(-1)
    for _ in range(50):
        stop = Stop()
        with stop.listening():
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert stop.is_asked
    assert threading.active_count() == threads and signal.set_wakeup_fd(woken) == -1
    assert spared == []


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
