"""Common-subexpression elimination: nodes with one meaning become one node.

The op, its attributes and its (already merged) inputs are the meaning; constants are compared
by dtype and bits, and the inputs of a commutative op in either order.
"""

from __future__ import annotations

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, meaning
from symgrad.passes.rebuild import rebuild


def cse(graph: Graph, keep: frozenset[Node] = frozenset()) -> Graph:
    """Return ``graph`` with each value computed once.

    Nodes in ``keep`` are not merged: a gradient by one of two equal values is not that by both.
    """
    known: dict[tuple[object, ...], Node] = {}

    def visit(node: Node, original: Node) -> tuple[Node, str] | None:
        if original in keep:
            return None
        key = meaning(node)
        if node.op.commutative:
            key = (*key[:-1], tuple(sorted(x.number for x in node.inputs)))
        first = known.setdefault(key, node)
        return None if first is node else (first, _action(first, node))

    return rebuild(graph, visit, "cse")


def _action(first: Node, second: Node) -> str:
    kinds = {True: "gradient", False: "forward"}
    a, b = (kinds[node.origin.gradient_of is not None] for node in (first, second))
    return f"merged {first.op.name} ({a} with {b})"
