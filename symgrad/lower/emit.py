"""From a schedule to the source of one function: loops a person could have written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symgrad.ir.graph import Graph
from symgrad.ir.names import cotangents, identifier, value_names
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Shape, Size, names_in
from symgrad.ir.types import FLOAT32, FLOAT64, Array, DType
from symgrad.lower.access import (
    REDUCTIONS,
    VIEWS,
    ZERO,
    Index,
    Position,
    depth_of,
    gather_indices,
    identity,
    index_positions,
    reads,
    window,
)
from symgrad.lower.scalars import (
    HELPERS,
    dtype_code,
    helper_name,
    helper_source,
    scalar_code,
)
from symgrad.lower.schedule import Nest, Schedule, matrix_operand, read_whole, schedule

_LOOP_NAMES = "ijkl"
_MOST_AXES = 64
_LOOP_VARIABLE = re.compile(r"@(\d+)")
INDENT = "    "
_STEMS = {
    "matmul": "product",
    "sum": "total",
    "max": "largest",
    "min": "smallest",
    "slice": "window",
}
"""What values without a name are called, where the op's own name would not do."""


@dataclass(frozen=True, slots=True)
class Source:
    """One generated function, and what it needs around it.

    Attributes:
        name: The function's name.
        body: Its source, without decorator.
        helpers: The source of each helper function that it calls, by name, in order.
        arguments: The names of its arguments: one per input, then one per large constant.
        constants: The large constants, passed as arguments.
        steps: One line per step, for people.
    """

    name: str
    body: str
    helpers: dict[str, str]
    arguments: tuple[str, ...]
    constants: tuple[Array, ...]
    steps: tuple[str, ...]

    @property
    def returning_tuple(self) -> str:
        """The source with its results as a tuple, also when there is only one."""
        head, _, result = self.body.rstrip("\n").rpartition("return ")
        return f"{head}return ({result},)\n"


def emit(graph: Graph, name: str = "kernel") -> Source:
    """Return the source of a function that computes the outputs of an expanded graph."""
    return _Emitter(schedule(graph), name).source()


@dataclass(slots=True)
class _Scope:
    """The statements of one nest: those at each loop depth, before and after the inner loops."""

    before: dict[int, list[str]] = field(default_factory=dict)
    after: dict[int, list[str]] = field(default_factory=dict)
    values: dict[tuple[Node, Position], tuple[str, int]] = field(default_factory=dict)

    def add(self, depth: int, line: str) -> None:
        self.before.setdefault(depth, []).append(line)


class _Emitter:
    """The state of one emission: names, lines, helpers."""

    def __init__(self, plan: Schedule, name: str):
        self.plan = plan
        self.graph = plan.graph
        self.name = name
        helpers = {helper_name(h, dtype) for h in HELPERS for dtype in (FLOAT32, FLOAT64)}
        loops = {_loop_name(axis) for axis in range(_MOST_AXES)}
        self.taken: set[str] = {"np", "math", "njit", "types", name, *loops, *helpers}
        self.known = value_names(self.graph)
        self.gradient_of = cotangents(self.graph)
        self.lines: list[str] = []
        self.steps: list[str] = []
        self.helpers: dict[str, str] = {}
        self.constants: dict[Node, str] = {}
        self.names: dict[Node, str] = {}
        self.sizes: dict[str, str] = {}
        self.narrowed: dict[Node, str] = {}
        for node in self.graph.inputs:
            self.names[node] = identifier(str(node.attrs["name"]), self.taken)
        self.arguments = [self.names[node] for node in self.graph.inputs]
        self.temporaries = 0

    # The whole function

    def source(self) -> Source:
        self._read_sizes()
        whole = {x for node in self.graph.nodes for x in read_whole(node)}
        for node in self.graph.nodes:
            if node.op.name != "constant" or not node.type.shape:
                continue
            if scalar_value(node) is None or node in whole:
                self.constants[node] = self.names[node] = identifier("table", self.taken)
        for nest in self.plan.nests:
            self._nest(nest)
        returned = ", ".join(self._returned())
        arguments = (*self.arguments, *self.constants.values())
        body = [f"def {self.name}({', '.join(arguments)}):"]
        body += [INDENT + line if line else "" for line in (*self.lines, f"return {returned}")]
        return Source(
            self.name,
            "\n".join(body) + "\n",
            self.helpers,
            arguments,
            tuple(node.attrs["value"] for node in self.constants),
            tuple(self.steps),
        )

    def _read_sizes(self) -> None:
        wanted: set[str] = set()
        for node in self.graph.nodes:
            wanted |= names_in(node.type.shape) | names_in(tuple(node.attrs.values()))
        for node in self.graph.inputs:
            for axis, dim in enumerate(node.type.shape):
                key = str(dim)
                if isinstance(dim, Size) and key not in self.sizes and key in wanted:
                    self.sizes[key] = identifier(key, self.taken)
                    self.lines.append(f"{self.sizes[key]} = {self.names[node]}.shape[{axis}]")

    def _returned(self) -> Iterator[str]:
        seen: set[Node] = set()
        for node in self.graph.outputs:
            if not node.type.shape:
                yield self._scalar_output(node)
                continue
            owned = node in self.plan.stored and node.op.name != "reshape" and node not in seen
            seen.add(node)
            if scalar_value(node) is not None and node not in self.plan.stored:
                value = self._literal(scalar_value(node), node.type.dtype)
                yield f"np.full({self._shape(node.type.shape)}, {value})"
            else:
                yield self._name(node) + ("" if owned else ".copy()")

    def _scalar_output(self, node: Node) -> str:
        return self._read(_Scope(), node, ())[0]

    # Names and numbers

    def _name(self, node: Node) -> str:
        if node not in self.names:
            self.names[node] = identifier(self._suggested(node), self.taken)
        return self.names[node]

    def _suggested(self, node: Node) -> str:
        if node in self.known:
            return self.known[node]
        of = self.gradient_of.get(node)
        if of is not None:
            return f"grad_{of.name or of.op.name}"
        return _STEMS.get(node.op.name, node.op.name)

    def _dim(self, dim: Dim) -> str:
        if isinstance(dim, int):
            return str(dim)
        return renamed(str(dim), self.sizes)

    def _shape(self, shape: Shape) -> str:
        inner = ", ".join(self._dim(dim) for dim in shape)
        return f"({inner},)" if len(shape) == 1 else f"({inner})"

    def _literal(self, value: Any, dtype: DType) -> str:
        if dtype.kind == "b":
            return str(bool(value))
        if dtype.kind == "i":
            return f"{dtype_code(dtype)}({int(value)})"
        text = repr(float(value))
        if not np.isfinite(value):
            text = "np.nan" if np.isnan(value) else ("np.inf" if value > 0 else "-np.inf")
        return text if dtype == FLOAT64 else f"{dtype_code(dtype)}({text})"

    def _temporary(self) -> str:
        self.temporaries += 1
        return identifier(f"t{self.temporaries}", self.taken)

    # One element of a value

    def _read(self, scope: _Scope, node: Node, position: Position) -> tuple[str, int]:
        """Return an expression for one element, adding statements to ``scope`` as needed."""
        key = (node, position)
        if key in scope.values:
            return scope.values[key]
        depth = depth_of(position)
        value = scalar_value(node)
        if value is not None:
            return self._literal(value, node.type.dtype), 0
        if node.op.name == "size":
            found = f"{dtype_code(node.type.dtype)}({self._dim(node.attrs['size'])})", 0
        elif self._in_memory(node):
            found = self._element(node, position), depth
        elif node.op.name in VIEWS:
            [(x, at)] = reads(node, position)
            assert at is not None
            found = self._read(scope, x, at)
        else:
            found = self._computed(scope, node, position)
        scope.values[key] = found
        return found

    def _in_memory(self, node: Node) -> bool:
        return node in self.names or node in self.plan.stored

    def _element(self, node: Node, position: Position) -> str:
        if not node.type.shape:
            return self._name(node)
        return f"{self._name(node)}[{', '.join(self._index(i) for i in position)}]"

    def _index(self, index: Index) -> str:
        text = renamed(index.text, self.sizes)
        return _LOOP_VARIABLE.sub(lambda match: _loop_name(int(match[1])), text)

    def _computed(self, scope: _Scope, node: Node, position: Position) -> tuple[str, int]:
        """Compute one element in a statement of its own, as far out as it can stand."""
        match node.op.name:
            case "iota":
                return f"{dtype_code(node.type.dtype)}({self._index(position[0])})", depth_of(
                    position
                )
            case "one_hot":
                expression, depth = self._one_hot(scope, node, position)
            case "pick":
                label, _ = self._label(scope, node, node.inputs[1], position, node.inputs[0])
                at = (*position, Index(label, depth_of(position)))
                expression, depth = self._element(node.inputs[0], at), depth_of(position)
            case "gather":
                expression, depth = self._gather(scope, node, position)
            case _:
                operands = [self._read(scope, x, at) for x, at in _placed(node, position)]
                expression, helper = scalar_code(node, [text for text, _ in operands])
                depth = max((d for _, d in operands), default=0)
                if helper:
                    self._use_helper(helper, node.inputs[0].type.dtype)
        name = self._temporary()
        scope.add(depth, f"{name} = {expression}")
        return name, depth

    def _use_helper(self, name: str, dtype: DType) -> None:
        self.helpers[helper_name(name, dtype)] = helper_source(name, dtype)

    def _one_hot(self, scope: _Scope, node: Node, position: Position) -> tuple[str, int]:
        *outer, last = position
        label, _ = self._label(scope, node, node.inputs[0], tuple(outer), node)
        dtype = node.type.dtype
        one, zero = self._literal(1, dtype), self._literal(0, dtype)
        return f"{one} if {self._index(last)} == {label} else {zero}", depth_of(position)

    def _label(
        self, scope: _Scope, node: Node, labels: Node, position: Position, of: Node
    ) -> tuple[str, int]:
        """Read a class label and check it."""
        key = (labels, (*position, Index("label")))
        if key not in scope.values:
            text, depth = self._read(scope, labels, position)
            name, count = self._temporary(), self._dim(of.type.shape[-1])
            scope.add(depth, f"{name} = {text}")
            scope.add(depth, f"if {name} < 0 or {name} >= {count}:")
            what = f"{node.op.name}: a class label{_of(labels)} is not in 0 ... {count} - 1"
            scope.add(depth, f"{INDENT}raise IndexError({_message(what, node)!r})")
            scope.values[key] = (name, depth)
        return scope.values[key]

    def _gather(self, scope: _Scope, node: Node, position: Position) -> tuple[str, int]:
        axis, x = node.attrs["axis"], node.inputs[0]
        indices = gather_indices(node, position)
        at = self._checked(scope, node, indices, x.type.shape[axis:])
        rank = node.type.ndim - (x.type.ndim - len(indices))
        where = position[:axis] + at + position[axis + rank :]
        return self._element(x, where), depth_of(where)

    def _checked(
        self,
        scope: _Scope,
        node: Node,
        indices: Sequence[tuple[Node, Position]],
        shape: Shape,
    ) -> Position:
        """Read integer indices, wrap negative ones and check them."""
        found = []
        for (index, position), dim in zip(indices, shape, strict=False):
            text, depth = self._read(scope, index, position)
            name, size = self._temporary(), self._dim(dim)
            scope.add(depth, f"{name} = {text}")
            scope.add(depth, f"if {name} < 0:")
            scope.add(depth, f"{INDENT}{name} += {size}")
            scope.add(depth, f"if {name} < 0 or {name} >= {size}:")
            what = f"{node.op.name}: an index{_of(index)} is outside an axis of size {size}"
            scope.add(depth, f"{INDENT}raise IndexError({_message(what, node)!r})")
            found.append(Index(name, depth))
        return tuple(found)

    # Steps

    def _nest(self, nest: Nest) -> None:
        node = nest.members[0]
        match nest.kind:
            case "loops" | "scalars":
                self._loops(nest)
            case "matmul":
                self._matmul(node)
            case "reshape":
                source = self._name(node.inputs[0])
                self._step(f"view {node.type}", [node])
                name = self._name(node)
                if node.type.shape:
                    self.lines.append(f"{name} = {source}.reshape({self._shape(node.type.shape)})")
                else:
                    self.lines.append(f"{name} = {source}[{_zeros(node.inputs[0])}]")
            case "concatenate":
                self._concatenate(node)
            case "place":
                self._place(node)
            case "scatter_add":
                self._scatter(node)
            case "prod_others":
                self._prod_others(node)
            case _:
                self._ordered_reduction(node)

    def _step(self, what: str, members: Sequence[Node]) -> None:
        """Begin a step: a blank line, and a comment with its origin and the user's own line."""
        self.steps.append(what)
        origins = dict.fromkeys(
            (node.origin.place, node.origin.text) for node in members if node.origin.text
        )
        self.lines.append("")
        for place, text in list(origins)[:3]:
            self.lines.append(f"# {place}  {text}")

    def _allocate(self, node: Node, dtype: DType | None = None, fill: str = "") -> str:
        name = self._name(node)
        kind = dtype_code(dtype or node.type.dtype)
        shape = self._shape(node.type.shape)
        if fill:
            self.lines.append(f"{name} = np.full({shape}, {fill})")
        else:
            self.lines.append(f"{name} = np.empty({shape}, {kind})")
        return name

    def _loops(self, nest: Nest) -> None:
        kept = [n for n in nest.members if n in nest.stored or n.op.name in REDUCTIONS]
        shape = ", ".join(map(str, nest.space))
        what = f"loop over [{shape}]" if nest.space else "scalars"
        self._step(f"{what}: {', '.join(self._suggested(n) for n in kept)}", kept)
        scope = _Scope()
        here = identity(nest.space)
        for node in nest.members:
            if node.op.name in REDUCTIONS:
                self._reduction(scope, node)
                continue
            text, depth = self._member(scope, node, here)
            if node not in nest.stored:
                continue
            if not node.type.shape:
                name = self._name(node)
                if name != text:
                    scope.add(0, f"{name} = {text}")
                scope.values[(node, ())] = (name, 0)
                continue
            scope.values[(node, here)] = (text, depth)
            self._allocate(node)
            scope.add(depth_of(here), f"{self._element(node, here)} = {text}")
        self._close(scope, nest.space)
        for node, name in self.narrowed.items():
            self.lines.append(f"{self._name(node)} = {name}.astype({dtype_code(node.type.dtype)})")
        self.narrowed.clear()

    def _member(self, scope: _Scope, node: Node, here: Position) -> tuple[str, int]:
        """Return one element of a member of the nest, computed and not read from memory."""
        if (node, here) in scope.values:
            return scope.values[(node, here)]
        if node.op.name in VIEWS:
            [(x, at)] = reads(node, here)
            assert at is not None
            found = self._read(scope, x, at)
        else:
            found = self._computed(scope, node, here)
        scope.values[(node, here)] = found
        return found

    def _close(self, scope: _Scope, space: Sequence[Dim]) -> None:
        """Write the loops around the statements of ``scope``."""
        deepest = max([*scope.before, *scope.after, 0])
        indent = 0
        opened: list[tuple[int, int]] = []
        self._lines(scope.before.get(0, ()), 0)
        for depth in range(1, deepest + 1):
            dim = space[depth - 1]
            if dim != 1:
                loop = f"for {_loop_name(depth - 1)} in range({self._dim(dim)}):"
                self._lines([loop], indent)
                indent += 1
            opened.append((depth, indent))
            self._lines(scope.before.get(depth, ()), indent)
        for depth, level in reversed(opened):
            self._lines(scope.after.get(depth, ()), level)
        self._lines(scope.after.get(0, ()), 0)

    def _lines(self, lines: Sequence[str], level: int) -> None:
        self.lines += [INDENT * level + line for line in lines]

    # Reductions

    def _reduction(self, scope: _Scope, node: Node) -> None:
        """Add a sum, product or extremum to the nest over its input's space."""
        x = node.inputs[0]
        space, axes = x.type.shape, node.attrs["axis"]
        here = identity(space)
        text, _ = self._read(scope, x, here)
        outer = _outer_depth(space, axes)
        wide = _accumulator(node)
        start = self._start(node, wide)
        kept = tuple(index for axis, index in enumerate(here) if axis not in axes)
        if any(space[axis] != 1 for axis in axes if axis < outer):
            self._accumulate_rows(scope, node, text, start, kept, outer)
            return
        plain = not node.type.shape and wide == node.type.dtype
        total = self._name(node) if plain else self._temporary()
        scope.add(outer, f"{total} = {start}")
        scope.add(depth_of(here), self._update(node, total, text))
        if node.type.shape:
            self._allocate(node)
        if not plain:
            result = total if node.type.shape else f"{dtype_code(node.type.dtype)}({total})"
            scope.after.setdefault(outer, []).append(f"{self._element(node, kept)} = {result}")

    def _accumulate_rows(
        self, scope: _Scope, node: Node, text: str, start: str, kept: Position, outer: int
    ) -> None:
        """Reduce over an outer axis: whole rows are added into the result."""
        wide = _accumulator(node)
        here = identity(node.inputs[0].type.shape)
        if wide != node.type.dtype:
            name = identifier(f"{self._suggested(node)}_wide", self.taken)
            self.narrowed[node] = name
            self.lines.append(f"{name} = np.full({self._shape(node.type.shape)}, {start})")
        else:
            name = self._allocate(node, fill=start)
        target = f"{name}[{', '.join(self._index(i) for i in kept)}]"
        inner = depth_of(here)
        if outer == inner or all(dim == 1 for dim in node.inputs[0].type.shape[outer:]):
            scope.add(inner, self._update(node, target, text))
            return
        total = self._temporary()
        scope.add(outer, f"{total} = {start}")
        scope.add(inner, self._update(node, total, text))
        scope.after.setdefault(outer, []).append(self._update(node, target, total))

    def _start(self, node: Node, wide: DType) -> str:
        match node.op.name:
            case "sum":
                return self._literal(0, wide)
            case "prod":
                return self._literal(1, wide)
            case name:
                low = name == "max"
                if wide.kind == "f":
                    return self._literal(-np.inf if low else np.inf, wide)
                if wide.kind == "b":
                    return str(not low)
                info = np.iinfo(wide)
                return self._literal(info.min if low else info.max, wide)

    def _update(self, node: Node, total: str, text: str) -> str:
        match node.op.name:
            case "sum":
                return f"{total} += {text}"
            case "prod":
                return f"{total} *= {text}"
            case name:
                return f"{total} = np.{name}imum({total}, {text})"

    def _ordered_reduction(self, node: Node) -> None:
        """Find a position along one axis: the loops over the other axes come first."""
        x, axis = node.inputs[0], node.attrs["axis"]
        self._step(f"{node.op.name} over [{', '.join(map(str, x.type.shape))}]", [node])
        order = [a for a in range(x.type.ndim) if a != axis] + [axis]
        space = [x.type.shape[a] for a in order]
        moved = identity(space)
        at = tuple(moved[order.index(a)] for a in range(x.type.ndim))
        scope = _Scope()
        outer, inner = depth_of(moved[:-1]), depth_of(moved)
        text, _ = self._read(scope, x, at)
        best, where = self._temporary(), self._temporary()
        sign = ">" if node.op.name == "argmax" else "<"
        position = self._index(moved[-1])
        first = (*at[:axis], ZERO, *at[axis + 1 :])
        value, _ = self._read(scope, x, first)
        scope.add(outer, f"{best}, {where} = {value}, 0")
        if node.type.shape:
            self._allocate(node)
        scope.add(inner, f"if {text} {sign} {best} or ({text} != {text} and {best} == {best}):")
        scope.add(inner, f"{INDENT}{best}, {where} = {text}, {position}")
        target = self._element(node, moved[:-1])
        scope.after.setdefault(outer, []).append(f"{target} = {where}")
        self._close(scope, space)

    # Steps of their own

    def _matmul(self, node: Node) -> None:
        operands = [matrix_operand(x) for x in node.inputs]
        self._step(f"matmul {node.type}", [node])
        if not node.type.shape:
            a, b = (self._name(x) for x, _ in operands)
            self.lines.append(f"{self._name(node)} = np.dot({a}, {b})")
            return
        out = self._allocate(node)
        matrices = (node.inputs[0].type.ndim > 1) + (node.inputs[1].type.ndim > 1)
        batch = node.type.shape[: node.type.ndim - matrices]
        loops = identity(batch)
        texts = []
        for (source, flipped), x in zip(operands, node.inputs, strict=True):
            own = x.type.shape[: max(x.type.ndim - 2, 0)]
            at = loops[len(batch) - len(own) :]
            used = [ZERO if dim == 1 else i for dim, i in zip(own, at, strict=True)]
            index = f"[{', '.join(self._index(i) for i in used)}]" if used else ""
            texts.append(self._name(source) + index + (".T" if flipped else ""))
        target = f"{out}[{', '.join(self._index(i) for i in loops)}]" if batch else out
        if matrices == 0:
            line = f"{target} = np.dot({texts[0]}, {texts[1]})"
        else:
            line = f"np.dot({texts[0]}, {texts[1]}, {target})"
        scope = _Scope()
        scope.add(len(batch), line)
        self._close(scope, batch)

    def _store_loop(self, node: Node, x: Node, at: Position, space: Shape, sign: str) -> None:
        scope = _Scope()
        here = identity(space)
        text, _ = self._read(scope, x, here)
        scope.add(depth_of(here), f"{self._element(node, at)} {sign} {text}")
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

    def _place(self, node: Node) -> None:
        x = node.inputs[0]
        self._step(f"place {node.type}", [node])
        self._allocate(node, fill=self._literal(0, node.type.dtype))
        at = tuple(
            window(index, start, step)
            for index, start, step in zip(
                identity(x.type.shape), node.attrs["start"], node.attrs["step"], strict=True
            )
        )
        self._store_loop(node, x, at, x.type.shape, "=")

    def _scatter(self, node: Node) -> None:
        x, *indices = node.inputs
        axis = node.attrs["axis"]
        self._step(f"scatter_add {node.type}", [node])
        self._allocate(node, fill=self._literal(0, node.type.dtype))
        scope = _Scope()
        here = identity(x.type.shape)
        more = x.type.ndim - node.type.ndim
        placed = index_positions(indices, axis, more, here)
        at = self._checked(scope, node, placed, node.type.shape[axis:])
        where = here[:axis] + at + here[axis + more + len(indices) :]
        text, _ = self._read(scope, x, here)
        scope.add(depth_of(here), f"{self._element(node, where)} += {text}")
        self._close(scope, x.type.shape)

    def _prod_others(self, node: Node) -> None:
        self._step(f"prod_others {node.type}", [node])
        self._use_helper("prod_others", node.type.dtype)
        out = self._allocate(node)
        rows = ", ".join(self._name(x) for x in node.inputs)
        function = helper_name("prod_others", node.type.dtype)
        self.lines.append(f"{function}(({rows},), {out})")


def _placed(node: Node, position: Position) -> Iterator[tuple[Node, Position]]:
    for x, at in reads(node, position):
        assert at is not None
        yield x, at


def _loop_name(axis: int) -> str:
    return _LOOP_NAMES[axis] if axis < len(_LOOP_NAMES) else f"i{axis}"


def _outer_depth(space: Shape, axes: tuple[int, ...]) -> int:
    """Return how many loops stand outside the innermost run of reduced axes."""
    outer = len(space)
    while outer and (outer - 1 in axes or space[outer - 1] == 1):
        outer -= 1
    return outer


def _accumulator(node: Node) -> DType:
    """Return the dtype to accumulate in: float32 sums are kept in float64."""
    if node.op.name in ("sum", "prod") and node.type.dtype.name == "float32":
        return FLOAT64
    return node.type.dtype


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return ``text`` with all words replaced at once, so that no replacement is replaced."""
    return re.sub(r"[^\W\d]\w*", lambda match: names.get(match[0], match[0]), text)


def _message(what: str, node: Node) -> str:
    return f"{what} (made at {node.origin.place})"


def _of(node: Node) -> str:
    return f" of {node.name}" if node.name else ""


def _zeros(node: Node) -> str:
    return ", ".join("0" for _ in node.type.shape)
