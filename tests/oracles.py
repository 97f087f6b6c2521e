"""Oracles that owe nothing to symgrad: finite differences, a tape, and dual numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))


def difference(f: Callable[[Any], Any], x: ArrayLike, step: float = 1e-3) -> Array:
    """Return df/dx, of shape ``f(x).shape + x.shape``, by central differences of order 4.

    At the default step both truncation and rounding are near 1e-12 for functions of size one.
    """
    at = np.array(x, dtype=np.float64)
    columns = []
    for i in range(at.size):
        d = np.zeros(at.size)
        d[i] = step
        moved = d.reshape(at.shape)
        columns.append(sum(c * np.asarray(f(at + k * moved)) for k, c in _STENCIL) / step)
    return np.stack(columns, axis=-1).reshape((*np.shape(f(at)), *at.shape))


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x) as the decks write it."""
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    """Return e^x / sum e^x over the last axis as the decks write it."""
    return np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)


PARTIALS: dict[np.ufunc, tuple[Callable[..., Any], ...]] = {
    np.add: (lambda a, b: 1.0, lambda a, b: 1.0),
    np.subtract: (lambda a, b: 1.0, lambda a, b: -1.0),
    np.multiply: (lambda a, b: b, lambda a, b: a),
    np.divide: (lambda a, b: 1 / b, lambda a, b: -a / b**2),
    np.power: (lambda a, b: b * a ** (b - 1), lambda a, b: a**b * np.log(a)),
    np.negative: (lambda a: -1.0,),
    np.exp: (np.exp,),
    np.log: (lambda a: 1 / a,),
    np.sin: (np.cos,),
    np.cos: (lambda a: -np.sin(a),),
    np.tanh: (lambda a: 1 - np.tanh(a) ** 2,),
}


class Variable(NDArrayOperatorsMixin):
    """A number on a tape: the reverse-mode recipe of 003, with dy/du = 0 and increments."""

    _numbers = itertools.count()

    def __init__(self, value: float, parents: tuple[tuple[Variable, float], ...] = ()):
        self.value = value
        self.parents = parents
        self.number = next(self._numbers)
        self.derivative = 0.0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any) -> Variable:
        values = [v.value if isinstance(v, Variable) else v for v in inputs]
        parents = tuple(
            (v, float(partial(*values)))
            for v, partial in zip(inputs, PARTIALS[ufunc], strict=True)
            if isinstance(v, Variable)
        )
        return Variable(ufunc(*values), parents)

    def backward(self) -> None:
        """Set the derivative of this variable by everything it was computed from."""
        found, stack = {self}, [self]
        while stack:
            parents = {v for v, _ in stack.pop().parents} - found
            found |= parents
            stack.extend(parents)
        self.derivative = 1.0
        for u in sorted(found, key=lambda v: -v.number):
            for v, partial in u.parents:
                v.derivative += u.derivative * partial

    __hash__ = object.__hash__


class Dual(NDArrayOperatorsMixin):
    """A dual number: a value and its tangent, forward mode."""

    def __init__(self, value: Any, tangent: Any):
        self.value = value
        self.tangent = tangent

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any) -> Dual:
        values = [v.value if isinstance(v, Dual) else v for v in inputs]
        tangent = sum(
            partial(*values) * v.tangent
            for v, partial in zip(inputs, PARTIALS[ufunc], strict=True)
            if isinstance(v, Dual)
        )
        return Dual(ufunc(*values), tangent)
