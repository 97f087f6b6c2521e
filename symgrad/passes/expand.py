"""Expand: ops with a stable form of their own become the simple loops that compute it.

Done only when lowering, after differentiation and printing, which want the ops as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Shape, product
from symgrad.ops import elementwise as ew
from symgrad.ops.contract import matmul
from symgrad.ops.leaves import arange
from symgrad.ops.reduce import max, prod_others, sum_axes
from symgrad.ops.shape import expand_dims, reshape, transpose
from symgrad.passes.rebuild import rebuild
from symgrad.tensor import Tensor, constant

_LARGEST_POWER = 8
_LARGEST_LOOP = 32
"""Matrices are multiplied in plain loops if all their sizes but one make at most this."""


def expand(graph: Graph, blas: bool = True) -> Graph:
    """Return ``graph`` with composite ops written out.

    Args:
        graph: An optimised graph.
        blas: Whether larger matrix products are left to BLAS, or all written out as well.
    """
    largest = _LARGEST_LOOP if blas else math.inf

    def visit(node: Node, _original: Node) -> tuple[Node, str] | None:
        if node.op.name == "matmul":
            result = _matmul(node, largest)
        else:
            rule = _RULES.get(node.op.name)
            result = rule(node) if rule else None
        return None if result is None else (result.node, f"wrote out {node.op.name}")

    return rebuild(graph, visit, "expand")


def _shifted(node: Node) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Return x minus its maximum, that maximum (0 where it is infinite), and the axes."""
    x, axes = Tensor(node.inputs[0]), node.attrs["axis"]
    if 0 in [x.shape[axis] for axis in axes]:
        # There is nothing to subtract from, and no maximum.
        nothing = expand_dims(sum_axes(x, axes), axes)
        return x - nothing, nothing, axes
    top = max(x, axes, keepdims=True)
    finite = ew.where(ew.isinf(top), constant(0, x.dtype), top)
    return x - finite, finite, axes


def _softmax(node: Node) -> Tensor:
    shifted, _, axes = _shifted(node)
    e = ew.exp(shifted)
    return e / expand_dims(sum_axes(e, axes), axes)


def _log_softmax(node: Node) -> Tensor:
    shifted, _, axes = _shifted(node)
    return shifted - ew.log(expand_dims(sum_axes(ew.exp(shifted), axes), axes))


def _logsumexp(node: Node) -> Tensor:
    shifted, top, axes = _shifted(node)
    total = sum_axes(ew.exp(shifted), axes)
    return ew.log(total) + reshape(top, total.shape)


def _power(node: Node) -> Tensor | None:
    """Write small integer powers as products: x ** 4 is (x * x) * (x * x)."""
    x, exponent = Tensor(node.inputs[0]), scalar_value(node.inputs[1])
    if exponent is None or not float(exponent).is_integer() or x.shape != node.type.shape:
        return None
    count = int(abs(exponent))
    if not 0 < count <= _LARGEST_POWER or (exponent < 0 and not x.type.is_float):
        return None
    out, square = None, x
    while count:
        if count & 1:
            out = square if out is None else out * square
        count >>= 1
        square = square * square if count else square
    assert out is not None
    return out if exponent > 0 else 1 / out


def _matmul(node: Node, largest: float) -> Tensor | None:
    """Write products that BLAS does not have, or is slow for, as sums of products."""
    a, b = (Tensor(x) for x in node.inputs)
    if a.ndim > 1 and b.ndim > 1 and a.shape[-1] == 1:
        return a * b
    if node.type.is_float:
        if a.ndim > 2 and b.ndim <= 2:
            # One product of all rows, not one for each matrix of the stack.
            return reshape(matmul(_rows(a), b), node.type.shape)
        if not _is_small(a.shape, b.shape, largest):
            return None
    if node.inputs[0].op.name == "transpose" and a.ndim == 2:
        # The rows of what is transposed lie in one piece: go along them, adding up the products.
        rows = transpose(a, (1, 0))
        other = expand_dims(b, 1)
        terms, axis = (expand_dims(rows, 2) if b.ndim > 1 else rows) * other, 0
    else:
        left = expand_dims(a, a.ndim) if b.ndim > 1 else a
        right = b if b.ndim == 1 else expand_dims(b, b.ndim - 2) if a.ndim > 1 else b
        terms = left * right
        axis = terms.ndim - (1 if b.ndim == 1 else 2)
    return sum_axes(terms, (axis,)).astype(node.type.dtype)


def _sum(node: Node) -> Tensor | None:
    """Write a sum of products over a stack as one product of all rows: Σ Aᵀ B over the stack."""
    product_ = node.inputs[0]
    if product_.op.name != "matmul" or not product_.type.is_float:
        return None
    a, b = product_.inputs
    stack = product_.type.shape[:-2]
    alike = stack and a.type.shape[:-2] == stack == b.type.shape[:-2]
    if not alike or a.op.name != "transpose" or node.attrs["axis"] != tuple(range(len(stack))):
        return None
    if a.attrs["axes"] != (*range(len(stack)), a.type.ndim - 1, a.type.ndim - 2):
        return None
    rows = _rows(Tensor(a.inputs[0]))
    return matmul(transpose(rows, (1, 0)), _rows(Tensor(b)))


def _rows(x: Tensor) -> Tensor:
    """Return a stack of matrices as one matrix of all their rows."""
    return reshape(x, (product(x.shape[:-1]), x.shape[-1]))


def _is_small(a: Shape, b: Shape, largest: float) -> bool:
    """Return whether a product is of vectors, or an outer one, or too small for a call of BLAS."""
    if len(a) == 1 and len(b) == 1:
        return True
    if len(a) > 2 or len(b) > 2:
        return len(a) > 1 and len(b) > 1 and a[-1] == 1
    sizes = {*a, *b}
    known = [size for size in sizes if isinstance(size, int)]
    return a[-1] == 1 or (len(sizes) - len(known) <= 1 and math.prod(known) <= largest)


def _prod_others(node: Node) -> Tensor | None:
    """Bring the axes to the end and join them, as the kernel wants rows."""
    axes: tuple[int, ...] = node.attrs["axis"]
    shape = node.type.shape
    if len(shape) == 2 and axes == (1,):
        return None
    kept = [i for i in range(len(shape)) if i not in axes]
    order = [*kept, *axes]
    rows, width = product(shape[i] for i in kept), product(shape[i] for i in axes)

    def flat(x: Node) -> Tensor:
        return reshape(transpose(Tensor(x), order), (rows, width))

    out = prod_others(*[flat(x) for x in node.inputs], axis=(1,))
    moved = reshape(out, tuple(shape[i] for i in order))
    return transpose(moved, _inverse(order))


def _offsets(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of the rows, as a column, and of the columns of matrices."""
    return expand_dims(arange(x.shape[-2]), 1), arange(x.shape[-1])


def _triangle(node: Node) -> Tensor:
    x = Tensor(node.inputs[0])
    rows, columns = _offsets(x)
    diagonal = rows + node.attrs["k"]
    inside = columns <= diagonal if node.op.name == "tril" else columns >= diagonal
    return ew.where(inside, x, constant(0, x.dtype))


def _half_tril(node: Node) -> Tensor:
    x = Tensor(node.inputs[0])
    rows, columns = _offsets(x)
    zero, half = constant(0, x.dtype), constant(0.5, x.dtype)
    return ew.where(columns < rows, x, ew.where(ew.equal(columns, rows), x * half, zero))


def _kron(node: Node) -> Tensor:
    a, b = (Tensor(x) for x in node.inputs)
    blocks = expand_dims(a, (1, 3)) * expand_dims(b, (0, 2))
    return reshape(blocks, node.type.shape)


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(i) for i in range(len(order))]


def _stop_gradient(node: Node) -> Tensor:
    return Tensor(node.inputs[0])


_RULES: dict[str, Callable[[Node], Tensor | None]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "power": _power,
    "sum": _sum,
    "tril": _triangle,
    "triu": _triangle,
    "half_tril": _half_tril,
    "kron": _kron,
    "prod_others": _prod_others,
    "stop_gradient": _stop_gradient,
}
