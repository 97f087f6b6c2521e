"""Memory of arrays: it begins a line of the cache, and is used again once the caller let go of it.

A result is the caller's own, so it is made for each call. Memory fresh from the system costs more
to touch for the first time than most loops over it: a page fault for every page, or the clearing of
huge pages. So a program remembers its latest large results, and when nothing else refers to one any
more (a view of it would), the next call may have its memory.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.backends.layout import address
from symgrad.ir.types import Array, DType

LARGE_RESULT = 1 << 20
"""From how many bytes on an array's memory is worth remembering."""


_LINE = 64
"""The size of a line of the cache in bytes, which is that of the widest vectors."""


def aligned(shapes: Sequence[Sequence[int]], dtypes: Sequence[DType]) -> list[Array]:
    """Return arrays, not filled, that begin lines of the cache: views of one piece of memory."""
    ends = [0]
    for shape, dtype in zip(shapes, dtypes, strict=True):
        ends.append(ends[-1] + -(-math.prod(shape) * dtype.itemsize // _LINE) * _LINE)
    room = np.empty(ends.pop() + _LINE, np.uint8)
    first = -address(room) % _LINE
    return [
        np.ndarray(shape, dtype, room, first + start)
        for shape, dtype, start in zip(shapes, dtypes, ends, strict=True)
    ]


def _references(arrays: dict[Any, Array], key: Any) -> tuple[Array | None, tuple[int, int]]:
    """Take an array out of ``arrays``; return it, and how many references to it there are.

    Views of it refer to the memory that it is a view of itself.
    """
    array = arrays.pop(key, None)
    return array, (sys.getrefcount(array), sys.getrefcount(None if array is None else array.base))


_UNUSED = _references({0: aligned([(1,)], [np.dtype("f8")])[0]}, 0)[1]
"""The counts for an array that nothing else refers to. Interpreters differ in how they count."""


class Results:
    """The latest large results of a program."""

    def __init__(self) -> None:
        self.arrays: dict[Any, Array] = {}
        # Where threads run without a common lock, counts are not exact.
        self.counted = getattr(sys, "_is_gil_enabled", lambda: True)()

    def empty(self, key: Any, shape: tuple[int, ...], dtype: DType) -> Array:
        """Return an array to be filled and handed out, for the result called ``key``."""
        # Taking it out leaves nothing to take for a second thread.
        array, references = _references(self.arrays, key)
        if array is None or references != _UNUSED or not _is_as_made(array, shape, dtype):
            if math.prod(shape) * dtype.itemsize < LARGE_RESULT:
                return np.empty(shape, dtype)
            (array,) = aligned([shape], [dtype])
        if self.counted:
            self.arrays[key] = array
        return array


def _is_as_made(array: Array, shape: tuple[int, ...], dtype: DType) -> bool:
    """Return whether an array is still what it was; its owner may have changed it."""
    return (
        array.shape == shape
        and array.dtype == dtype
        and array.flags.c_contiguous
        and array.flags.writeable
        # Somebody may still wait for its end, or find it by it.
        and not weakref.getweakrefcount(array)
        and not weakref.getweakrefcount(array.base)
    )
