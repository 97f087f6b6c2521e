"""From a schedule to the source of one function: loops a person could have written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from symgrad.ir.cost import Cost
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Shape, Size, multiply, names_in, product
from symgrad.ir.types import DType
from symgrad.lower.access import (
    COLUMN,
    REDUCTIONS,
    ROW,
    ZERO,
    Position,
    depth_of,
    identity,
    index_positions,
    matrix_operand,
    window,
)
from symgrad.lower.buffers import assign
from symgrad.lower.element import Elements, Names, literal, loop_name
from symgrad.lower.reduction import accumulator, outer_depth, start_of, updated
from symgrad.lower.rows import can_be_parted
from symgrad.lower.scalars import called_helpers, dtype_code, far_source
from symgrad.lower.schedule import Nest, Schedule, Space, read_whole, schedule, step_cost
from symgrad.lower.scope import SHORT, Loop, Scope
from symgrad.lower.source import INDENT, Allocation, Line, Product, Result, Source, Step, View


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


class _Emitter:
    """The state of one emission: its lines and steps."""

    def __init__(
        self, plan: Schedule, name: str, updates: Mapping[Node, Node], rows: Size | None = None
    ):
        self.plan = plan
        self.rows = rows
        self.graph = plan.graph
        self.name = name
        self.updates = updates
        self.buffers = assign(plan)
        self.names = Names(self.graph, name)
        self.elements = Elements(plan, self.names)
        self.lines: list[Line] = []
        self.steps: list[Step] = []
        self.cost = Cost()
        self.starts: list[int] = []
        self.constants: list[Node] = []
        self.narrowed: list[tuple[Node, str]] = []
        self.strips: dict[tuple[str, DType], list[str]] = {}
        self.strips_used: Counter[tuple[str, DType]] = Counter()
        self.allocates = False

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
                self._copy(node, into)

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
            self._array(name, node.type.shape, node.type.dtype, returned=True, fill="")
            self._copy(node, name)
            yield Result(name, name, node.type.shape)

    def _copy(self, node: Node, into: str) -> None:
        scope = Scope()
        here = identity(node.type.shape)
        text, _ = self.elements.read(scope, node, here)
        at = ", ".join(map(self.names.index, here))
        scope.store(depth_of(here), f"{into}[{at}] = {text}")
        self._close(scope, node.type.shape)

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
        if node in self.plan.sums:
            self._accumulated(node)
            return
        match nest.kind:
            case "loops" | "scalars":
                self._loops(nest)
            case "matmul":
                self._step(f"matmul {node.type}", [node])
                self._allocate(node)
                self._matmul(node, node)
            case "reshape":
                self._reshape(node)
            case "concatenate":
                self._concatenate(node)
            case "scatter_add":
                self._scatter(node)
            case "prod_others":
                self._prod_others(node)
            case _ if node.op.kernel:
                self._matrix_by_matrix(node)
            case _:
                self._ordered_reduction(node)

    def _step(self, what: str, members: Sequence[Node]) -> None:
        """Begin a step: a blank line, and a comment with its origin and the user's own line."""
        self.steps.append(Step(what, self.cost))
        self.starts.append(len(self.lines))
        origins = dict.fromkeys(
            (node.origin.place, node.origin.text) for node in members if node.origin.text
        )
        self.lines.append("")
        for place, text in list(origins)[:3]:
            self.lines.append(f"# {place}  {text}")

    def _allocate(self, node: Node, fill: str = "") -> str:
        """Make the array of a value, or give it the place of a dead one; return its name."""
        buffer = self.buffers.of[node]
        name = self.names.value(node)
        if buffer.owner is node:
            self._array(name, node.type.shape, node.type.dtype, buffer.returned, fill)
            return name
        if not buffer.given:
            self.lines.append(f"{name} = {self.names.of[buffer.owner]}  # takes its place")
        if fill:
            scope = Scope()
            here = identity(node.type.shape)
            scope.store(depth_of(here), f"{self.names.element(node, here)} = {fill}")
            self._close(scope, node.type.shape)
        return name

    def _array(self, name: str, shape: Shape, dtype: DType, returned: bool, fill: str) -> None:
        code = self.names.shape(shape)
        self.lines.append(Allocation(name, dtype, shape, dtype_code(dtype), code, returned, fill))

    def _close(self, scope: Scope, space: Sequence[Dim]) -> None:
        """Write the loops around the statements of ``scope``."""
        self.strips_used.clear()
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
        self.strips_used[key] += 1
        made = self.strips.setdefault(key, [])
        if len(made) < self.strips_used[key]:
            made.append(self.names.fresh(name))
            self._array(made[-1], (SHORT,), dtype, returned=False, fill="")
        return made[self.strips_used[key] - 1]

    def _loop(self, axis: int, dim: Dim) -> Loop:
        """Return the loop over an axis: over some of it, if rows lie along it and not all count."""
        name, count = loop_name(axis), self.names.dim(dim)
        if self.rows is None or not names_in(dim) & self.rows.names:
            return Loop(name, count)
        first, last = (self.names.of[node] for node in self.graph.inputs[-2:])
        return Loop(name, f"min({last}, {count}) - {first}", first)

    def _loops(self, nest: Nest) -> None:
        kept = [n for n in nest.members if n in nest.stored or n.op.name in REDUCTIONS]
        shape = ", ".join(map(str, nest.space))
        what = f"loop over [{shape}]" if nest.space else "scalars"
        self._step(f"{what}: {', '.join(self.names.suggested(n) for n in kept)}", kept)
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
            self._allocate(node)
            scope.store(depth_of(here), f"{self.names.element(node, here)} = {text}")
        self.elements.share_divisors(scope)
        self._close(scope, nest.space)
        for node, wide in self.narrowed:
            after = Scope()
            at = identity(node.type.shape)
            index = ", ".join(map(self.names.index, at))
            after.store(depth_of(at), f"{self.names.element(node, at)} = {wide}[{index}]")
            self._close(after, node.type.shape)
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
            self._allocate(node)
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
            self._array(name, node.type.shape, wide, returned=False, fill=start)
            self._allocate(node)
            self.narrowed.append((node, name))
        else:
            name = self._allocate(node, fill=start)
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
        self._step(f"{node.op.name} over [{', '.join(map(str, x.type.shape))}]", [node])
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
            self._allocate(node)
        scope.add(inner, f"if {text} {sign} {best} or ({text} != {text} and {best} == {best}):")
        scope.add(inner, f"{INDENT}{best}, {where} = {text}, {position}")
        scope.finish(outer, f"{self.names.element(node, moved[:-1])} = {where}")
        self._close(scope, space)

    # Products

    def _accumulated(self, node: Node) -> None:
        """Add a product to what is in memory already."""
        total = self.plan.sums[node]
        self._step(f"matmul {node.type}, added in place", [node])
        base = self.buffers.of.get(total.base)
        own = self.buffers.of[node]
        in_place = own is base or own.owner is total.base
        name = self._allocate(node)
        scope = Scope()
        alpha = "1.0" if total.alpha is None else self.elements.read(scope, total.alpha, ())[0]
        beta = "1.0" if total.beta is None else self.elements.read(scope, total.beta, ())[0]
        self._close(scope, ())
        if not in_place:
            self._copy(total.base, name)
        self._matmul(total.product, node, ("-" * total.negative + alpha, beta))

    def _matmul(self, node: Node, into: Node, factors: tuple[str, str] | None = None) -> None:
        """Multiply matrices, or stacks of them, into the memory of ``into``."""
        a, b = node.inputs
        matrices = (a.type.ndim > 1) + (b.type.ndim > 1)
        batch = node.type.shape[: node.type.ndim - matrices]
        loops = identity(batch)
        (left, plain_a), (right, plain_b) = (operand(self.names, x, loops) for x in (a, b))
        out = self.names.value(into)
        level = self._loops_over(batch)
        line = Product(
            left,
            right,
            f"{out}[{', '.join(map(self.names.index, loops))}]" if batch else out,
            (min(a.type.ndim, 2), min(b.type.ndim, 2)),
            (plain_a, plain_b),
            *(factors or ("1.0", "")),
            level,
        )
        if line.accumulates:
            self.elements.use("gemm")
        self.lines.append(line)

    # Other steps of their own

    def _reshape(self, node: Node) -> None:
        x = node.inputs[0]
        source = self.names.value(x)
        self._step(f"view {node.type}", [node])
        name = self.names.value(node)
        if node.type.shape:
            code = self.names.shape(node.type.shape)
            self.lines.append(View(name, source, node.type.shape, code))
        else:
            zeros = ", ".join("0" for _ in x.type.shape)
            self.lines.append(f"{name} = {source}[{zeros}]" if zeros else f"{name} = {source}")

    def _store_loop(self, node: Node, x: Node, at: Position, space: Shape, sign: str) -> None:
        scope = Scope()
        here = identity(space)
        text, _ = self.elements.read(scope, x, here)
        scope.store(depth_of(here), f"{self.names.element(node, at)} {sign} {text}")
        self._close(scope, space)

    def _concatenate(self, node: Node) -> None:
        axis = node.attrs["axis"]
        self._step(f"concatenate {node.type}", [node])
        self._allocate(node)
        offset: Dim = 0
        for x in node.inputs:
            here = list(identity(x.type.shape))
            here[axis] = window(here[axis], offset, 1)
            self._store_loop(node, x, tuple(here), x.type.shape, "=")
            offset = offset + x.type.shape[axis]

    def _scatter(self, node: Node) -> None:
        x, *indices = node.inputs
        axis = node.attrs["axis"]
        self._step(f"scatter_add {node.type}", [node])
        self._allocate(node, fill=literal(0, node.type.dtype))
        scope = Scope()
        here = identity(x.type.shape)
        more = x.type.ndim - node.type.ndim
        placed = index_positions(indices, axis, more, here)
        at = self.elements.checked(scope, node, placed, node.type.shape[axis:])
        where = here[:axis] + at + here[axis + more + len(indices) :]
        text, _ = self.elements.read(scope, x, here)
        scope.store(depth_of(here), f"{self.names.element(node, where)} += {text}")
        self._close(scope, x.type.shape)

    def _prod_others(self, node: Node) -> None:
        self._step(f"prod_others {node.type}", [node])
        self.allocates = True
        out = self._allocate(node)
        rows = ", ".join(self.names.value(x) for x in node.inputs)
        self.lines.append(f"{self.elements.use('prod_others')}(({rows},), {out})")

    def _matrix_by_matrix(self, node: Node) -> None:
        """Compute each matrix of a stack, or the only one, with a function of NumPy's."""
        self._step(f"{node.op.name} {node.type}", [node])
        self.allocates = True
        stacked = max(x.type.ndim for x in node.inputs if x.type.ndim > 1) - 2
        batch = node.type.shape[:stacked]
        loops = identity(batch)
        operands = []
        for x in node.inputs:
            at = [self.names.index(i) for i in place_in_stack(x, loops)]
            operands.append(self.names.value(x) + (f"[{', '.join(at)}]" if at else ""))
        text = node.op.kernel.format(*operands)
        for helper in called_helpers(text):
            self.elements.use(helper)
        if node.type.shape:
            self._allocate(node)
            place = [*map(self.names.index, loops), *[":"] * (node.type.ndim - stacked)]
            target = f"{self.names.value(node)}[{', '.join(place)}]"
        else:
            target = self.names.value(node)
        level = self._loops_over(batch)
        self.lines.append(f"{INDENT * level}{target} = {text}")

    def _loops_over(self, batch: Shape) -> int:
        """Write the heads of loops over the places of a stack, and return how many there are."""
        level = 0
        for axis, dim in enumerate(batch):
            if dim != 1:
                loop = f"for {loop_name(axis)} in range({self.names.dim(dim)}):"
                self.lines.append(INDENT * level + loop)
                level += 1
        return level


def place_in_stack(x: Node, loops: Position) -> Position:
    """Return which matrix of a stack is used where loops over the places of a result are."""
    own = x.type.shape[: max(x.type.ndim - 2, 0)]
    at = loops[len(loops) - len(own) :]
    return tuple(ZERO if dim == 1 else i for dim, i in zip(own, at, strict=True))


def operand(names: Names, x: Node, loops: Position) -> tuple[str, bool]:
    """Return an operand of BLAS as source, and whether it lies in one piece."""
    node, position = matrix_operand(x, place_in_stack(x, loops))
    parts = [":" if i in (ROW, COLUMN) else names.index(i) for i in position]
    markers = [i for i in position if i in (ROW, COLUMN)]
    plain = all(i in (ROW, COLUMN) for i in position[len(position) - len(markers) :])
    while parts and parts[-1] == ":":
        parts.pop()
    text = names.value(node) + (f"[{', '.join(parts)}]" if parts else "")
    return text + (".T" if markers == [COLUMN, ROW] else ""), plain
