"""Compiling, and compiling ahead: in a thread of its own, while NumPy answers the first call."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator

_ONE = threading.RLock()
"""Held by whoever compiles: Numba can do one thing at a time, and nobody may fork then."""
_STATE = threading.Lock()
"""Held while what is below is looked at and changed."""
_waiting: deque[Callable[[], None]] = deque()
_threads: set[int] = set()
"""The thread that compiles ahead, if there is one."""


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Compile in this context: one thread at a time does, and a fork waits for it."""
    _wait_before_forks()
    with _ONE:
        yield


def compile_ahead(compile: Callable[[], None]) -> bool:
    """Have ``compile`` called in another thread; return whether there is one to be had.

    What it raises is not heard: whoever needs the kernel calls it again.
    """
    _wait_before_forks()
    with _STATE:
        _waiting.append(compile)
        if _threads:
            return True
        thread = threading.Thread(target=_work, name="symgrad-compile", daemon=False)
        try:
            thread.start()
        except RuntimeError:
            # There are too many, or the interpreter is about to end.
            _waiting.clear()
            return False
        _threads.add(thread.ident or 0)
    return True


def is_ahead() -> bool:
    """Return whether this is the thread that compiles ahead."""
    return threading.get_ident() in _threads


def _work() -> None:
    while True:
        with _STATE:
            # A program that has ended waits for what is being compiled, and for nothing else.
            if not _waiting or not threading.main_thread().is_alive():
                _threads.clear()
                return
            compile = _waiting.popleft()
        with contextlib.suppress(Exception):
            compile()


@functools.cache
def _wait_before_forks() -> None:
    """Let forks wait for what is being compiled: what is locked then stays so in the child.

    They must wait before anything else is locked, which what is registered last does. So modules
    that register something, and that Numba imports, are imported here.
    """
    for name in ("logging", "concurrent.futures.thread"):
        importlib.import_module(name)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_lock, after_in_parent=_unlock, after_in_child=_begin_anew)


def _lock() -> None:
    _ONE.acquire()
    _STATE.acquire()


def _unlock() -> None:
    _STATE.release()
    _ONE.release()


def _begin_anew() -> None:
    _waiting.clear()
    _threads.clear()
    _unlock()
