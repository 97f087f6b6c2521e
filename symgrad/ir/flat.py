"""Nodes as a flat list of records, the form in which graphs are pickled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.ir.node import Node
from symgrad.ir.op import Op
from symgrad.ir.origin import Origin
from symgrad.ir.types import TensorType
from symgrad.ir.walk import reachable

Record = tuple[Op, tuple[int, ...], dict[str, Any], TensorType, Origin, "int | None"]
Flat = tuple[list[Record], list[int]]
"""Records in topological order, inputs by position; and the positions of the roots."""


def flatten(roots: Sequence[Node]) -> Flat:
    """Return everything that ``roots`` reach, as records, and what it is the gradient of."""
    nodes = reachable(roots)
    while True:
        # A gradient is known by what it is the gradient of, which no output need reach.
        of = {node.origin.gradient_of for node in nodes if node.origin.gradient_of is not None}
        if of <= set(nodes):
            break
        nodes = reachable({*nodes, *of})
    position = {node: i for i, node in enumerate(nodes)}
    records: list[Record] = [
        (
            node.op,
            tuple(position[x] for x in node.inputs),
            dict(node.attrs),
            node.type,
            node.origin,
            position.get(node.origin.gradient_of) if node.origin.gradient_of else None,
        )
        for node in nodes
    ]
    return records, [position[root] for root in roots]


def restore(flat: Flat) -> list[Node]:
    """Return fresh nodes for the roots of ``flat``."""
    records, roots = flat
    nodes: list[Node] = []
    for op, inputs, attrs, type_, origin, gradient_of in records:
        if gradient_of is not None:
            origin = origin.backward(nodes[gradient_of])
        nodes.append(Node(op, tuple(nodes[i] for i in inputs), attrs, type_, origin))
    return [nodes[i] for i in roots]


def restore_one(flat: Flat) -> Node:
    """Return a fresh node for the one root of ``flat``."""
    return restore(flat)[0]
