"""Linear algebra under NumPy's names, as ``sg.linalg``; gradients after Giles (2008).

M. B. Giles: Collected matrix derivative results for forward and reverse mode algorithmic
differentiation, 2008. I. Murray: Differentiation of the Cholesky decomposition, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply, broadcast
from symgrad.ir.node import Node
from symgrad.ir.op import Case, Op, define
from symgrad.ir.origin import here
from symgrad.ir.size import Dim, product
from symgrad.ir.types import Array, TensorType
from symgrad.ops.contract import diagonal, matmul, outer, trace
from symgrad.ops.norms import matrix_norm, norm, vector_norm
from symgrad.ops.reduce import sum_axes
from symgrad.ops.samples import fixed, spread
from symgrad.ops.shape import (
    broadcast_to,
    expand_dims,
    matrix_transpose,
    reshape,
    squeeze,
    sum_to,
)
from symgrad.ops.triangle import eye, half_tril, tril
from symgrad.tensor import Tensor, as_tensor, implements, promoted

__all__ = [
    "cholesky",
    "det",
    "diagonal",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "slogdet",
    "solve",
    "trace",
    "vector_norm",
]


def _rows(call: Call) -> Dim:
    """Return how many rows and columns the first operand has."""
    x = call.types[0]
    if x.ndim < 2:
        call.fail("expected a square matrix, or a stack of them")
    return call.same(x.shape[-2], x.shape[-1], "the numbers of rows and columns")


def _matrix_type(call: Call) -> TensorType:
    n = _rows(call)
    return TensorType(call.one_dtype("f"), (*call.types[0].shape[:-2], n, n))


def _number_type(call: Call) -> TensorType:
    _rows(call)
    return TensorType(call.one_dtype("f"), call.types[0].shape[:-2])


def _cubes(factor: int) -> Any:
    """Return a count of operations: so many times n³ for each matrix of n rows."""

    def flops(node: Node) -> Dim:
        x = node.inputs[0].type
        return product((factor, *x.shape, x.shape[-1]))

    return flops


def _near_identity(*shape: int, scale: float = 0.4) -> Array:
    """Return matrices that are far from singular."""
    return scale * spread(*shape) + np.eye(shape[-1])


_SQUARES = fixed(
    Case((_near_identity(3, 3),)),
    Case((spread(2, 2),)),
    Case((-_near_identity(1, 1),)),
    Case((_near_identity(2, 3, 3),)),
)


# The inverse, and systems of equations

INV = define(
    Op(
        "inv",
        _matrix_type,
        np.linalg.inv,
        bprop=(lambda g, y, a: -(matrix_transpose(y) @ g @ matrix_transpose(y)),),
        jvp=lambda tangents, y, a: -(y @ tangents[0] @ y),
        kernel="np.linalg.inv({0})",
        flops=_cubes(2),
        samples=_SQUARES,
        summary="The inverse of a square matrix, or of each in a stack.",
    )
)


@implements(np.linalg.inv)
def inv(a: Any) -> Tensor:
    """Return the inverse of a square matrix, or of each in a stack, as `numpy.linalg.inv`.

    To multiply by an inverse, `solve` is quicker and more accurate.

    Raises:
        ValueRangeError: at a call, where a matrix is singular.
    """
    return _of_floats(INV, a)


def _solve_type(call: Call) -> TensorType:
    a, b = call.types
    n = _rows(call)
    if b.ndim == 0:
        call.fail("the right side has no axes")
    n = call.same(n, b.shape[-2] if b.ndim > 1 else b.shape[0], "the numbers of rows")
    batch = broadcast(call, [a.shape[:-2], b.shape[:-2]])
    return TensorType(call.one_dtype("f"), (*batch, n, *b.shape[-1:] * (b.ndim > 1)))


def _solved(a: Tensor, b: Tensor, vectors: bool) -> Tensor:
    """Return the solutions for matrices ``b``, or for vectors, which may be a stack of them."""
    if not vectors or b.ndim == 1:
        return Tensor(apply(SOLVE, (a.node, b.node)))
    return squeeze(Tensor(apply(SOLVE, (a.node, expand_dims(b, b.ndim).node))), -1)


def _solve_bprop_matrix(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    right = _solved(matrix_transpose(a), g, b.ndim == 1)
    if b.ndim == 1:
        return sum_to(-(expand_dims(right, right.ndim) * expand_dims(y, y.ndim - 1)), a.shape)
    return sum_to(-(right @ matrix_transpose(y)), a.shape)


def _solve_jvp(tangents: Sequence[Tensor | None], y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    by_a, right = tangents
    if by_a is not None:
        columns = y if b.ndim > 1 else expand_dims(y, y.ndim)
        moved = by_a @ columns
        moved = moved if b.ndim > 1 else squeeze(moved, -1)
        right = -moved if right is None else right - moved
    assert right is not None
    return _solved(a, right, b.ndim == 1)


SOLVE = define(
    Op(
        "solve",
        _solve_type,
        np.linalg.solve,
        bprop=(
            _solve_bprop_matrix,
            lambda g, y, a, b: sum_to(_solved(matrix_transpose(a), g, b.ndim == 1), b.shape),
        ),
        jvp=_solve_jvp,
        kernel="np.linalg.solve({0}, {1})",
        flops=lambda node: _cubes(1)(node) + product((2, *node.type.shape, node.type.shape[-1])),
        samples=fixed(
            Case((_near_identity(3, 3), spread(3))),
            Case((_near_identity(3, 3), spread(3, 2))),
            Case((_near_identity(2, 3, 3), spread(2, 3, 2))),
            Case((_near_identity(2, 3, 3), spread(3, 2))),
            Case((_near_identity(3, 3), spread(2, 3, 1))),
            Case((_near_identity(2, 3, 3), spread(3))),
            Case((spread(1, 1), spread(1))),
        ),
        summary="The x with a x = b, for a vector b or the columns of b.",
    )
)


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Tensor:
    """Return the x with a x = b, as `numpy.linalg.solve`: b is a vector, or has columns.

    Raises:
        ValueRangeError: at a call, where a matrix is singular.
    """
    left, right = promoted("solve", [a, b], floats=True)
    return Tensor(apply(SOLVE, (left.node, right.node)))


# Determinants


def _of_numbers(g: Tensor, a: Tensor) -> Tensor:
    """Return A⁻ᵀ, times a number for each matrix."""
    factor = g if g.ndim == 0 else expand_dims(g, (g.ndim, g.ndim + 1))
    return factor * matrix_transpose(inv(a))


def _slope(tangents: Sequence[Tensor], a: Tensor) -> Tensor:
    """Return tr(A⁻¹ dA), the derivative of log(det(A))."""
    return sum_axes(matrix_transpose(inv(a)) * tangents[0], (a.ndim - 2, a.ndim - 1))


DET = define(
    Op(
        "det",
        _number_type,
        np.linalg.det,
        bprop=(lambda g, y, a: _of_numbers(g * y, a),),
        jvp=lambda tangents, y, a: y * _slope(tangents, a),
        kernel="np.linalg.det({0})",
        flops=_cubes(1),
        latex=r"\det({0})",
        samples=_SQUARES,
        summary="The determinant of a square matrix, or of each in a stack.",
    )
)


@implements(np.linalg.det)
def det(a: Any) -> Tensor:
    """Return the determinant of a square matrix, or of each in a stack, as `numpy.linalg.det`.

    Its gradient, det(A) A⁻ᵀ, is computed with the inverse: for a singular matrix, calls raise
    ValueRangeError.
    """
    return _of_floats(DET, a)


def _log_abs_det(a: Array) -> Any:
    return np.linalg.slogdet(a)[1]


def _log_det(a: Array) -> Any:
    sign, size = np.linalg.slogdet(a)
    return np.where(sign < 0, np.nan, size)


def _logarithm(name: str, reference: Any, kernel: str, text: str, latex: str, summary: str) -> Op:
    return define(
        Op(
            name,
            _number_type,
            reference,
            bprop=(lambda g, y, a: _of_numbers(g, a),),
            jvp=lambda tangents, y, a: _slope(tangents, a),
            kernel=kernel,
            flops=_cubes(1),
            text=text,
            latex=latex,
            samples=_SQUARES if name == "log_abs_det" else fixed(*_POSITIVE),
            summary=summary,
        )
    )


_POSITIVE = (
    Case((_near_identity(3, 3),)),
    Case((_near_identity(1, 1),)),
    Case((_near_identity(2, 3, 3),)),
    Case((np.diag([1.0, -1.0]),), smooth=False),
)

LOG_ABS_DET = _logarithm(
    "log_abs_det",
    _log_abs_det,
    "np.linalg.slogdet({0})[1]",
    "log |det({0})|",
    r"\log\left|\det({0})\right|",
    "The logarithm of the determinant's absolute value; no overflow.",
)
LOG_DET = _logarithm(
    "log_det",
    _log_det,
    "log_det({0})",
    "log det({0})",
    r"\log\det({0})",
    "The logarithm of the determinant, NaN where it is negative; no overflow.",
)
SIGN_DET = define(
    Op(
        "sign_det",
        _number_type,
        lambda a: np.linalg.slogdet(a)[0],
        bprop=(None,),
        kernel="np.linalg.slogdet({0})[0]",
        flops=_cubes(1),
        text="sign(det({0}))",
        latex=r"\operatorname{{sign}}(\det({0}))",
        why_zero="the sign of a determinant is constant between its jumps",
        samples=_SQUARES,
        summary="The sign of the determinant: -1, 0 or 1.",
    )
)


class SlogdetResult(NamedTuple):
    """What `slogdet` returns: det(A) is ``sign * exp(logabsdet)``."""

    sign: Tensor
    logabsdet: Tensor


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    """Return the determinant's sign and the logarithm of its size, as `numpy.linalg.slogdet`."""
    return SlogdetResult(_of_floats(SIGN_DET, a), _of_floats(LOG_ABS_DET, a))


def log_det(a: Tensor) -> Tensor:
    """Return log(det(a)) without overflow; it is NaN where the determinant is negative."""
    return Tensor(apply(LOG_DET, (a.node,)))


def log_abs_det(a: Tensor) -> Tensor:
    """Return log(abs(det(a))) without overflow."""
    return Tensor(apply(LOG_ABS_DET, (a.node,)))


# The Cholesky factor


def _between(left: Tensor, x: Tensor) -> Tensor:
    """Return L⁻ᵀ X L⁻¹."""
    turned = matrix_transpose(left)
    return matrix_transpose(solve(turned, matrix_transpose(solve(turned, x))))


def _cholesky_bprop(g: Tensor, y: Tensor, a: Tensor) -> Tensor:
    # NumPy reads the lower triangle only, as if the matrix were symmetric.
    z = _between(y, half_tril(matrix_transpose(y) @ g))
    return half_tril(z + matrix_transpose(z))


def _cholesky_jvp(tangents: Sequence[Tensor], y: Tensor, a: Tensor) -> Tensor:
    by_a = tril(tangents[0]) + matrix_transpose(tril(tangents[0], -1))
    inner = solve(y, matrix_transpose(solve(y, by_a)))
    return y @ half_tril(inner)


CHOLESKY = define(
    Op(
        "cholesky",
        _matrix_type,
        np.linalg.cholesky,
        bprop=(_cholesky_bprop,),
        jvp=_cholesky_jvp,
        kernel="np.linalg.cholesky({0})",
        flops=_cubes(1),
        text="chol({0})",
        samples=fixed(
            Case((np.array([[2.0, 0.3, -0.4], [0.3, 1.5, 0.2], [-0.4, 0.2, 1.2]]),)),
            Case((np.array([[2.0, 9.0], [-0.7, 1.5]]),)),
            Case((np.array([[2.0]]),)),
            Case((np.stack([np.eye(2) + 0.5, 3 * np.eye(2) - 0.5]),)),
        ),
        summary="The lower triangular L with L Lᵀ = A; only the lower triangle of A is read.",
    )
)


@implements(np.linalg.cholesky)
def cholesky(a: Any) -> Tensor:
    """Return the lower triangular L with L Lᵀ = A, as `numpy.linalg.cholesky`.

    Only the lower triangle of A is read, so the gradient is lower triangular, too: what a symmetric
    matrix contributes above the diagonal is counted below it.

    Raises:
        ValueRangeError: at a call, where a matrix is not positive definite.
    """
    return _of_floats(CHOLESKY, a)


def _of_floats(op: Op, a: Any) -> Tensor:
    [x] = promoted(op.name, [a], floats=True)
    return Tensor(apply(op, (x.node,)))


# Products


def _kron_type(call: Call) -> TensorType:
    a, b = call.types
    if a.ndim != 2 or b.ndim != 2:
        call.fail("expected two matrices")
    shape = (a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])
    return TensorType(call.one_dtype("fi"), shape)


def _kron_blocks(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the blocks of a Kronecker product: axes are those of a, each before that of b."""
    return reshape(g, (a.shape[0], b.shape[0], a.shape[1], b.shape[1]))


KRON = define(
    Op(
        "kron",
        _kron_type,
        np.kron,
        bprop=(
            lambda g, y, a, b: sum_axes(_kron_blocks(g, a, b) * expand_dims(b, (0, 2)), (1, 3)),
            lambda g, y, a, b: sum_axes(_kron_blocks(g, a, b) * expand_dims(a, (1, 3)), (0, 2)),
        ),
        linear="each",
        text="{0} ⊗ {1}",
        latex=r"{0} \otimes {1}",
        flops=lambda node: product(node.type.shape),
        samples=fixed(
            Case((spread(2, 3), spread(3, 2))),
            Case((spread(1, 2), spread(2, 1))),
            Case((spread(2, 2), spread(2, 2))),
        ),
        summary="The Kronecker product: the second matrix times each element of the first.",
    )
)


@implements(np.kron)
def kron(a: Any, b: Any) -> Tensor:
    """Return the Kronecker product, as `numpy.kron` for two vectors or two matrices."""
    left, right = promoted("kron", [a, b])
    if left.ndim == right.ndim == 1:
        return reshape(outer(left, right), (left.shape[0] * right.shape[0],))
    return Tensor(apply(KRON, (left.node, right.node)))


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any]) -> Tensor:
    """Return the product of matrices, as `numpy.linalg.multi_dot`; the order is chosen for you."""
    if not arrays:
        raise errors.ArgumentError(errors.worded("multi_dot: no matrices", made_at=here()))
    found = as_tensor(arrays[0])
    for array in arrays[1:]:
        found = matmul(found, array)
    return found


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Tensor:
    """Return a square matrix multiplied by itself n times, as `numpy.linalg.matrix_power`.

    A negative n takes powers of the inverse. Products are found by repeated squaring.
    """
    x = as_tensor(a)
    if x.ndim < 2:
        raise errors.ShapeError(errors.worded(f"matrix_power: {x!r} is no matrix", made_at=here()))
    if n < 0:
        return matrix_power(inv(x), -n)
    if n == 0:
        _rows(Call(INV, (x.node,), {}))
        return broadcast_to(eye(x.shape[-1], x.dtype), x.shape)
    found: Tensor | None = None
    while n:
        if n & 1:
            found = x if found is None else matmul(found, x)
        n >>= 1
        x = matmul(x, x) if n else x
    assert found is not None
    return found
