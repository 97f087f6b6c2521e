"""The pipeline: one literal list of passes, applied in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from symgrad.errors import ArgumentError
from symgrad.ir.graph import NODES_REMOVED, Entry, Graph, verify
from symgrad.ir.node import Node
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


def optimize(
    graph: Graph, *, without: Iterable[str] = (), finite: bool = False, check: bool = False
) -> Graph:
    """Return a smaller graph that computes the same values.

    Args:
        graph: Any graph.
        without: Names of passes to leave out.
        finite: Whether to apply rules, too, that hold for finite values only (x - x is 0).
        check: Whether to verify the graph after each pass and name the one that broke it.

    Returns:
        A graph whose ``ledger`` says what each pass did, and whose ``provenance`` maps nodes of
        ``graph`` to the nodes that compute the same values now, if an output still needs them.

    Raises:
        ArgumentError: if there is no pass of a name in ``without``.
        GraphError: with ``check``, if a pass breaks the graph.
    """
    skipped = {without} if isinstance(without, str) else set(without)
    unknown = sorted(skipped - set(NAMES))
    if unknown:
        raise ArgumentError(f"no pass is called {unknown[0]!r}; there are: {', '.join(NAMES)}")
    start = graph.replaced(graph.outputs, provenance={node: node for node in graph.nodes})
    idle: dict[str, tuple[Node, ...]] = {}
    for stage in PIPELINE:
        name = stage.__name__
        if name in skipped or idle.get(name) == start.outputs:
            # It changed nothing the last time, and nothing has changed since.
            continue
        run = partial(simplify, finite=True) if finite and stage is simplify else stage
        before, start = start, run(start)
        if start.outputs == before.outputs:
            idle[name] = before.outputs
        if len(start) != len(before):
            # Negative where a pass needs more nodes than it saves.
            removed = Entry(name, NODES_REMOVED, (), len(before) - len(start))
            start = start.replaced(start.outputs, ledger=[removed])
        if check:
            verify(start, name)
    return start
