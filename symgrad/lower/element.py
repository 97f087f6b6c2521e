"""One element of a value: an expression, and the statements of a loop nest that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from symgrad.ir.graph import Graph
from symgrad.ir.names import cotangents, identifier, value_names
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Shape, Size, names_in, renamed
from symgrad.ir.types import FLOAT64, DType
from symgrad.lower import vectormath
from symgrad.lower.access import (
    Index,
    Position,
    depth_of,
    gather_indices,
    is_index_map,
    reads,
    within,
)
from symgrad.lower.scalars import (
    BOUNDED,
    NEAR,
    NEVER_EXTREME,
    called_helpers,
    dtype_code,
    function_name,
    helper_names,
    helpers,
    near_name,
    scalar_code,
)
from symgrad.lower.schedule import Schedule
from symgrad.lower.scope import Scope
from symgrad.lower.source import INDENT, INTRINSICS

_LOOP_NAMES = "ijkl"
_MOST_AXES = 64
_LOOP_VARIABLE = re.compile(r"@(\d+)")
_STEMS = {
    "matmul": "product",
    "sum": "total",
    "max": "largest",
    "min": "smallest",
    "slice": "window",
}
"""What values without a name are called, where the op's own name would not do."""


class Names:
    """What everything in one generated function is called."""

    def __init__(self, graph: Graph, function: str):
        loops = {loop_name(axis) for axis in range(_MOST_AXES)}
        own = {"np", "njit", "OPTIONS", function, *loops}
        self.taken: set[str] = {*own, *helper_names(), *INTRINSICS}
        self.known = value_names(graph)
        self.gradient_of = cotangents(graph)
        self.of: dict[Node, str] = {}
        self.sizes: dict[str, str] = {}
        self.mergeable: set[str] = set()
        self.temporaries = 0
        for node in graph.inputs:
            self.of[node] = identifier(str(node.attrs["name"]), self.taken)

    def value(self, node: Node) -> str:
        """Return the variable that holds a value."""
        if node not in self.of:
            self.of[node] = identifier(self.suggested(node), self.taken)
        return self.of[node]

    def suggested(self, node: Node) -> str:
        """Return what a value is best called: the user's own name for it if there is one."""
        if node in self.known:
            return self.known[node]
        of = self.gradient_of.get(node)
        if of is not None:
            return f"grad_{of.name or of.op.name}"
        return _STEMS.get(node.op.name, node.op.name)

    def temporary(self, *, mergeable: bool = False) -> str:
        """Return a new name; a mergeable one stands for an expression that may be moved."""
        self.temporaries += 1
        name = identifier(f"t{self.temporaries}", self.taken)
        if mergeable:
            self.mergeable.add(name)
        return name

    def fresh(self, name: str) -> str:
        """Return a new name like ``name``."""
        return identifier(name, self.taken)

    def read_sizes(self, graph: Graph) -> list[str]:
        """Name the sizes that the function needs, and return the lines that read them."""
        wanted: set[str] = set()
        for node in graph.nodes:
            wanted |= names_in(node.type.shape) | names_in(tuple(node.attrs.values()))
        lines = []
        for node in graph.inputs:
            for axis, dim in enumerate(node.type.shape):
                key = str(dim)
                if isinstance(dim, Size) and key not in self.sizes and key in wanted:
                    self.sizes[key] = self.fresh(key)
                    lines.append(f"{self.sizes[key]} = {self.of[node]}.shape[{axis}]")
        return lines

    def dim(self, dim: Dim) -> str:
        """Return a size as source."""
        return str(dim) if isinstance(dim, int) else renamed(str(dim), self.sizes)

    def shape(self, shape: Shape) -> str:
        """Return a shape as source."""
        inner = ", ".join(map(self.dim, shape))
        return f"({inner},)" if len(shape) == 1 else f"({inner})"

    def index(self, index: Index) -> str:
        """Return an index as source."""
        text = renamed(index.code, self.sizes)
        return _LOOP_VARIABLE.sub(lambda match: loop_name(int(match[1])), text)

    def element(self, node: Node, position: Position) -> str:
        """Return one element of a value in memory as source."""
        if not node.type.shape:
            return self.value(node)
        return f"{self.value(node)}[{', '.join(map(self.index, position))}]"


class Elements:
    """Writes the computation of single elements into scopes."""

    def __init__(self, plan: Schedule, names: Names):
        self.plan = plan
        self.names = names
        self.helpers: dict[str, str] = {}

    def read(self, scope: Scope, node: Node, position: Position) -> tuple[str, int]:
        """Return an expression for one element, and how many loops it needs around it."""
        key = (node, position)
        if key in scope.values:
            return scope.values[key]
        value = scalar_value(node)
        if value is not None:
            return literal(value, node.type.dtype), 0
        if node.op.name == "size":
            dtype = node.type.dtype
            found = f"{dtype_code(dtype)}({self.names.dim(node.attrs['size'])})", 0
        elif node in self.names.of or node in self.plan.stored:
            found = self.names.element(node, position), depth_of(position)
        else:
            found = self._inlined(scope, node, position)
        scope.values[key] = found
        return found

    def member(self, scope: Scope, node: Node, here: Position) -> tuple[str, int]:
        """Return one element of a member of the nest, computed and not read from memory."""
        if (node, here) not in scope.values:
            scope.values[(node, here)] = self._inlined(scope, node, here)
        return scope.values[(node, here)]

    def use(self, name: str) -> str:
        """Note that a helper function is called, and return its name."""
        self.helpers.update(helpers(name))
        return name

    def label(
        self, scope: Scope, node: Node, labels: Node, position: Position, of: Node
    ) -> tuple[str, int]:
        """Read a class label and check it."""
        key = (labels, (*position, Index("label")))
        if key not in scope.values:
            text, depth = self.read(scope, labels, position)
            name, count = self.names.temporary(), self.names.dim(of.type.shape[-1])
            scope.assign(depth, name, text)
            scope.add(depth, f"if {name} < 0 or {name} >= {count}:")
            what = f"{node.op.name}: a class label{_of(labels)} is not in 0 ... {count} - 1"
            scope.add(depth, f"{INDENT}raise IndexError({_message(what, node)!r})")
            scope.values[key] = (name, depth)
        return scope.values[key]

    def checked(
        self, scope: Scope, node: Node, indices: Sequence[tuple[Node, Position]], shape: Shape
    ) -> Position:
        """Read integer indices, wrap negative ones and check them."""
        found = []
        for (index, position), dim in zip(indices, shape, strict=False):
            text, depth = self.read(scope, index, position)
            name, size = self.names.temporary(), self.names.dim(dim)
            scope.assign(depth, name, text)
            scope.add(depth, f"if {name} < 0:")
            scope.add(depth, f"{INDENT}{name} += {size}")
            scope.add(depth, f"if {name} < 0 or {name} >= {size}:")
            what = f"{node.op.name}: an index{_of(index)} is outside an axis of size {size}"
            scope.add(depth, f"{INDENT}raise IndexError({_message(what, node)!r})")
            found.append(Index(name, depth))
        return tuple(found)

    def _inlined(self, scope: Scope, node: Node, position: Position) -> tuple[str, int]:
        if is_index_map(node):
            [(x, at)] = _read_at(node, position)
            return self.read(scope, x, at)
        return self._computed(scope, node, position)

    def _computed(self, scope: Scope, node: Node, position: Position) -> tuple[str, int]:
        """Compute one element in a statement of its own, as far out as it can stand."""
        depth = depth_of(position)
        match node.op.name:
            case "iota":
                return f"{dtype_code(node.type.dtype)}({self.names.index(position[0])})", depth
            case "one_hot":
                expression = self._one_hot(scope, node, position)
            case "pick":
                name, _ = self.label(scope, node, node.inputs[1], position, node.inputs[0])
                expression = self.names.element(node.inputs[0], (*position, Index(name, depth)))
            case "gather":
                expression, depth = self._gather(scope, node, position)
            case "place":
                return self._placed(scope, node, position)
            case _:
                operands = [self.read(scope, x, at) for x, at in _read_at(node, position)]
                expression = scalar_code(node, [text for text, _ in operands])
                depth = max((d for _, d in operands), default=0)
                if node.op.name in NEAR:
                    expression = self._near(scope, node, operands[0]) or expression
                for helper in called_helpers(expression):
                    self.use(helper)
        name = self.names.temporary(mergeable=True)
        statement = scope.assign(depth, name, expression, node.type.dtype)
        if _may_share_divisor(node):
            (numerator, _), (divisor, where) = operands
            key = divisor, where, node.inputs[1].op.name
            scope.quotients.setdefault(key, []).append((statement, numerator))
        return name, depth

    def share_divisors(self, scope: Scope) -> None:
        """Let quotients by one value of an elementary function share its reciprocal."""
        for (divisor, depth, function), quotients in scope.quotients.items():
            dtype = quotients[0][0].dtype
            if not depth or len(quotients) == 1 or dtype is None:
                continue
            if function in NEVER_EXTREME:
                name = function_name("shared_quotient", dtype)
            elif scope.near and dtype == FLOAT64:
                name = near_name("quotient", dtype)
                test = self.use(function_name("extreme", dtype))
                self._far_where(scope, depth, f"{test}({divisor})")
            else:
                continue
            for statement, numerator in quotients:
                statement.text = f"{self.use(name)}({numerator}, {divisor})"

    def _near(self, scope: Scope, node: Node, operand: tuple[str, int]) -> str:
        """Compute a function for arguments that are not large, and note where one is.

        Returns nothing where that cannot be noted.
        """
        text, depth = operand
        dtype = node.type.dtype
        if node.inputs[0].op.name not in BOUNDED:
            if not (scope.near and depth):
                return ""
            large = f"np.abs({text}) >= {literal(vectormath.NEAR, dtype)}"
            self._far_where(scope, depth, large)
        return f"{near_name(node.op.name, dtype)}({text})"

    def _far_where(self, scope: Scope, depth: int, test: str) -> None:
        """Note that a nest is to be run again, with full forms, if a test is true anywhere."""
        nest = scope.nest
        if nest.far is None:
            nest.far = self.names.fresh("far")
            nest.assign(0, nest.far, "False")
        line = f"{nest.far} |= {test}"
        if all(statement.text != line for statement in scope.before.get(depth, ())):
            scope.add(depth, line)

    def _one_hot(self, scope: Scope, node: Node, position: Position) -> str:
        *outer, last = position
        name, _ = self.label(scope, node, node.inputs[0], tuple(outer), node)
        one, zero = (literal(value, node.type.dtype) for value in (1, 0))
        return f"{one} if {self.names.index(last)} == {name} else {zero}"

    def _placed(self, scope: Scope, node: Node, position: Position) -> tuple[str, int]:
        """Read an element that is zero outside a window: what is outside must not be touched."""
        conditions, at = within(node, position)
        if not conditions:
            return self.read(scope, node.inputs[0], at)
        inside = scope.inside()
        text, _ = self.read(inside, node.inputs[0], at)
        name = self.names.temporary()
        scope.assign(depth_of(position), name, literal(0, node.type.dtype))
        test = " and ".join(self.names.index(Index(c)) for c in conditions)
        last = f"{name} = {text}"
        inside.add_if(depth_of(position), test, last, self.names.mergeable)
        return name, depth_of(position)

    def _gather(self, scope: Scope, node: Node, position: Position) -> tuple[str, int]:
        axis, x = node.attrs["axis"], node.inputs[0]
        indices = gather_indices(node, position)
        at = self.checked(scope, node, indices, x.type.shape[axis:])
        rank = node.type.ndim - (x.type.ndim - len(indices))
        where = position[:axis] + at + position[axis + rank :]
        return self.names.element(x, where), depth_of(where)


def _may_share_divisor(node: Node) -> bool:
    """Return whether a node is a quotient that need not be exact to the last bit.

    An elementary function's value is off by an ulp or so itself. But what one function has for two
    arguments is off alike: log(8)/log(2) is 3.
    """
    if node.op.name != "divide" or node.type.dtype.kind != "f":
        return False
    numerator, divisor = (x.op.name for x in node.inputs)
    return divisor in vectormath.VECTOR and numerator != divisor


def literal(value: Any, dtype: DType) -> str:
    """Return a number as source."""
    if dtype.kind == "b":
        return str(bool(value))
    if dtype.kind == "i":
        return f"{dtype_code(dtype)}({int(value)})"
    text = str(dtype.type(value))
    if not np.isfinite(value):
        text = "np.nan" if np.isnan(value) else ("np.inf" if value > 0 else "-np.inf")
    return text if dtype == FLOAT64 else f"{dtype_code(dtype)}({text})"


def loop_name(axis: int) -> str:
    """Return the variable of the loop over an axis."""
    return _LOOP_NAMES[axis] if axis < len(_LOOP_NAMES) else f"i{axis}"


def _read_at(node: Node, position: Position) -> Iterator[tuple[Node, Position]]:
    for x, at in reads(node, position):
        assert at is not None
        yield x, at


def _message(what: str, node: Node) -> str:
    return f"{what} (made at {node.origin.place})"


def _of(node: Node) -> str:
    return f" of {node.name}" if node.name else ""
