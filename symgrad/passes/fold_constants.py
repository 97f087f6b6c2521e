"""Constant folding: what depends on no input is computed now, when the result is small."""

from __future__ import annotations

import numpy as np

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Size, names_in
from symgrad.passes.rebuild import rebuild
from symgrad.tensor import constant

_LARGEST = 4096
"""Results with more elements stay expressions: a graph is no place for large arrays."""


def fold_constants(graph: Graph) -> Graph:
    """Return ``graph`` with every small expression of constants replaced by its value."""

    def visit(node: Node, _original: Node) -> tuple[Node, str] | None:
        if not node.inputs or any(x.op.name != "constant" for x in node.inputs):
            return None
        size = node.type.size
        if isinstance(size, Size) or size > _LARGEST or names_in(tuple(node.attrs.values())):
            return None
        if node.op.name in ("broadcast_to", "stop_gradient"):
            # A broadcast is already as small as it can be; stop_gradient is read by build_grad.
            return None
        with np.errstate(all="ignore"):
            try:
                value = node.op.reference(*(x.attrs["value"] for x in node.inputs), **node.attrs)
            except (ArithmeticError, IndexError, ValueError):
                # What fails now fails at the call, with the user's line in the error.
                return None
        return constant(value, node.type.dtype).node, f"computed {node.op.name} of constants"

    return rebuild(graph, visit, "fold_constants")
