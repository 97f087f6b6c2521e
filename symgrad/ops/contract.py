"""Contractions: matrix products and what is built on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply, broadcast
from symgrad.ir.op import Case, Op, define
from symgrad.ir.origin import here
from symgrad.ir.size import product
from symgrad.ir.types import TensorType
from symgrad.ops.index import gather
from symgrad.ops.leaves import arange
from symgrad.ops.reduce import sum, sum_axes
from symgrad.ops.samples import fixed, spread
from symgrad.ops.shape import expand_dims, matrix_transpose, ravel, sum_to, swapaxes
from symgrad.tensor import Tensor, as_tensor, implements, promoted


def _matmul_type(call: Call) -> TensorType:
    a, b = call.types
    if a.ndim == 0 or b.ndim == 0:
        call.fail("an operand has no axes", "multiply by a number with *")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    call.same(a.shape[-1], inner, "inner sizes")
    batch = broadcast(call, [a.shape[:-2], b.shape[:-2]])
    return TensorType(call.one_dtype("fi"), batch + a.shape[-2:-1] + b.shape[-1:] * (b.ndim > 1))


def _left_bprop(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    if b.ndim == 1:
        return sum_to((g if a.ndim == 1 else expand_dims(g, g.ndim)) * b, a.shape)
    if a.ndim == 1:
        return sum_to(matmul(b, expand_dims(g, g.ndim))[..., 0], a.shape)
    return sum_to(matmul(g, matrix_transpose(b)), a.shape)


def _right_bprop(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    if a.ndim == 1:
        column = a if b.ndim == 1 else expand_dims(a, 1)
        return sum_to(column * (g if b.ndim == 1 else expand_dims(g, g.ndim - 1)), b.shape)
    if b.ndim == 1 and a.ndim == 2:
        return matmul(matrix_transpose(a), g)
    if b.ndim == 1:
        rows = expand_dims(g, g.ndim) * a
        return sum_axes(rows, tuple(range(rows.ndim - 1)))
    return sum_to(matmul(matrix_transpose(a), g), b.shape)


MATMUL = define(
    Op(
        "matmul",
        _matmul_type,
        np.matmul,
        bprop=(_left_bprop, _right_bprop),
        linear="each",
        flops=lambda node: product((2, *node.type.shape, node.inputs[0].type.shape[-1])),
        samples=fixed(
            Case((spread(3, 4), spread(4, 2))),
            Case((spread(4), spread(4))),
            Case((spread(3, 4), spread(4))),
            Case((spread(4), spread(4, 2))),
            Case((spread(2, 3, 4), spread(2, 4, 2))),
            Case((spread(2, 3, 4), spread(4, 2))),
            Case((spread(3, 4), spread(2, 4, 2))),
            Case((spread(2, 3, 4), spread(4))),
            Case((spread(4), spread(2, 4, 3))),
            Case((spread(2, 1, 3, 4), spread(5, 4, 2))),
        ),
        summary="The matrix product, batched over leading axes, as numpy.matmul.",
    )
)


@implements(np.matmul)
def matmul(a: Any, b: Any) -> Tensor:
    """Return the matrix product, as `numpy.matmul`: vectors, matrices, and stacks of them."""
    left, right = promoted("matmul", [a, b])
    return Tensor(apply(MATMUL, (left.node, right.node)))


@implements(np.dot)
def dot(a: Any, b: Any) -> Tensor:
    """Return the product, as `numpy.dot` for operands of at most two axes."""
    left, right = as_tensor(a), as_tensor(b)
    if left.ndim == 0 or right.ndim == 0:
        return left * right
    if left.ndim > 2 or right.ndim > 2:
        raise errors.UnsupportedError(
            errors.worded(
                f"dot: {left.type} and {right.type} have more than two axes",
                made_at=here(),
                fix="use np.matmul, which multiplies stacks of matrices",
            )
        )
    return matmul(left, right)


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Tensor:
    """Return the sum of products of all elements, as `numpy.vdot`."""
    return matmul(ravel(a), ravel(b))


@implements(np.inner)
def inner(a: Any, b: Any) -> Tensor:
    """Return sums of products over the last axes, as `numpy.inner` for at most two axes."""
    left, right = as_tensor(a), as_tensor(b)
    return dot(left, right if right.ndim < 2 else swapaxes(right, 0, 1))


@implements(np.outer)
def outer(a: Any, b: Any) -> Tensor:
    """Return all products of two vectors, as `numpy.outer`."""
    return expand_dims(ravel(a), 1) * ravel(b)


@implements(np.trace)
def trace(x: Any) -> Tensor:
    """Return the sum of the diagonal of a square matrix, as `numpy.trace`."""
    return sum(diagonal(x))


@implements(np.diagonal)
def diagonal(x: Any) -> Tensor:
    """Return the diagonal of a square matrix, as `numpy.diagonal`."""
    x = as_tensor(x)
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise errors.ShapeError(
            errors.worded(f"diagonal: {x!r} is not a square matrix", made_at=here())
        )
    positions = arange(x.shape[0])
    return gather(x, [positions, positions], 0)
