"""Initial values of parameters, as ``sg.init``: functions ``(rng, shape, dtype) -> array``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from symgrad.ir.types import Array, DType

Init = Callable[[np.random.Generator, tuple[int, ...], DType], Array]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of a weight array (inputs, outputs)."""
    if len(shape) < 2:
        return (shape[0] if shape else 1, 1)
    return math.prod(shape[:-1]), shape[-1]


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    """Return uniform values of variance 2 / (fan_in + fan_out) (Glorot & Bengio, 2010)."""
    limit = math.sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-limit, limit, shape).astype(dtype)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    """Return normal values of variance 2 / fan_in, for ReLUs (He et al., 2015)."""
    return (rng.standard_normal(shape) * math.sqrt(2 / _fans(shape)[0])).astype(dtype)


def zeros(_rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    """Return zeros."""
    return np.zeros(shape, dtype=dtype)


def constant(value: float) -> Init:
    """Return an initialiser that fills with ``value``."""
    return partial(_fill, value)


def normal(scale: float = 1.0) -> Init:
    """Return an initialiser of normal values with this standard deviation."""
    return partial(_normal, scale)


def uniform(low: float, high: float) -> Init:
    """Return an initialiser of uniform values in an interval."""
    return partial(_uniform, low, high)


def _fill(value: float, _rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    return np.full(shape, value, dtype=dtype)


def _normal(scale: float, rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
    return (rng.standard_normal(shape) * scale).astype(dtype)


def _uniform(
    low: float, high: float, rng: np.random.Generator, shape: tuple[int, ...], dtype: DType
) -> Array:
    return rng.uniform(low, high, shape).astype(dtype)
