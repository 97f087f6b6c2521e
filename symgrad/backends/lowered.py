"""An optimised graph as loops: what both the compiled kernels and the written module are."""

from __future__ import annotations

from symgrad.ir.graph import Graph
from symgrad.lower.emit import Source, emit
from symgrad.passes.cse import cse
from symgrad.passes.expand import expand


def lowered(graph: Graph, name: str = "kernel") -> Source:
    """Return the loops that compute an optimised graph, as the source of a function."""
    return emit(cse(expand(graph)), name)
