"""Sums that BLAS adds to what is there already: ``C <- α A B + β C`` without a temporary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.walk import consumers


@dataclass(frozen=True, slots=True)
class Accumulation:
    """A node that is ``± alpha product + beta base``, with ``base`` in its own memory.

    Attributes:
        product: The matrix product.
        alpha: A scalar factor of the product, if any.
        negative: Whether the product is subtracted.
        base: What it is added to.
        beta: A scalar factor of the base, if any.
    """

    product: Node
    alpha: Node | None
    negative: bool
    base: Node
    beta: Node | None


def accumulations(graph: Graph, in_place: Mapping[Node, Node]) -> dict[Node, Accumulation]:
    """Return the sums in ``graph`` that are best computed by adding a product in place.

    They are those whose base is the input that the result replaces, or another product that
    nothing else needs.
    """
    users = consumers(graph.nodes)
    outputs = set(graph.outputs)

    def own(node: Node) -> bool:
        return len(users[node]) == 1 and node not in outputs

    found: dict[Node, Accumulation] = {}
    for node in graph.nodes:
        if node.op.name not in ("add", "subtract") or not node.type.is_float:
            continue
        left, right = node.inputs
        pairs = [(right, left)] if node.op.name == "subtract" else [(right, left), (left, right)]
        for term, rest in pairs:
            product, alpha = _scaled(term, own)
            base, beta = _scaled(rest, own)
            if product.op.name != "matmul" or not own(product) or product.type != node.type:
                continue
            updated = in_place.get(node) is base and base is not None
            joined = own(base) and (base.op.name == "matmul" or base in found)
            if base.type == node.type and node.type.ndim == 2 and (updated or joined):
                negative = node.op.name == "subtract"
                found[node] = Accumulation(product, alpha, negative, base, beta)
                break
    return found


def _scaled(node: Node, own: Callable[[Node], bool]) -> tuple[Node, Node | None]:
    """Return a node without a scalar factor that is its own, and that factor."""
    if node.op.name == "multiply" and own(node):
        a, b = node.inputs
        if not a.type.shape and b.type == node.type:
            return b, a
        if not b.type.shape and a.type == node.type:
            return a, b
    return node, None
