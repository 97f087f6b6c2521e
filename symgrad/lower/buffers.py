"""Buffers: which array each stored value lives in, and when one takes another's place.

A value takes the array of one that is dead, of the same dtype and shape; a map also that of a
value whose last reader it is, element by element. Results are arrays of their own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from symgrad.ir.node import Node
from symgrad.ir.size import Shape
from symgrad.ir.types import DType
from symgrad.lower.access import identity, is_inlined, is_map
from symgrad.lower.schedule import Nest, Schedule

VIEW = "reshape"


@dataclass(slots=True)
class Buffer:
    """An array of the program.

    Attributes:
        owner: The value it was made for.
        returned: Whether the caller gets it.
        given: Whether it is the caller's.
        filled: The step that computes its latest value.
        last: The last step that reads that.
    """

    owner: Node
    returned: bool = False
    given: bool = False
    filled: int = -1
    last: float = -1


@dataclass(slots=True)
class _Alike:
    """The arrays of one dtype and shape, so ordered that those in use need not be looked through.

    Attributes:
        made: All of them.
        ready: A heap of positions: of those to look at, which may be free.
        busy: A heap of the others: a step that still reads each, and its position.
    """

    made: list[Buffer] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    busy: list[tuple[float, int]] = field(default_factory=list)

    def add(self, buffer: Buffer) -> None:
        """Add one."""
        heappush(self.ready, len(self.made))
        self.made.append(buffer)

    def first(self, number: int, fits: Callable[[Buffer], bool]) -> Buffer | None:
        """Return the first one made that nothing reads after this step, and that fits."""
        while self.busy and self.busy[0][0] <= number:
            heappush(self.ready, heappop(self.busy)[1])
        found = None
        passed = []
        while self.ready and found is None:
            position = heappop(self.ready)
            buffer = self.made[position]
            if buffer.last > number:
                heappush(self.busy, (buffer.last, position))
                continue
            passed.append(position)
            if fits(buffer):
                found = buffer
        for position in passed:
            heappush(self.ready, position)
        return found


@dataclass(slots=True)
class Buffers:
    """The array that each stored value of rank 1 or more lives in."""

    of: dict[Node, Buffer] = field(default_factory=dict)
    alike: defaultdict[tuple[DType, Shape], _Alike] = field(
        default_factory=lambda: defaultdict(_Alike)
    )


def assign(plan: Schedule) -> Buffers:
    """Return where each stored value lives."""
    last = _last_uses(plan)
    found = Buffers()
    for number, nest in enumerate(plan.nests):
        for node in nest.members:
            if node in plan.stored and node.type.shape:
                buffer = _taken(plan, found, nest, node) or _new(plan, found, node)
                end = last.get(node, number)
                buffer.filled, buffer.last = number, max(buffer.last, end)
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
    found.alike[(node.type.dtype, node.type.shape)].add(buffer)
    return buffer


def _taken(plan: Schedule, found: Buffers, nest: Nest, node: Node) -> Buffer | None:
    """Return the buffer of an earlier value whose place ``node`` takes, if there is one."""
    if node in plan.updates:
        return None
    if node.op.name == VIEW:
        return found.of.get(node.inputs[0])
    if node in plan.sums and plan.sums[node].base in found.of:
        return found.of[plan.sums[node].base]
    number = plan.home[node]

    def fits(buffer: Buffer) -> bool:
        return buffer.last < number or _may_write_over(plan, found, buffer, nest, node)

    return found.alike[(node.type.dtype, node.type.shape)].first(number, fits)


def _may_write_over(plan: Schedule, found: Buffers, buffer: Buffer, nest: Nest, node: Node) -> bool:
    """Return whether ``node`` may take the place of what only its own nest reads any more."""
    if buffer.filled == plan.home[node] or nest.kind != "loops" or not is_map(node):
        return False
    here = identity(nest.space)
    return all(
        at == here
        for member in nest.members
        for x, at in plan.reads(member)
        if found.of.get(x) is buffer
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
