"""Prune: forget what no output needs. A graph holds only what its outputs reach, so this counts."""

from __future__ import annotations

from symgrad.ir.graph import Entry, Graph


def prune(graph: Graph) -> Graph:
    """Return ``graph`` after writing to the ledger which nodes no output reaches any more."""
    alive = set(graph.nodes)
    dropped = [source for source, image in graph.provenance.items() if image not in alive]
    if not dropped:
        return graph
    places = tuple(dict.fromkeys(node.origin.place for node in dropped))[:3]
    entry = Entry("prune", "dropped, needed by no output", places, len(dropped))
    return graph.replaced(graph.outputs, ledger=[entry])
