"""An optimised graph as loops: what both the compiled kernels and the written module are."""

from __future__ import annotations

from collections.abc import Mapping

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Size
from symgrad.lower.emit import emit
from symgrad.lower.source import Source
from symgrad.passes.cse import cse
from symgrad.passes.expand import expand
from symgrad.tensor import Tensor, constant


def lowered(
    graph: Graph,
    name: str = "kernel",
    updates: Mapping[Node, Node] | None = None,
    blas: bool = True,
    fuse: bool = True,
    rows: Size | None = None,
) -> Source:
    """Return the loops that compute an optimised graph, as the source of a function.

    Args:
        graph: An optimised graph.
        name: What the function is called.
        updates: Inputs that are overwritten, each with the output that it then holds.
        blas: Whether larger matrix products are left to BLAS.
        fuse: Whether values over one index space share a loop.
        rows: The size that counts rows, for a function that computes only some of them: those
            from its last input but one up to its last.
    """
    simple = expanded(graph, blas)
    moved = dict(zip(graph.outputs, simple.outputs, strict=True))
    replaced = {x: moved[n] for x, n in (updates or {}).items()}
    # A view is not memory of its own.
    own = {n: copied(n) for x, n in replaced.items() if _is_view(n) and n is not x}
    if own:
        simple = simple.replaced([own.get(n, n) for n in simple.outputs])
    return emit(simple, name, {x: own.get(n, n) for x, n in replaced.items()}, fuse, rows)


def expanded(graph: Graph, blas: bool = True) -> Graph:
    """Return a graph of what loops are made of; for ``blas`` see `lowered`."""
    return cse(expand(graph, blas))


def _is_view(node: Node) -> bool:
    return node.op.name in ("input", "reshape")


def copied(node: Node) -> Node:
    """Return the same values as a node that is computed: they get memory of their own."""
    x = Tensor(node)
    return (x * constant(1, x.dtype)).node
