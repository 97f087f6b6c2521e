"""What compiled kernels need of Numba's inside."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numba import njit

from symgrad.backends.jit import larger, smaller

NUMBERS = (0.0, -0.0, 1.5, -2.0, math.inf, -math.inf, math.nan, 5e-324)


@njit
def compiled(a, b):  # type: ignore[no-untyped-def]
    return smaller(a, b), larger(a, b)


def test_smaller_and_larger_are_pythons_min_and_max() -> None:
    pairs: list[Any] = [
        *itertools.product(map(np.float64, NUMBERS), repeat=2),
        *itertools.product(map(np.float32, NUMBERS), repeat=2),
        *itertools.product((-3, 0, 2**40), repeat=2),
        (3, 2.5),
    ]
    for a, b in pairs:
        for found, expected in zip(compiled(a, b), (min(a, b), max(a, b)), strict=True):
            assert np.array_equal(found, expected, equal_nan=True), (a, b)
            assert math.copysign(1, found) == math.copysign(1, expected), (a, b)
