"""Compiling ahead: in a thread of its own, while NumPy answers the first call."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
from collections.abc import Callable

_ONE = threading.Lock()
"""Held by the thread that compiles: Numba can do one thing at a time, and nobody may fork then."""


def compile_ahead(compile: Callable[[], None]) -> bool:
    """Have ``compile`` called in another thread; return whether there is one to be had.

    What it raises is not heard: whoever needs the kernel calls it again.
    """
    _wait_before_forks()
    try:
        threading.Thread(target=_compile, args=(compile,), name="symgrad-compile").start()
    except RuntimeError:
        # There are too many, or the interpreter is about to end.
        return False
    return True


def _compile(compile: Callable[[], None]) -> None:
    with _ONE, contextlib.suppress(Exception):
        # A program that has ended waits for what is being compiled, and for nothing else.
        if threading.main_thread().is_alive():
            compile()


@functools.cache
def _wait_before_forks() -> None:
    """Let forks wait for what is being compiled: what is locked then stays so in the child.

    They wait with nothing locked that compiling needs. The last functions that were registered are
    called first, so those of modules that Numba imports come before.
    """
    for name in ("logging", "concurrent.futures.thread"):
        importlib.import_module(name)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_ONE.acquire, after_in_parent=_ONE.release, after_in_child=_ONE.release
        )
