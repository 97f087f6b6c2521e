"""How one element of a value is computed: from which elements of which other values.

An index is a tuple of expressions over the loop variables of a nest, written ``@0``, ``@1``, ...
until they get names. Views (transposes, slices, broadcasts, new axes) are index maps: they cost
nothing and copy nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symgrad.ir.node import Node
from symgrad.ir.size import Dim

REDUCTIONS = frozenset({"sum", "prod", "max", "min", "argmax", "argmin"})
LOADS = frozenset({"gather", "pick"})
"""Ops that read their first input at positions that are known only when they run."""
CHECKED = LOADS | {"one_hot", "scatter_add"}
"""Ops that raise for a label or an index that there is none for."""
MAPS = frozenset({"one_hot", "iota", "place"}) | LOADS


@dataclass(frozen=True, slots=True)
class Index:
    """One axis of an index: an expression, how many loops it needs around it, and an offset."""

    text: str
    depth: int = 0
    offset: Dim = 0

    @property
    def code(self) -> str:
        """The index as source; sizes and loop variables still have their own names."""
        if self.offset == 0:
            return self.text
        if self == Index("0", 0, self.offset):
            return str(self.offset)
        if isinstance(self.offset, int) and self.offset < 0:
            return f"{self.text} - {-self.offset}"
        return f"{self.offset} {'' if self.text.startswith('-') else '+ '}{self.text}".replace(
            " -", " - ", 1
        )


ZERO = Index("0")
ROW, COLUMN = Index(":row"), Index(":column")
Position = tuple[Index, ...]


def identity(space: Sequence[Dim]) -> Position:
    """Return the index of the element that a nest over ``space`` visits. Size 1 needs no loop."""
    return tuple(
        ZERO if dim == 1 else Index(f"@{axis}", axis + 1) for axis, dim in enumerate(space)
    )


def depth_of(position: Position) -> int:
    """Return how many loops a position needs around it."""
    return max((index.depth for index in position), default=0)


def matrix_operand(node: Node, batch: Position = ()) -> tuple[Node, Position]:
    """Return what BLAS reads for an operand, seen through views, and where in it.

    The position tells, for the axes of the value found, which one runs along the operand's rows
    (``ROW``) and which along its columns (``COLUMN``); the others are at ``batch``. One of the
    first two is the last axis, so that BLAS can take the matrix as it lies.
    """
    if node.type.ndim < 2:
        return node, (COLUMN,) * node.type.ndim
    position: Position = (*(batch or identity(node.type.shape[:-2])), ROW, COLUMN)
    found = node, position
    while is_index_map(node):
        before, position = position, through_view(node, position)
        x = node.inputs[0]
        for marker in (ROW, COLUMN):
            if position.count(marker) != 1:
                return found
            if x.type.shape[position.index(marker)] != node.type.shape[before.index(marker)]:
                return found
        node = x
        if position[-1] in (ROW, COLUMN):
            found = node, position
    return found


def is_map(node: Node) -> bool:
    """Return whether one element follows from single elements of the inputs."""
    return node.op.elementwise or node.op.name in MAPS


def is_index_map(node: Node) -> bool:
    """Return whether the index of an element tells, axis by axis, where it is in the input."""
    return node.op.view and node.op.name != "reshape"


def is_inlined(node: Node) -> bool:
    """Return whether the value can be computed where it is used, element by element."""
    return is_map(node) or is_index_map(node)


def aligned(x: Node, position: Position, like: Node) -> Position:
    """Return the position in ``x`` of what is broadcast to ``position`` in ``like``."""
    own = position[like.type.ndim - x.type.ndim :]
    return tuple(ZERO if dim == 1 else index for dim, index in zip(x.type.shape, own, strict=True))


def through_view(node: Node, position: Position) -> Position:
    """Return which element of a view's input is its element at ``position``."""
    x = node.inputs[0]
    match node.op.name:
        case "transpose":
            found = [ZERO] * len(position)
            for index, axis in zip(position, node.attrs["axes"], strict=True):
                found[axis] = index
            return tuple(found)
        case "expand_dims":
            axes = node.attrs["axes"]
            return tuple(index for axis, index in enumerate(position) if axis not in axes)
        case "squeeze":
            rest = iter(position)
            axes = node.attrs["axes"]
            return tuple(ZERO if axis in axes else next(rest) for axis in range(x.type.ndim))
        case "slice":
            return tuple(
                window(index, start, step)
                for index, start, step in zip(
                    position, node.attrs["start"], node.attrs["step"], strict=True
                )
            )
        case name:
            assert name == "broadcast_to", name
            return aligned(x, position, node)


def window(index: Index, start: Dim, step: int) -> Index:
    """Return ``start + step * index``."""
    if step == 1:
        return Index(index.text, index.depth, index.offset + start)
    if index.text == "0":
        return Index("0", 0, step * index.offset + start)
    inner = index.text if index.offset == 0 else f"({index.code})"
    scaled = inner if step == -1 else f"{abs(step)} * {inner}"
    return Index(f"{'-' * (step < 0)}{scaled}", index.depth, start)


def within(node: Node, position: Position) -> tuple[list[str], Position]:
    """Return where in its input an element of a ``place`` comes from, and the conditions for that.

    The conditions are source; where one does not hold, the element is zero.
    """
    conditions = []
    found = []
    dims = zip(node.inputs[0].type.shape, node.type.shape, strict=True)
    windows = zip(node.attrs["start"], node.attrs["step"], strict=True)
    for index, (dim, whole), (start, step) in zip(position, dims, windows, strict=True):
        if (start, step, dim) == (0, 1, whole):
            found.append(index)
            continue
        width = abs(step)
        if step > 0:
            at = Index(index.text, index.depth, index.offset - start)
            if start != 0:
                conditions.append(f"{index.code} >= {start}")
            if dim * width + start != whole:
                conditions.append(f"{index.code} < {dim * width + start}")
        else:
            at = window(index, start, -1)
            conditions += [f"{index.code} <= {start}", f"{index.code} > {start - dim * width}"]
        if width > 1:
            conditions.append(f"({at.code}) % {width} == 0")
            at = Index(f"({at.code}) // {width}", at.depth)
        found.append(at)
    return conditions, tuple(found)


def reads(node: Node, position: Position) -> list[tuple[Node, Position | None]]:
    """Return the inputs of an inlined node, each with the position at which it is read.

    The position is None for an input that is read wherever the run-time values of the other
    inputs say, so that it must be stored.
    """
    name = node.op.name
    if is_index_map(node):
        return [(node.inputs[0], through_view(node, position))]
    if name == "gather":
        return [(node.inputs[0], None), *gather_indices(node, position)]
    if name == "pick":
        return [(node.inputs[0], None), (node.inputs[1], position)]
    if name == "one_hot":
        return [(node.inputs[0], position[:-1])]
    if name == "place":
        return [(node.inputs[0], within(node, position)[1])]
    return [(x, aligned(x, position, node)) for x in node.inputs]


def gather_indices(node: Node, position: Position) -> list[tuple[Node, Position]]:
    """Return the index arrays of a gather, each with the position at which it is read."""
    x, *indices = node.inputs
    return index_positions(indices, node.attrs["axis"], node.type.ndim - x.type.ndim, position)


def index_positions(
    indices: Sequence[Node], axis: int, more: int, position: Position
) -> list[tuple[Node, Position]]:
    """Return index arrays, each with where it is read for an element of the indexed values.

    Those values have ``more`` axes than what is indexed; the arrays' own start at ``axis``.
    """
    rank = more + len(indices)
    middle = position[axis : axis + rank]
    return [
        (
            index,
            tuple(
                ZERO if dim == 1 else at
                for dim, at in zip(index.type.shape, middle[rank - index.type.ndim :], strict=True)
            ),
        )
        for index in indices
    ]
