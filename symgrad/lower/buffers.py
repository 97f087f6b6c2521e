"""Buffers: which array each stored value lives in, and when one takes another's place.

A value takes the array of one that is dead, of the same dtype and shape; a map also that of a
value whose last reader it is, element by element. Results are arrays of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from symgrad.ir.node import Node
from symgrad.ir.size import Shape
from symgrad.ir.types import DType
from symgrad.lower.access import identity, is_inlined, is_map
from symgrad.lower.schedule import Nest, Schedule

VIEW = "reshape"


@dataclass(slots=True)
class Buffer:
    """An array of the program: the value it was made for, and whether the caller gets it."""

    owner: Node
    returned: bool = False
    given: bool = False
    last: float = 0


@dataclass(slots=True)
class Buffers:
    """The array that each stored value of rank 1 or more lives in."""

    of: dict[Node, Buffer] = field(default_factory=dict)
    alike: dict[tuple[DType, Shape], list[Buffer]] = field(default_factory=dict)


def assign(plan: Schedule) -> Buffers:
    """Return where each stored value lives."""
    last = _last_uses(plan)
    found = Buffers()
    for number, nest in enumerate(plan.nests):
        for node in nest.members:
            if node in plan.stored and node.type.shape:
                buffer = _taken(plan, found, nest, node) or _new(plan, found, node)
                end = last.get(node, number)
                buffer.last = max(buffer.last, end)
                buffer.returned |= math.isinf(end) and not buffer.given
                found.of[node] = buffer
    return found


def _new(plan: Schedule, found: Buffers, node: Node) -> Buffer:
    if node in plan.updates:
        return Buffer(plan.updates[node], given=True)
    if node.op.name == VIEW:
        # What it views is an input or a constant, not an array of the program's own.
        return Buffer(node.inputs[0], given=True)
    buffer = Buffer(node)
    found.alike.setdefault((node.type.dtype, node.type.shape), []).append(buffer)
    return buffer


def _taken(plan: Schedule, found: Buffers, nest: Nest, node: Node) -> Buffer | None:
    """Return the buffer of an earlier value whose place ``node`` takes, if there is one."""
    if node in plan.updates:
        return None
    if node.op.name == VIEW:
        return found.of.get(node.inputs[0])
    if node in plan.sums and plan.sums[node].base in found.of:
        return found.of[plan.sums[node].base]
    alike = found.alike.get((node.type.dtype, node.type.shape), ())
    return next((b for b in alike if _free(plan, found, b, nest, node)), None)


def _free(plan: Schedule, found: Buffers, buffer: Buffer, nest: Nest, node: Node) -> bool:
    """Return whether ``node``, computed in ``nest``, may take the place of what is there."""
    number = plan.home[node]
    if buffer.last != number or buffer.returned:
        return buffer.last < number
    if nest.kind != "loops" or not is_map(node):
        return False
    occupants = [n for n, b in found.of.items() if b is buffer]
    if any(plan.home[n] == number for n in occupants):
        return False
    here = identity(nest.space)
    return all(
        at == here for member in nest.members for x, at in plan.reads(member) if x in occupants
    )


def _last_uses(plan: Schedule) -> dict[Node, float]:
    """Return the number of the last step that reads each stored value; results live on."""
    last: dict[Node, float] = {}
    views: list[Node] = []
    for node, number in plan.home.items():
        if node.op.name == VIEW:
            views.append(node)
        for x in _read(plan, node):
            last[x] = max(last.get(x, 0), number)
    for node in plan.graph.outputs:
        last[node] = math.inf
    for node in sorted(views, key=lambda view: -view.number):
        source = node.inputs[0]
        last[source] = max(last.get(source, 0), last.get(node, plan.home[node]))
    return last


def _read(plan: Schedule, node: Node) -> Iterator[Node]:
    for x, _ in plan.reads(node):
        if x in plan.home or not is_inlined(x):
            yield x
