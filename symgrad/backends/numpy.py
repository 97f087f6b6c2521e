"""The reference backend: each node by its op's own meaning in NumPy, in order. The oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import evaluate
from symgrad.ir.types import Array


class NumpyProgram:
    """A graph as a list of steps; each value is dropped after its last use.

    Args:
        graph: Any graph.
        updates: Inputs that are overwritten, each with the output that it then holds.
    """

    fast = None

    def __init__(self, graph: Graph, updates: Mapping[Node, Node] | None = None):
        position = {node: i for i, node in enumerate(graph.nodes)}
        self.count = len(graph.nodes)
        self.inputs = [position[node] for node in graph.inputs]
        self.outputs = [position[node] for node in graph.outputs]
        self.updated = [
            (graph.inputs.index(x), graph.outputs.index(node))
            for x, node in (updates or {}).items()
        ]
        self.steps = [
            (i, node, [position[x] for x in node.inputs])
            for i, node in enumerate(graph.nodes)
            if not node.is_input
        ]
        last_use = {slot: i for i, _, operands in self.steps for slot in operands}
        kept = {*self.outputs, *self.inputs}
        self.dying: dict[int, list[int]] = {}
        for slot, at in last_use.items():
            if slot not in kept:
                self.dying.setdefault(at, []).append(slot)

    def ready(self) -> None:
        """Do nothing: there is nothing to wait for."""

    def run(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
        """Return fresh outputs, computing each node by its op's reference."""
        values: list[Any] = [None] * self.count
        for slot, array in zip(self.inputs, arrays, strict=True):
            values[slot] = array
        with np.errstate(all="ignore"):
            for slot, node, operands in self.steps:
                values[slot] = _value(node, [values[i] for i in operands], sizes)
                for dead in self.dying.get(slot, ()):
                    values[dead] = None
        results = [_fresh(values[slot]) for slot in self.outputs]
        if not self.updated:
            return results
        for given, result in self.updated:
            arrays[given][...] = results[result]
        written = {self.outputs[result] for _, result in self.updated}
        pairs = zip(self.outputs, results, strict=True)
        return [value for slot, value in pairs if slot not in written]


def _value(node: Node, inputs: list[Array], sizes: Mapping[str, int]) -> Array:
    attrs = {key: evaluate(value, sizes) for key, value in node.attrs.items()}
    try:
        out = np.asarray(node.op.reference(*inputs, **attrs))
    except (IndexError, np.linalg.LinAlgError) as error:
        names = ", ".join(str(x.name) if x.is_input else x.op.name for x in node.inputs)
        raise errors.ValueRangeError(
            errors.worded(f"{node.op.name}({names}): {error}", made_at=node.origin)
        ) from None
    return out if out.dtype == node.type.dtype else out.astype(node.type.dtype)


def _fresh(value: Array) -> Array:
    """Return a copy that the caller owns: a result may be an input, a constant or a view."""
    return np.array(value, order="C", copy=True)[()]
