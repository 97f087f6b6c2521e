"""Diagonals and triangles of matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply
from symgrad.ir.op import Case, Op, define
from symgrad.ir.origin import here
from symgrad.ir.types import FLOAT64, Array, TensorType
from symgrad.ops.contract import diagonal
from symgrad.ops.index import scatter_add
from symgrad.ops.leaves import arange
from symgrad.ops.samples import fixed, spread
from symgrad.ops.shape import ones
from symgrad.tensor import Tensor, as_tensor, implements


def _matrices(call: Call) -> TensorType:
    x = call.types[0]
    if x.ndim < 2:
        call.fail("expected a matrix, or a stack of them")
    return TensorType(call.one_dtype("fi"), x.shape)


_CASES = (spread(3, 3), spread(2, 4), spread(4, 2), spread(2, 3, 3))


def _triangle(op: Op, x: Any, k: int) -> Tensor:
    if not isinstance(k, int):
        raise errors.ArgumentError(
            errors.worded(f"{op.name}: expected k to be an integer, got {k!r}", made_at=here())
        )
    return Tensor(apply(op, (as_tensor(x).node,), {"k": k}))


def _defined(name: str, reference: Callable[..., Array], side: str) -> Op:
    def bprop(g: Tensor, y: Tensor, x: Tensor, k: int) -> Tensor:
        return Tensor(apply(op, (g.node,), {"k": k}))

    op = define(
        Op(
            name,
            _matrices,
            reference,
            bprop=(bprop,),
            linear="each",
            samples=fixed(*(Case((x,), {"k": k}) for x in _CASES for k in (0, -1, 1))),
            summary=f"The elements on and {side} the k-th diagonal; zero elsewhere.",
        )
    )
    return op


TRIL = _defined("tril", lambda x, k: np.tril(x, k), "below")
TRIU = _defined("triu", lambda x, k: np.triu(x, k), "above")


@implements(np.tril)
def tril(x: Any, k: int = 0) -> Tensor:
    """Return the elements on and below the k-th diagonal, zero elsewhere, as `numpy.tril`."""
    return _triangle(TRIL, x, k)


@implements(np.triu)
def triu(x: Any, k: int = 0) -> Tensor:
    """Return the elements on and above the k-th diagonal, zero elsewhere, as `numpy.triu`."""
    return _triangle(TRIU, x, k)


def _half_tril(x: Array) -> Array:
    rows, columns = x.shape[-2:]
    diagonal_too = np.eye(rows, columns, dtype=bool)
    below: Array = np.tril(x)
    return np.where(diagonal_too, below * x.dtype.type(0.5), below)


HALF_TRIL = define(
    Op(
        "half_tril",
        _matrices,
        _half_tril,
        bprop=(lambda g, y, x: half_tril(g),),
        linear="each",
        text="Φ({0})",
        latex=r"\Phi({0})",
        samples=fixed(*(Case((x,)) for x in _CASES)),
        summary="The lower triangle with the diagonal halved: Φ in the derivative of Cholesky.",
    )
)


def half_tril(x: Tensor) -> Tensor:
    """Return the lower triangle of float matrices, with the diagonal halved (Murray 2016, Φ)."""
    return Tensor(apply(HALF_TRIL, (x.node,)))


def eye(n: Any, dtype: object = FLOAT64) -> Tensor:
    """Return the identity matrix of n rows, an integer or a size, as `numpy.eye`."""
    return _diagonal_matrix(ones((n,), dtype))


def _diagonal_matrix(v: Tensor) -> Tensor:
    positions = arange(v.shape[0])
    return scatter_add(v, [positions, positions], 0, (v.shape[0], v.shape[0]))


@implements(np.diag)
def diag(x: Any) -> Tensor:
    """Return the diagonal of a square matrix, or a matrix with a vector as its diagonal."""
    x = as_tensor(x)
    return _diagonal_matrix(x) if x.ndim == 1 else diagonal(x)
