"""Forward mode: tangents pushed through the graph, node by node (dual numbers, as a graph)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add

from symgrad.autodiff.reverse import differentiable, scaled
from symgrad.ir.call import apply
from symgrad.ir.node import Node
from symgrad.ir.origin import using
from symgrad.ir.walk import reachable
from symgrad.ops.shape import broadcast_to, zeros_like
from symgrad.tensor import Tensor


def push_forward(outputs: list[Node], seeds: Mapping[Node, Node]) -> dict[Node, Node]:
    """Return the tangent of every node that depends on a seeded one, the seeds included."""
    tangents = dict(seeds)
    for node in reachable(outputs):
        if node in tangents:
            continue
        given = [
            tangents.get(x) if differentiable(node, i) else None for i, x in enumerate(node.inputs)
        ]
        if any(t is not None for t in given):
            with using(node.origin.backward(node)):
                tangents[node] = _jvp(node, given).node
    return tangents


def _jvp(node: Node, given: list[Node | None]) -> Tensor:
    op, y = node.op, Tensor(node)
    inputs = [Tensor(x) for x in node.inputs]
    tangents = [None if t is None else Tensor(t) for t in given]
    if op.jvp is not None:
        result: Tensor = op.jvp(tangents, y, *inputs, **node.attrs)
        return result
    if op.linear == "jointly":
        full = [zeros_like(x) if t is None else t for x, t in zip(inputs, tangents, strict=True)]
        return Tensor(apply(op, [t.node for t in full], node.attrs))
    if op.linear == "each":
        return reduce(add, (_replaced(node, i, t) for i, t in enumerate(given) if t is not None))
    terms = [
        scaled(t, partial(y, *inputs))
        for t, partial in zip(tangents, op.partials, strict=True)
        if t is not None and partial is not None
    ]
    return broadcast_to(reduce(add, terms), y.shape)


def _replaced(node: Node, position: int, tangent: Node) -> Tensor:
    inputs = list(node.inputs)
    inputs[position] = tangent
    return Tensor(apply(node.op, inputs, node.attrs))
