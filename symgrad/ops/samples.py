"""Test cases for ops: where each argument may lie, and the values at which things go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from symgrad.ir.op import Case, Samples
from symgrad.ir.types import FLOAT32, FLOAT64, Array, DType

Shape = tuple[int, ...]
Domain = Callable[[np.random.Generator, Shape], Array]

EXTREMES = (0.0, -0.0, 1.0, -1.0, 0.5, 30.0, -30.0, 1e3, -1e3, 1e30, -1e30, 1e-30, -1e-30)
SPECIALS = (*EXTREMES, np.inf, -np.inf, np.nan)


def reals(low: float = -2.0, high: float = 2.0) -> Domain:
    """Return random numbers between ``low`` and ``high``."""
    return lambda rng, shape: rng.uniform(low, high, shape)


def nonzero(low: float = 0.3, high: float = 2.0) -> Domain:
    """Return random numbers of both signs, away from zero."""
    return lambda rng, shape: rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)


def booleans(rng: np.random.Generator, shape: Shape) -> Array:
    """Return random truth values."""
    return rng.integers(0, 2, shape).astype(bool)


_SHAPES: dict[int, list[tuple[Shape, ...]]] = {
    1: [((3, 4),), ((),)],
    2: [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (3,))],
    3: [((3, 4), (3, 4), (3, 4)), ((3, 1), (4,), ())],
}


def elementwise_samples(domains: Sequence[Domain]) -> Samples:
    """Return cases with broadcasting in float64 and float32, and one at the special values."""

    def samples(rng: np.random.Generator) -> Iterator[Case]:
        for shapes in _SHAPES[len(domains)]:
            for dtype in (FLOAT64, FLOAT32):
                values = [d(rng, s) for d, s in zip(domains, shapes, strict=True)]
                yield Case(tuple(_as(v, dtype) for v in values))
        for dtype in (FLOAT64, FLOAT32):
            yield _special_case(domains, rng, dtype)

    return samples


def _as(value: Array, dtype: DType) -> Array:
    array = np.asarray(value)
    return array if array.dtype.kind == "b" else array.astype(dtype)


def _special_case(domains: Sequence[Domain], rng: np.random.Generator, dtype: DType) -> Case:
    axes: list[Array] = []
    for position, domain in enumerate(domains):
        boolean = np.asarray(domain(rng, (1,))).dtype.kind == "b"
        line = np.array([False, True]) if boolean else np.array(SPECIALS, dtype=dtype)
        shape = [1] * len(domains)
        shape[position] = line.size
        axes.append(line.reshape(shape))
    return Case(tuple(axes), smooth=False)


def fixed(*cases: Case) -> Samples:
    """Return these cases, in float64 and float32."""

    def samples(_rng: np.random.Generator) -> Iterator[Case]:
        for case in cases:
            for dtype in (FLOAT64, FLOAT32):
                arrays = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in case.arrays)
                yield Case(arrays, case.attrs, case.smooth)

    return samples


def spread(*shape: int) -> Array:
    """Return fixed distinct numbers of both signs in this shape."""
    count = int(np.prod(shape))
    order = (np.arange(count) * 7 + 3) % max(count, 1) if count % 7 else np.arange(count)
    return ((order - count / 2 + 0.3) * (2.0 / max(count, 1))).reshape(shape)
