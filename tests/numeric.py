"""Numbers for tests: evaluating tensors without optimising, finite differences, random arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from symgrad.backends.numpy import NumpyProgram
from symgrad.bind import Signature
from symgrad.ir.graph import Graph
from symgrad.ir.op import Case, Op
from symgrad.ir.types import Array
from symgrad.ops.leaves import tensor
from symgrad.tensor import Tensor

STEP = 2e-4


def evaluate(inputs: Sequence[Tensor], outputs: Sequence[Tensor], *values: Any) -> list[Array]:
    """Return the outputs, node by node as they were written: no pass has touched them."""
    return run(Graph(inputs, outputs), *values)


def value(output: Tensor, inputs: Sequence[Tensor] = (), *values: Any) -> Array:
    return evaluate(inputs, [output], *values)[0]


def run(graph: Graph, *values: Any) -> list[Array]:
    arrays, sizes = Signature(graph).bind(values)
    return NumpyProgram(graph).run(arrays, sizes)


def reference(op: Op, case: Case) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*case.arrays, **case.attrs))


def declared(case: Case) -> list[Tensor]:
    return [tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(case.arrays)]


def slope(function: Callable[[float], float]) -> float:
    """Return the derivative at 0 by central differences of order four."""
    near = function(STEP) - function(-STEP)
    far = function(2 * STEP) - function(-2 * STEP)
    return (8 * near - far) / (12 * STEP)


def finite_difference(function: Callable[[Array], float], at: Array) -> Array:
    """Return the gradient of a function of one float64 array, element by element."""
    out = np.empty(at.shape)
    for index in np.ndindex(at.shape):
        unit = np.zeros(at.shape)
        unit[index] = 1
        out[index] = slope(partial(_along, function, at, unit))
    return out


def _along(function: Callable[[Array], float], at: Array, unit: Array, t: float) -> float:
    return function(at + t * unit)


def assert_close(got: Array, expected: Array, rtol: float, atol: float | None = None) -> None:
    """Assert equal shape and dtype kind, NaN and infinities where expected, and close values."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol, rtol if atol is None else atol, equal_nan=True)
