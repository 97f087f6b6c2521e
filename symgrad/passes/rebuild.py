"""The one driver behind all passes: a forward sweep that rebuilds a graph node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set

from symgrad.ir.cost import operations
from symgrad.ir.graph import Entry, Graph
from symgrad.ir.node import Node
from symgrad.ir.origin import following
from symgrad.ir.size import Dim

Visit = Callable[[Node, Node], "tuple[Node, str] | None"]
"""From a node on rebuilt inputs (and the node it was) to its replacement and what was done."""

_PLACES = 3
"""The ledger names at most this many places for one action."""


class Ledger:
    """What a pass did: each action with its count and the first places where it did it."""

    def __init__(self, stage: str):
        self.stage = stage
        self.counts: Counter[str] = Counter()
        self.places: dict[str, list[str]] = {}
        self.saved: dict[str, Dim] = {}

    def note(self, action: str, node: Node, other: Node, saved: Dim = 0) -> None:
        """Add one occurrence of ``action``, which put ``other`` in the place of ``node``."""
        self.counts[action] += 1
        self.saved[action] = self.saved.get(action, 0) + saved
        known = self.places.setdefault(action, [])
        if len(known) < _PLACES:
            place, where = node.origin.place, other.origin.place
            text = place if place == where else f"{place} with {where}"
            known += [text] * (text not in known)

    def entries(self) -> list[Entry]:
        """Return one entry per action, most frequent first."""
        return [
            Entry(self.stage, action, tuple(self.places[action]), count, self.saved[action])
            for action, count in self.counts.most_common()
        ]


def rebuild(graph: Graph, visit: Visit, stage: str, ledger: Ledger | None = None) -> Graph:
    """Return ``graph`` with every node replaced by what ``visit`` makes of it.

    Inputs are rebuilt before the nodes that use them, so ``visit`` sees each node on its new
    inputs and decides locally. A replacement has the origin of the node it replaces. Nodes
    below which nothing changed stay themselves.
    """
    ledger = ledger or Ledger(stage)
    image: dict[Node, Node] = {}
    made: set[Node] = set()
    with following() as set_origin:
        for node in graph.nodes:
            moved = node.with_inputs(tuple([image[x] for x in node.inputs]))
            set_origin(node.origin)
            replacement = visit(moved, node)
            if replacement is None:
                image[node] = moved
                made.add(moved)
                continue
            image[node], action = replacement
            ledger.note(action, node, image[node], _saved(moved, image[node], made))
            made.add(image[node])
    before = graph.provenance or {node: node for node in graph.nodes}
    return graph.replaced(
        [image[node] for node in graph.outputs],
        ledger=ledger.entries(),
        provenance={source: image.get(node, node) for source, node in before.items()},
    )


def _saved(node: Node, replacement: Node, known: Set[Node]) -> Dim:
    """Return how many operations fewer a replacement takes; what is known is there anyway."""
    saved = operations(node)
    new, stack = set(), [replacement]
    while stack:
        x = stack.pop()
        if x in known or x in new or x.number <= node.number:
            continue
        new.add(x)
        saved = saved - operations(x)
        stack += x.inputs
    return saved
