"""Simplify: identities that make the graph smaller or plainer and change no value.

A rule here holds for every value: infinities, NaN and zeros included (up to rounding where it
joins two roundings into one). Those that hold for finite values only are listed apart, marked,
and off by default.
"""

from __future__ import annotations

from collections.abc import Callable

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Shape, product
from symgrad.ops.shape import broadcast_to, expand_dims, reshape, squeeze, transpose
from symgrad.passes.rebuild import rebuild
from symgrad.passes.rule import Rewriter, rules
from symgrad.tensor import Tensor, constant

RULES = rules("""
    x * 1             -> x
    x / 1             -> x
    x - 0             -> x
    x ** 1            -> x
    x ** 0            -> 1
    x * x             -> x ** 2
    x ** 2 * x        -> x ** 3
    x ** 3 * x        -> x ** 4
    -(-x)             -> x
    x + (-y)          -> x - y
    x - (-y)          -> x + y
    x * (1 / y)       -> x / y
    absolute(-x)      -> absolute(x)
    absolute(absolute(x)) -> absolute(x)
    relu(relu(x))     -> relu(x)
    maximum(x, x)     -> x
    minimum(x, x)     -> x
    where(b, x, x)    -> x
    cos(-x)           -> cos(x)
    logical_not(logical_not(b)) -> b
""")

FINITE_RULES = rules(
    """
    x * 0             -> 0
    0 / x             -> 0
    x - x             -> 0
    x / x             -> 1
    (x / y) * y       -> x
    (x / y) * (y / z) -> x / z
    x / (x / y)       -> y
    (x / y) / x       -> 1 / y
    x / (x * y)       -> 1 / y
    (x * y) / x       -> y
    """,
    finite_only=True,
)

_rewrite = Rewriter(RULES)
_rewrite_finite = Rewriter([*RULES, *FINITE_RULES])


def simplify(graph: Graph, *, finite: bool = False) -> Graph:
    """Return ``graph`` with identities applied, from the inputs to the outputs.

    With ``finite``, also those that fail at infinities and NaN.
    """
    rewrite = _rewrite_finite if finite else _rewrite

    def visit(node: Node, _original: Node) -> tuple[Node, str] | None:
        found = rewrite(node)
        if found is None:
            rule = _implicit_broadcast if node.op.elementwise else _STRUCTURE.get(node.op.name)
            found = rule(node) if rule else None
        if found is None and finite and node.op.name == "sum":
            found = _centred(node)
        return found if found and found[0].type == node.type else None

    return rebuild(graph, visit, "simplify")


def _implicit_broadcast(node: Node) -> tuple[Node, str] | None:
    """Elementwise ops broadcast by themselves: an operand need not be broadcast before."""
    inputs = tuple(_unbroadcast(x) for x in node.inputs)
    if inputs == node.inputs or _joint([x.type.shape for x in inputs]) != node.type.shape:
        return None
    return node.with_inputs(inputs), "broadcast(x) ∘ y -> x ∘ y"


def _unbroadcast(node: Node) -> Node:
    while node.op.name == "broadcast_to" or (
        # New axes in front are what broadcasting adds by itself.
        node.op.name == "expand_dims"
        and (node.attrs["axes"] == tuple(range(len(node.attrs["axes"]))))
    ):
        node = node.inputs[0]
    return node


def _joint(shapes: list[Shape]) -> Shape | None:
    """Return the broadcast shape, or None when two sizes differ."""
    rank = max(map(len, shapes))
    out: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, start=rank - len(shape)):
            if dim == 1 or dim == out[axis]:
                continue
            if out[axis] != 1:
                return None
            out[axis] = dim
    return tuple(out)


def is_outer(node: Node) -> bool:
    """Return whether a product is an outer product a bᵀ of two vectors."""
    a, b = node.inputs
    return a.type.ndim == 2 and a.type.shape[1] == 1 and b.type.ndim == 1


def _squeeze(node: Node) -> tuple[Node, str] | None:
    x = node.inputs[0]
    if x.op.name == "expand_dims" and x.attrs["axes"] == node.attrs["axes"]:
        return x.inputs[0], "squeeze(expand_dims(x)) -> x"
    return None


def _expand_dims(node: Node) -> tuple[Node, str] | None:
    x = node.inputs[0]
    if x.op.name == "squeeze" and x.attrs["axes"] == node.attrs["axes"]:
        return x.inputs[0], "expand_dims(squeeze(x)) -> x"
    return None


def _transpose(node: Node) -> tuple[Node, str] | None:
    x = node.inputs[0]
    if node.type.ndim == 2 and x.op.name == "matmul" and x.inputs[0].type.ndim == 2:
        a, b = (Tensor(operand) for operand in x.inputs)
        return (b.T @ a.T).node, "(A B)ᵀ -> Bᵀ Aᵀ"
    if x.op.name == "multiply" and is_outer(x):
        a, b = (Tensor(operand) for operand in x.inputs)
        return (expand_dims(b, 1) * squeeze(a, 1)).node, "(a bᵀ)ᵀ -> b aᵀ"
    if x.op.name != "transpose":
        return None
    inner, outer = x.attrs["axes"], node.attrs["axes"]
    out = transpose(Tensor(x.inputs[0]), [inner[axis] for axis in outer])
    return out.node, "transpose(transpose(x)) -> transpose(x)"


def _reshape(node: Node) -> tuple[Node, str] | None:
    x = node.inputs[0]
    if x.op.name == "reshape":
        out = reshape(Tensor(x.inputs[0]), node.type.shape)
        return out.node, "reshape(reshape(x)) -> reshape(x)"
    return None


def _broadcast_to(node: Node) -> tuple[Node, str] | None:
    x = node.inputs[0]
    if x.type == node.type:
        return x, "broadcast(x) to its own shape -> x"
    if x.op.name == "broadcast_to" or (x.op.name == "expand_dims" and x.inputs[0].type.ndim == 0):
        out = broadcast_to(Tensor(x.inputs[0]), node.type.shape)
        return out.node, "broadcast(broadcast(x)) -> broadcast(x)"
    return None


def _sum(node: Node) -> tuple[Node, str] | None:
    x = node.inputs[0]
    if x.op.name == "one_hot" and node.attrs["axis"] == (x.type.ndim - 1,):
        # one_hot raises for a label that is no class, so each row has exactly one 1.
        one = broadcast_to(constant(1, node.type.dtype), node.type.shape)
        return one.node, "sum(one_hot(t)) -> 1"
    if x.op.name == "expand_dims" and x.attrs["axes"] == node.attrs["axis"]:
        return x.inputs[0], "sum(expand_dims(x)) -> x"
    return None


def _centred(node: Node) -> tuple[Node, str] | None:
    """What is left of values without their mean has no sum, as far as they are finite."""
    x = node.inputs[0]
    if x.op.name != "subtract":
        return None
    mean = _unbroadcast(x.inputs[1])
    if mean.op.name != "divide" or mean.inputs[0].op.name != "sum":
        return None
    total, count = mean.inputs
    dims = product(x.type.shape[axis] for axis in node.attrs["axis"])
    known = count.attrs["size"] if count.op.name == "size" else scalar_value(count)
    if total.inputs[0] is not x.inputs[0] or total.attrs != node.attrs or known != dims:
        return None
    zero = broadcast_to(constant(0, node.type.dtype), node.type.shape)
    return zero.node, "sum(x - mean(x)) -> 0"


_STRUCTURE: dict[str, Callable[[Node], tuple[Node, str] | None]] = {
    "squeeze": _squeeze,
    "expand_dims": _expand_dims,
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_to": _broadcast_to,
    "sum": _sum,
}
