"""The pipeline: one literal list of passes, applied in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from symgrad.errors import ArgumentError
from symgrad.ir.graph import Graph, verify
from symgrad.passes.cse import cse
from symgrad.passes.factor import factor
from symgrad.passes.fold_constants import fold_constants
from symgrad.passes.prune import prune
from symgrad.passes.simplify import simplify
from symgrad.passes.stabilize import stabilize

Pass = Callable[[Graph], Graph]

PIPELINE: list[Pass] = [
    cse,
    fold_constants,
    simplify,
    stabilize,
    factor,
    fold_constants,
    simplify,
    factor,
    simplify,
    cse,
    factor,
    fold_constants,
    simplify,
    cse,
    prune,
]

NAMES = tuple(dict.fromkeys(stage.__name__ for stage in PIPELINE))


def optimize(graph: Graph, *, without: Iterable[str] = (), check: bool = False) -> Graph:
    """Return a smaller graph that computes the same values.

    Args:
        graph: Any graph.
        without: Names of passes to leave out.
        check: Whether to verify the graph after each pass and name the one that broke it.

    Returns:
        A graph whose ``ledger`` says what each pass did, and whose ``provenance`` maps nodes of
        ``graph`` to the nodes that compute the same values now.

    Raises:
        ArgumentError: if there is no pass of a name in ``without``.
        GraphError: with ``check``, if a pass breaks the graph.
    """
    skipped = {without} if isinstance(without, str) else set(without)
    unknown = sorted(skipped - set(NAMES))
    if unknown:
        raise ArgumentError(f"no pass is called {unknown[0]!r}; there are: {', '.join(NAMES)}")
    start = graph.replaced(graph.outputs, provenance={node: node for node in graph.nodes})
    for stage in PIPELINE:
        if stage.__name__ not in skipped:
            start = stage(start)
            if check:
                verify(start, stage.__name__)
    return start
