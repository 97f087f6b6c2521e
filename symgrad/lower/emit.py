"""From a schedule to the source of one function: loops a person could have written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Shape, Size, multiply, product
from symgrad.ir.types import DType
from symgrad.lower.access import REDUCTIONS, ZERO, Position, depth_of, identity
from symgrad.lower.element import loop_name
from symgrad.lower.emission import Emission
from symgrad.lower.reduction import accumulator, outer_depth, start_of, updated
from symgrad.lower.rows import can_be_parted
from symgrad.lower.scalars import dtype_code
from symgrad.lower.schedule import Nest, Schedule, Space, read_whole, schedule, step_cost
from symgrad.lower.scope import Scope
from symgrad.lower.source import INDENT, Allocation, Result, Source
from symgrad.lower.whole import write_whole


def emit(
    graph: Graph,
    name: str = "kernel",
    updates: Mapping[Node, Node] | None = None,
    fuse: bool = True,
    rows: Size | None = None,
) -> Source:
    """Return the source of a function that computes the outputs of an expanded graph.

    Args:
        graph: A graph whose composite ops are expanded.
        name: What the function is called.
        updates: Inputs that are overwritten, each with the output that it then holds.
        fuse: Whether values over one index space share a loop.
        rows: The size that counts rows, for a function that computes only some of them: those
            from its last input but one up to its last. See `lower.rows`.

    Raises:
        ValueError: if some rows cannot be computed without the others.
    """
    updates = dict(updates or {})
    plan = schedule(graph, {output: x for x, output in updates.items()}, fuse, rows is not None)
    if rows is not None and not can_be_parted(plan, rows):
        raise ValueError("rows are read that another call computes")
    return _Emitter(plan, name, updates, rows).source()


class _Emitter(Emission):
    """Writes all steps of a schedule, and what a function needs around them."""

    def __init__(
        self, plan: Schedule, name: str, updates: Mapping[Node, Node], rows: Size | None = None
    ):
        super().__init__(plan, name, rows)
        self.updates = updates
        self.constants: list[Node] = []
        self.narrowed: list[tuple[Node, str]] = []

    # The whole function

    def source(self) -> Source:
        names = self.names
        arguments = [names.of[node] for node in self.graph.inputs]
        sizes = names.read_sizes(self.graph)
        for node, replaced in self.plan.updates.items():
            if node.type.shape:
                names.of[node] = names.of[replaced]
        for replaced in self.updates:
            if not replaced.type.shape:
                # A number that is updated is an array of one element here.
                names.of[replaced] += "[0]"
        whole = {x for node in self.graph.nodes for x in read_whole(node)}
        for node in self.graph.nodes:
            if node.op.name != "constant" or not node.type.shape:
                continue
            if scalar_value(node) is None or node in whole:
                self.constants.append(node)
                names.of[node] = names.fresh("table")
        for nest in self.plan.nests:
            self._nest(nest)
        self._copied_updates()
        returned = tuple(self._returned())
        return Source(
            name=self.name,
            arguments=(*arguments, *(names.of[node] for node in self.constants)),
            sizes=tuple(sizes),
            lines=tuple(self.lines),
            returned=returned,
            helpers=self.elements.helpers,
            constants=tuple(node.attrs["value"] for node in self.constants),
            steps=tuple(self.steps),
            starts=tuple(self.starts),
            numbers={
                name: node.type.dtype for node, name in names.of.items() if not node.type.shape
            },
            memory=self._memory(),
            allocates=self.allocates,
        )

    def _copied_updates(self) -> None:
        """Copy what could not be computed in place: something reads the old value until the end."""
        for replaced, node in self.updates.items():
            into = self.names.of[replaced]
            if node is replaced:
                continue
            if not node.type.shape:
                text, _ = self.elements.read(Scope(), node, ())
                self.lines.append(f"{into} = {text}")
            elif self.plan.updates.get(node) is not replaced:
                self.copy(node, into)

    def _returned(self) -> Iterator[Result]:
        seen: set[int] = set()
        overwriting = set(self.updates.values())
        for node in self.graph.outputs:
            if node in overwriting:
                continue
            if not node.type.shape:
                yield Result(self.elements.read(Scope(), node, ())[0])
                continue
            buffer = self.buffers.of.get(node)
            if buffer is not None and buffer.returned and id(buffer) not in seen:
                seen.add(id(buffer))
                yield Result(
                    self.names.value(node), self.names.value(buffer.owner), node.type.shape
                )
                continue
            name = self.names.fresh(f"{self.names.suggested(node)}_copy")
            self.array(name, node.type.shape, node.type.dtype, returned=True, fill="")
            self.copy(node, name)
            yield Result(name, name, node.type.shape)

    def _memory(self) -> dict[str, Dim]:
        found: dict[str, Dim] = {"arguments": 0, "temporaries": 0, "results": 0}

        def add(kind: str, dtype: DType, shape: Shape) -> None:
            found[kind] = found[kind] + multiply(product(shape), dtype.itemsize)

        for node in (*self.graph.inputs, *self.constants):
            add("arguments", node.type.dtype, node.type.shape)
        for line in self.lines:
            if isinstance(line, Allocation):
                kind = "results" if line.returned else "temporaries"
                add(kind, line.dtype, line.shape)
        return found

    # Steps

    def _nest(self, nest: Nest) -> None:
        node = nest.members[0]
        self.cost = step_cost(self.plan, nest)
        match nest.kind:
            case "loops" | "scalars" if node not in self.plan.sums:
                self._loops(nest)
            case "argmax" | "argmin":
                self._ordered_reduction(node)
            case _:
                write_whole(self, node)

    def _loops(self, nest: Nest) -> None:
        kept = [n for n in nest.members if n in nest.stored or n.op.name in REDUCTIONS]
        shape = ", ".join(map(str, nest.space))
        what = f"loop over [{shape}]" if nest.space else "scalars"
        self.step(f"{what}: {', '.join(self.names.suggested(n) for n in kept)}", kept)
        scope = Scope()
        here = identity(nest.space)
        scope.near = self._can_repeat(nest)
        for node in nest.members:
            if node.op.name in REDUCTIONS:
                self._reduction(scope, node, nest.space)
                continue
            text, depth = self.elements.member(scope, node, here)
            if node not in nest.stored:
                continue
            if not node.type.shape:
                name = self.names.value(node)
                if name != text:
                    scope.assign(0, name, text)
                scope.values[(node, ())] = (name, 0)
                continue
            if self._writes_over(nest, node):
                # Other statements may read what the store replaces: compute everything before.
                text = self._held(scope, text, depth_of(here))
            scope.values[(node, here)] = (text, depth)
            self.allocate(node)
            scope.store(depth_of(here), f"{self.names.element(node, here)} = {text}")
        self.elements.share_divisors(scope)
        self.close(scope, nest.space)
        for node, wide in self.narrowed:
            after = Scope()
            at = identity(node.type.shape)
            index = ", ".join(map(self.names.index, at))
            after.store(depth_of(at), f"{self.names.element(node, at)} = {wide}[{index}]")
            self.close(after, node.type.shape)
        self.narrowed.clear()

    def _can_repeat(self, nest: Nest) -> bool:
        """Return whether a nest gives the same again: it writes over nothing that it reads."""
        rows = [
            n
            for n in nest.members
            if n.op.name in REDUCTIONS
            and any(axis < outer_depth(nest.space, n.attrs["axis"]) for axis in n.attrs["axis"])
        ]
        own = [self.buffers.of[n].owner for n in nest.members if n in self.buffers.of]
        return not rows and all(owner in nest.members for owner in own)

    def _writes_over(self, nest: Nest, node: Node) -> bool:
        """Return whether a nest with several stores writes over something that it reads."""
        stores = [n for n in nest.members if n in self.buffers.of]
        return len(stores) > 1 and any(self.buffers.of[n].owner is not n for n in stores)

    def _held(self, scope: Scope, text: str, depth: int) -> str:
        name = self.names.temporary()
        scope.assign(depth, name, text)
        return name

    # Reductions

    def _reduction(self, scope: Scope, node: Node, around: Space) -> None:
        """Add a sum, product or extremum to the nest over its input's space, or a larger one."""
        x = node.inputs[0]
        space, axes = x.type.shape, node.attrs["axis"]
        here = identity(space)
        test = " and ".join(
            f"{loop_name(axis)} < {self.names.dim(dim)}"
            for axis, dim in enumerate(space)
            if dim != around[axis]
        )
        inside = scope.inside() if test else scope
        text, _ = self.elements.read(inside, x, here)
        outer = outer_depth(space, axes)
        wide = accumulator(node)
        start = start_of(node, wide)
        kept = tuple(index for axis, index in enumerate(here) if axis not in axes)
        if any(space[axis] != 1 for axis in axes if axis < outer):
            self._accumulate_rows(scope, node, text, start, kept, outer)
            return
        plain = not node.type.shape and wide == node.type.dtype
        total = self.names.value(node) if plain else self.names.temporary()
        scope.assign(outer, total, start)
        statement = self._added(scope, node, total, text)
        if test:
            inside.add_if(depth_of(here), test, statement, self.names.mergeable)
        else:
            scope.add(depth_of(here), statement)
        if node.type.shape:
            self.allocate(node)
        if not plain:
            result = total if node.type.shape else f"{dtype_code(node.type.dtype)}({total})"
            scope.finish(outer, f"{self.names.element(node, kept)} = {result}")

    def _accumulate_rows(
        self, scope: Scope, node: Node, text: str, start: str, kept: Position, outer: int
    ) -> None:
        """Reduce over an outer axis: whole rows are added into the result."""
        wide = accumulator(node)
        here = identity(node.inputs[0].type.shape)
        if wide != node.type.dtype:
            name = self.names.fresh(f"{self.names.suggested(node)}_wide")
            self.array(name, node.type.shape, wide, returned=False, fill=start)
            self.allocate(node)
            self.narrowed.append((node, name))
        else:
            name = self.allocate(node, fill=start)
        target = f"{name}[{', '.join(self.names.index(i) for i in kept)}]"
        inner = depth_of(here)
        if outer == inner or all(dim == 1 for dim in node.inputs[0].type.shape[outer:]):
            scope.add(inner, updated(node, target, text))
            return
        total = self.names.temporary()
        scope.assign(outer, total, start)
        scope.add(inner, self._added(scope, node, total, text))
        scope.finish(outer, updated(node, target, total))

    def _added(self, scope: Scope, node: Node, total: str, text: str) -> str:
        """Return the innermost statement of a reduction."""
        space = node.inputs[0].type.shape
        if node.op.name != "sum" or not node.type.is_float:
            return updated(node, total, text)
        if accumulator(node) != node.type.dtype and any(dim != 1 for dim in space):
            # A loop with float64 in it has half the lanes, for float32 numbers too.
            part = self.names.temporary()
            scope.parts[part] = total
            total = part
        return f"{total} = {self.elements.use('plus')}({total}, {text})"

    def _ordered_reduction(self, node: Node) -> None:
        """Find a position along one axis: the loops over the other axes come first."""
        x, axis = node.inputs[0], node.attrs["axis"]
        self.step(f"{node.op.name} over [{', '.join(map(str, x.type.shape))}]", [node])
        order = [a for a in range(x.type.ndim) if a != axis] + [axis]
        space = [x.type.shape[a] for a in order]
        moved = identity(space)
        at = tuple(moved[order.index(a)] for a in range(x.type.ndim))
        scope = Scope()
        outer, inner = depth_of(moved[:-1]), depth_of(moved)
        text, _ = self.elements.read(scope, x, at)
        best, where = self.names.temporary(), self.names.temporary()
        sign = ">" if node.op.name == "argmax" else "<"
        position = self.names.index(moved[-1])
        first = (*at[:axis], ZERO, *at[axis + 1 :])
        value, _ = self.elements.read(scope, x, first)
        scope.add(outer, f"{best}, {where} = {value}, 0")
        if node.type.shape:
            self.allocate(node)
        scope.add(inner, f"if {text} {sign} {best} or ({text} != {text} and {best} == {best}):")
        scope.add(inner, f"{INDENT}{best}, {where} = {text}, {position}")
        scope.finish(outer, f"{self.names.element(node, moved[:-1])} = {where}")
        self.close(scope, space)
