"""Programs that compute some of their rows, and see all: which schedules can be run so.

The arguments are all there, so any of their rows may be read. What is computed and stored is there
for the rows in question only: it must belong to one row, and be read in that row.
"""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.ir.node import Node
from symgrad.ir.size import Dim, Size, names_in
from symgrad.lower.access import REDUCTIONS, identity
from symgrad.lower.reduction import outer_depth
from symgrad.lower.schedule import Nest, Schedule


def can_be_parted(plan: Schedule, rows: Size) -> bool:
    """Return whether a program can compute some of its rows; ``rows`` is their size."""
    return all(_nest_can(plan, nest, rows) for nest in plan.nests)


def _nest_can(plan: Schedule, nest: Nest, rows: Size) -> bool:
    axes = _row_axes(nest.space, rows)
    if axes and (axes != [0] or not nest.fusible):
        return False
    for node in nest.members:
        if node in nest.stored and node.type.shape and not _is_by_row(plan, node, rows):
            return False
        for x, at in plan.reads(node):
            own = at is not None and bool(axes) and at[:1] == identity(nest.space)[:1]
            if x in plan.home and _row_axes(x.type.shape, rows) and not own:
                return False
    return True


def _is_by_row(plan: Schedule, node: Node, rows: Size) -> bool:
    """Return whether a stored value is written one row after another, into a result."""
    axes = _row_axes(node.type.shape, rows)
    if not axes:
        return True
    reduced = node.attrs["axis"] if node.op.name in REDUCTIONS else ()
    # A sum over an outer axis is added up in memory, which is cleared as a whole before.
    at_once = all(axis >= outer_depth(node.inputs[0].type.shape, reduced) for axis in reduced)
    return axes == [0] and node in plan.graph.outputs and at_once


def _row_axes(shape: Sequence[Dim], rows: Size) -> list[int]:
    return [axis for axis, dim in enumerate(shape) if names_in(dim) & rows.names]
