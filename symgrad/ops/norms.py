"""Norms of vectors and matrices, under NumPy's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.origin import here
from symgrad.ops.elementwise import absolute, not_equal, sqrt
from symgrad.ops.reduce import max, min, sum
from symgrad.ops.shape import axes_of, axis_of, squeeze
from symgrad.tensor import Tensor, as_tensor, implements, promoted


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Return a norm of a vector or a matrix, as `numpy.linalg.norm`.

    By default that is the root of the sum of squares. Norms that need singular values are not
    there: a matrix has the orders "fro", 1, -1, inf and -inf. The gradient at zero is 0/0: not a
    number, since there is none.
    """
    x = as_tensor(x)
    if axis is None and ord is None:
        return _root_of_squares(x, None, keepdims)
    if isinstance(axis, tuple | list):
        axes = tuple(axis_of(a, x.ndim, "norm") for a in axis)
    else:
        axes = axes_of(axis, x.ndim, "norm")
    if len(axes) == 1:
        return _of_vectors(x, 2 if ord is None else ord, axes[0], keepdims)
    if len(axes) == 2:
        return _of_matrices(x, "fro" if ord is None else ord, axes, keepdims)
    raise _unknown(x, ord)


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """Return a norm of vectors over some axes, or all, as `numpy.linalg.vector_norm`."""
    x = as_tensor(x)
    return _of_vectors(x, ord, axes_of(axis, x.ndim, "vector_norm"), keepdims)


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Return a norm of each matrix over the last two axes, as `numpy.linalg.matrix_norm`."""
    x = as_tensor(x)
    return _of_matrices(x, ord, axes_of((-2, -1), x.ndim, "matrix_norm"), keepdims)


def _of_vectors(x: Tensor, ord: Any, axis: Any, keepdims: bool) -> Tensor:
    match ord:
        case 2:
            return _root_of_squares(x, axis, keepdims)
        case 0:
            return sum(not_equal(x, 0).astype(_float(x).dtype), axis, keepdims=keepdims)
        case 1:
            return sum(absolute(_float(x)), axis, keepdims=keepdims)
        case _ if ord == np.inf:
            return max(absolute(_float(x)), axis, keepdims=keepdims)
        case _ if ord == -np.inf:
            return min(absolute(_float(x)), axis, keepdims=keepdims)
        case int() | float():
            return sum(absolute(_float(x)) ** ord, axis, keepdims=keepdims) ** (1 / ord)
    raise _unknown(x, ord)


def _of_matrices(x: Tensor, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    rows, columns = axes
    if ord == "fro":
        return _root_of_squares(x, axes, keepdims)
    if ord not in (1, -1, np.inf, -np.inf):
        raise _unknown(x, ord)
    within, over = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = sum(absolute(_float(x)), within, keepdims=True)
    found = (max if ord > 0 else min)(sums, over, keepdims=True)
    return found if keepdims else squeeze(found, axes)


def _root_of_squares(x: Tensor, axis: Any, keepdims: bool) -> Tensor:
    x = _float(x)
    return sqrt(sum(x * x, axis, keepdims=keepdims))


def _float(x: Tensor) -> Tensor:
    return promoted("norm", [x], floats=True)[0]


def _unknown(x: Tensor, ord: Any) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        errors.worded(
            f"norm: order {ord!r} of {x!r} is not known",
            made_at=here(),
            fix="a vector has any number as order, a matrix 'fro', 1, -1, inf or -inf",
        )
    )
