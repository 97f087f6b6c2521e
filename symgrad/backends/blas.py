"""Which BLAS kernels call: NumPy's own, so that a process has only one, with one set of threads.

Where NumPy does not show one, it is SciPy's, whose import takes longer than NumPy's.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib

import numpy as np

from symgrad import errors

ROUTINES = ("sgemm", "dgemm", "sgemv", "dgemv")
"""The routines of Fortran's interface that kernels call, in single and double precision."""

_NAMES = ("scipy_{}_64_", "{}_64_", "scipy_{}_", "{}_")
"""What they are called in NumPy's wheels, and in builds with integers of 64 bits or of 32."""


def addresses() -> dict[str, int]:
    """Return where each of `ROUTINES` is.

    They take addresses only. Integers are handed over in 64 bits; a BLAS that reads the first 32,
    as SciPy's does, is right about sizes below 2³¹.

    Raises:
        BackendError: if there is no BLAS that multiplies matrices.
    """
    for find in (_in_numpy, _in_scipy):
        found = find()
        if found and all(map(_is_right, found, found.values())):
            return found
    raise errors.BackendError(
        errors.worded(
            "neither NumPy nor SciPy has a BLAS that kernels could call",
            fix="backend='numpy' computes the same",
        )
    )


def _in_numpy() -> dict[str, int]:
    """Return the routines that NumPy itself was linked with, or none if it does not show them."""
    extension = importlib.import_module("numpy._core._multiarray_umath")
    with contextlib.suppress(OSError, TypeError):
        opened = ctypes.CDLL(extension.__file__)
        for name in _NAMES:
            with contextlib.suppress(ValueError):
                symbols = {r: ctypes.c_char.in_dll(opened, name.format(r)) for r in ROUTINES}
                return {r: ctypes.addressof(symbol) for r, symbol in symbols.items()}
    return {}


def _in_scipy() -> dict[str, int]:
    """Return the routines that SciPy shows to Cython."""
    from numba.extending import get_cython_function_address

    return {
        routine: get_cython_function_address("scipy.linalg.cython_blas", routine)
        for routine in ROUTINES
    }


def _is_right(routine: str, address: int) -> bool:
    """Return whether a routine finds a small product."""
    dtype = np.dtype("f4" if routine[0] == "s" else "f8")
    a, b, c = (np.arange(first, first + 4, dtype=dtype).reshape(2, 2) for first in (1, 5, 9))
    two, three = np.array(2, dtype), np.array(3, dtype)
    size, step = np.array(2, "i8"), np.array(1, "i8")
    letter = np.array(b"n")
    if routine[1:] == "gemm":
        # To BLAS, rows are columns: it finds the transpose of a b as the product of theirs.
        arguments = [letter, letter, size, size, size, two, b, size, a, size, three, c, size]
        expected = 2 * (a @ b) + 3 * c
    else:
        arguments = [letter, size, size, two, a, size, b[0], step, three, c[0], step]
        expected = np.stack([2 * (a.T @ b[0]) + 3 * c[0], c[1]])
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arguments))(address)
    function(*(array.ctypes.data for array in arguments))
    return np.array_equal(c, expected)
