"""What is being written of a function: its lines and steps, and the arrays that it makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from symgrad.ir.cost import Cost
from symgrad.ir.node import Node
from symgrad.ir.size import Dim, Shape, Size, names_in
from symgrad.ir.types import DType
from symgrad.lower.access import depth_of, identity
from symgrad.lower.buffers import assign
from symgrad.lower.element import Elements, Names, loop_name
from symgrad.lower.scalars import called_helpers, dtype_code, far_source
from symgrad.lower.schedule import Schedule
from symgrad.lower.scope import SHORT, Loop, Scope
from symgrad.lower.source import INDENT, Allocation, Line, Step


class Emission:
    """The state of one emission, and how steps are begun, arrays made and loops written.

    Attributes:
        plan: What is computed together.
        name: What the function is called.
        rows: The size that counts rows, where only some of them are computed.
        lines: The statements so far.
        steps: The steps so far, in words.
        starts: The line at which each of them starts.
        cost: What the step costs that is being written.
        allocates: Whether statements other than allocations make arrays.
    """

    def __init__(self, plan: Schedule, name: str, rows: Size | None = None):
        self.plan = plan
        self.graph = plan.graph
        self.name = name
        self.rows = rows
        self.buffers = assign(plan)
        self.names = Names(self.graph, name)
        self.elements = Elements(plan, self.names)
        self.lines: list[Line] = []
        self.steps: list[Step] = []
        self.starts: list[int] = []
        self.cost = Cost()
        self.allocates = False
        self._comments: list[str] | None = None
        self._strips: dict[tuple[str, DType], list[str]] = {}
        self._strips_used: Counter[tuple[str, DType]] = Counter()

    def step(self, what: str, members: Sequence[Node]) -> None:
        """Begin a step: a blank line, and a comment with its origin and the user's own line.

        One that comes from the same lines as the step before needs no comment.
        """
        self.steps.append(Step(what, self.cost))
        self.starts.append(len(self.lines))
        origins = dict.fromkeys(
            f"# {node.origin.place}  {node.origin.text}" for node in members if node.origin.text
        )
        comments = list(origins)[:3]
        self.lines += ["", *(comments if comments != self._comments else [])]
        self._comments = comments

    def allocate(self, node: Node, fill: str = "") -> str:
        """Make the array of a value, or give it the place of a dead one; return its name."""
        buffer = self.buffers.of[node]
        name = self.names.value(node)
        if buffer.owner is node:
            self.array(name, node.type.shape, node.type.dtype, buffer.returned, fill)
            return name
        if not buffer.given:
            self.lines.append(f"{name} = {self.names.of[buffer.owner]}  # takes its place")
        if fill:
            scope = Scope()
            here = identity(node.type.shape)
            scope.store(depth_of(here), f"{self.names.element(node, here)} = {fill}")
            self.close(scope, node.type.shape)
        return name

    def array(self, name: str, shape: Shape, dtype: DType, returned: bool, fill: str) -> None:
        """Make an array of this name; see `Allocation`."""
        code = self.names.shape(shape)
        self.lines.append(Allocation(name, dtype, shape, dtype_code(dtype), code, returned, fill))

    def close(self, scope: Scope, space: Sequence[Dim]) -> None:
        """Write the loops around the statements of ``scope``."""
        self._strips_used.clear()
        lines = scope.lines(
            space,
            lambda axis: self._loop(axis, space[axis]),
            self.names.mergeable,
            self.names.fresh,
            self._strip,
        )
        self.lines += lines
        if scope.far is not None:
            # Arguments that need a full form are rare, and it takes long.
            self.lines.append(f"if {scope.far}:")
            again = far_source(lines, scope.far)
            self.lines += [INDENT + line for line in again]
            for line in again:
                for helper in called_helpers(line):
                    self.elements.use(helper)

    def _strip(self, name: str, dtype: DType) -> str:
        """Return an array for what one loop over a strip leaves to the next ones of its nest."""
        key = name, dtype
        self._strips_used[key] += 1
        made = self._strips.setdefault(key, [])
        if len(made) < self._strips_used[key]:
            made.append(self.names.fresh(name))
            self.array(made[-1], (SHORT,), dtype, returned=False, fill="")
        return made[self._strips_used[key] - 1]

    def _loop(self, axis: int, dim: Dim) -> Loop:
        """Return the loop over an axis: over some of it, if rows lie along it and not all count."""
        name, count = loop_name(axis), self.names.dim(dim)
        if self.rows is None or not names_in(dim) & self.rows.names:
            return Loop(name, count)
        first, last = (self.names.of[node] for node in self.graph.inputs[-2:])
        return Loop(name, f"min({last}, {count}) - {first}", first)

    def loops_over(self, batch: Shape) -> int:
        """Write the heads of loops over the places of a stack, and return how many there are."""
        level = 0
        for axis, dim in enumerate(batch):
            if dim != 1:
                loop = f"for {loop_name(axis)} in range({self.names.dim(dim)}):"
                self.lines.append(INDENT * level + loop)
                level += 1
        return level

    def copy(self, node: Node, into: str) -> None:
        """Copy a value into another array."""
        scope = Scope()
        here = identity(node.type.shape)
        text, _ = self.elements.read(scope, node, here)
        at = ", ".join(map(self.names.index, here))
        scope.store(depth_of(here), f"{into}[{at}] = {text}")
        self.close(scope, node.type.shape)
