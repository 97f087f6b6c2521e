"""Split: what can be computed in blocks of rows, and what is left once they are joined.

A program over a long batch reads its data several times, from memory each time: X for X w, and
again for the gradient's Xᵀ δ. If every value belongs to one row, or is a reduction over all rows,
the program can be run block by block, each in cache and on any core. Reductions of the blocks are
then joined, and what follows from them is computed once.

Where a value is made of several neighbouring rows (differences, Rosenbrock's function), blocks are
not cut: each sees all rows, and computes some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Dim, Size, names_in, product
from symgrad.ir.types import FLOAT32, INT64, TensorType
from symgrad.ir.walk import reachable
from symgrad.ops.leaves import stand_in

_JOINED = {"sum": "add", "max": "maximum", "min": "minimum", "prod": "multiply"}
"""How the reductions of blocks are joined: NumPy's function."""
_NARROW = 16
"""Products with a wider matrix are best left to BLAS."""
_BOUNDS = "first", "last"
_SHARED, _PART, _REST = "shared", "part", "rest"
Kind = int | str
"""What a value is with respect to the rows: the axis that they lie along; the same for all blocks;
a reduction over them; or what follows from reductions."""


@dataclass(frozen=True, slots=True)
class Split:
    """A graph in two: ``part`` for each block of rows, ``rest`` for what is left to do once.

    Attributes:
        size: The size that counts the rows.
        cut: Whether blocks are cut out of what has rows. Else each gets all of them.
        part: Takes the graph's inputs (those with rows, in blocks if they are cut), then ``counts``
            if they are cut, and else the first row to compute and the one behind the last. Its
            outputs are the graph's outputs with rows, then the reductions.
        rows: For each of the graph's outputs, its position among those of ``part``, if it has
            rows, else None.
        joined: How each reduction is joined: the name of NumPy's function.
        counts: The sizes of the whole that ``part`` takes as numbers.
        rest: Takes the joined reductions and the graph's inputs; its outputs are the graph's
            outputs without rows.
        wide: Whether there are products that are best left to BLAS.
        extents: How many rows there may be, which is more or fewer than ``size`` for some values.
    """

    size: Size
    cut: bool
    part: Graph
    rows: tuple[int | None, ...]
    joined: tuple[str, ...]
    counts: tuple[Dim, ...]
    rest: Graph
    wide: bool
    extents: tuple[Dim, ...]

    @property
    def with_rows(self) -> tuple[Node, ...]:
        """The outputs of ``part`` that have rows."""
        return self.part.outputs[: len({i for i in self.rows if i is not None})]


def split(graph: Graph) -> Split | None:
    """Return ``graph`` in two, or None if not all of it goes row by row."""
    for size in _leading(graph):
        kinds = _kinds(graph, size)
        if kinds is not None and 0 in kinds.values():
            return _parted(graph, size, kinds, cut=True)
    return None


def split_uncut(graph: Graph) -> Split | None:
    """Return an expanded ``graph`` in two for blocks that see all rows, or None.

    Whether that can be done depends on its schedule as well: see `lower.rows`.
    """
    for size in _leading(graph):
        kinds = _uncut_kinds(graph, size)
        if kinds is not None:
            return _parted(graph, size, kinds, cut=False)
    return None


def _leading(graph: Graph) -> list[Size]:
    """Return the sizes that may count rows: named ones of first axes."""
    dims = dict.fromkeys(node.type.shape[0] for node in graph.inputs if node.type.shape)
    return [dim for dim in dims if isinstance(dim, Size)]


def _parted(graph: Graph, size: Size, kinds: Mapping[Node, Kind], cut: bool) -> Split | None:
    used = {x for node in graph.nodes if kinds[node] == _REST for x in node.inputs}
    parts = [
        node
        for node in graph.nodes
        if kinds[node] == _PART and (node in used or node in graph.outputs)
    ]
    with_rows = list(dict.fromkeys(n for n in graph.outputs if kinds[n] == 0))
    others = [node for node in graph.outputs if kinds[node] != 0]
    if any(node.is_input for node in with_rows) or not (parts or (with_rows and not others)):
        return None
    counts: dict[Node, Node] = {
        node: _named(f"count {node.attrs['size']}", node.type, graph)
        for node in graph.nodes
        if cut and node.op.name == "size" and size.names & names_in(node.attrs["size"])
    }
    bound = TensorType(INT64, ())
    more = counts.values() if cut else [_named(name, bound, graph) for name in _BOUNDS]
    given = {node: _named(f"part {i}", node.type, graph) for i, node in enumerate(parts)}
    rest = _replaced(others or parts, given)
    if not cut and any(_computes_rows(node, size) for node in reachable(rest)):
        return None
    return Split(
        size,
        cut,
        Graph([*graph.inputs, *more], _replaced([*with_rows, *parts], counts)),
        tuple(with_rows.index(n) if n in with_rows else None for n in graph.outputs),
        tuple(_JOINED.get(node.op.name, "add") for node in parts),
        tuple(node.attrs["size"] for node in counts),
        Graph([*given.values(), *graph.inputs], rest),
        any(_is_wide(node, kinds) for node in graph.nodes),
        tuple({n.type.shape[i] for n in graph.nodes if isinstance(i := kinds[n], int)}),
    )


def _computes_rows(node: Node, size: Size) -> bool:
    """Return whether a node computes as many values as there are rows: better done in blocks."""
    return bool(node.inputs) and bool(names_in(node.type.shape) & size.names)


def _named(name: str, type_: TensorType, graph: Graph) -> Node:
    """Return an input beside those of a graph, which may be called the same."""
    taken = {node.attrs["name"] for node in graph.inputs}
    while name in taken:
        name += "_"
    return stand_in(name, type_).node


def _replaced(outputs: Sequence[Node], given: Mapping[Node, Node]) -> list[Node]:
    """Return ``outputs`` with some of the nodes below them replaced."""
    image: dict[Node, Node] = {}
    for node in reachable(outputs):
        moved = tuple([image[x] for x in node.inputs])
        image[node] = given[node] if node in given else node.with_inputs(moved)
    return [image[node] for node in outputs]


def _kinds(graph: Graph, size: Size) -> dict[Node, Kind] | None:
    """Return what each node is with respect to the rows, or None if one fits nowhere."""
    kinds: dict[Node, Kind] = {}
    for node in graph.nodes:
        kind = _kind(node, size, kinds)
        if kind is None or not _is_clean(node, size, kind):
            return None
        kinds[node] = kind
    return kinds


def _uncut_kinds(graph: Graph, size: Size) -> dict[Node, Kind] | None:
    """Return what each node is where blocks see all rows."""
    kinds: dict[Node, Kind] = {}
    for node in graph.nodes:
        kind = _uncut_kind(node, size, {kinds[x] for x in node.inputs})
        if kind is None:
            return None
        kinds[node] = kind
    return kinds


def _uncut_kind(node: Node, size: Size, inputs: set[Kind]) -> Kind | None:
    axes = [axis for axis, dim in enumerate(node.type.shape) if names_in(dim) & size.names]
    if axes:
        return axes[0] if len(axes) == 1 and not inputs & {_PART, _REST} else None
    if inputs & {_PART, _REST}:
        return _REST if inputs <= {_SHARED, _PART, _REST} else None
    if inputs <= {_SHARED} or node.op.name == "slice":
        return _SHARED
    return _PART if _can_join(node) else None


def _can_join(node: Node) -> bool:
    """Return whether a node is a reduction whose values for blocks can be joined."""
    # What one block's product overflows to would be all that is left of it.
    return node.op.name in _JOINED and (node.op.name, node.type.dtype) != ("prod", FLOAT32)


def _kind(node: Node, size: Size, kinds: Mapping[Node, Kind]) -> Kind | None:
    shape = node.type.shape
    if node.is_input:
        return 0 if shape and shape[0] == size else _SHARED
    inputs = {kinds[x] for x in node.inputs}
    if inputs <= {_SHARED}:
        if node.op.name == "broadcast_to" and size in shape:
            # The same in every row.
            axis = shape.index(size)
            return axis if _is_shared_along(axis, node.inputs[0], len(shape)) else None
        return _SHARED
    if inputs & {_PART, _REST}:
        return _REST if inputs <= {_SHARED, _PART, _REST} else None
    return _product_kind(node, kinds) if node.op.name == "matmul" else _row_kind(node, size, kinds)


def _is_clean(node: Node, size: Size, kind: Kind) -> bool:
    """Return whether the number of rows occurs in a node only where it says how many rows it has.

    In a block it is another number: a count of all rows (the op ``size``) is handed to the blocks.
    """
    attrs = [] if node.op.name == "size" else node.attrs.values()
    places = [node.type.shape, *(value for value in attrs if isinstance(value, tuple))]
    if names_in(tuple(value for value in attrs if not isinstance(value, tuple))) & size.names:
        return False
    if isinstance(kind, int):
        if node.type.shape[kind] != size:
            return False
        places = [place[:kind] + place[kind + 1 :] for place in places]
    return not any(names_in(place) & size.names for place in places)


def _is_shared_along(axis: int, x: Node, ndim: int) -> bool:
    """Return whether ``x``, broadcast to so many axes, is the same all along one of them."""
    own = axis - (ndim - x.type.ndim)
    return own < 0 or x.type.shape[own] == 1


def _common(inputs: Sequence[Node], ndim: int, kinds: Mapping[Node, Kind]) -> int | None:
    """Return the axis of the rows where inputs are broadcast to ``ndim`` axes, if there is one."""
    axes = {kind + ndim - x.type.ndim for x in inputs if isinstance(kind := kinds[x], int)}
    if len(axes) != 1:
        return None
    [axis] = axes
    shared = [x for x in inputs if kinds[x] == _SHARED]
    return axis if all(_is_shared_along(axis, x, ndim) for x in shared) else None


def _row_kind(node: Node, size: Size, kinds: Mapping[Node, Kind]) -> Kind | None:
    """Return the kind of a node with at least one input that has rows."""
    name, attrs = node.op.name, node.attrs
    if node.op.elementwise or name == "concatenate":
        found = _common(node.inputs, node.type.ndim, kinds)
        return None if found == attrs.get("axis") else found
    axis = kinds[node.inputs[0]]
    if not isinstance(axis, int):
        return _gathered(node, kinds)
    if name in _JOINED or name == "logsumexp":
        if axis in attrs["axis"]:
            return _PART if _can_join(node) else None
        return axis - len([other for other in attrs["axis"] if other < axis])
    match name:
        case "softmax" | "log_softmax":
            return None if axis in attrs["axis"] else axis
        case "one_hot":
            return axis
        case "pick":
            return axis if kinds[node.inputs[1]] == axis else None
        case "scatter_add":
            indices = node.inputs[1:]
            ndim = max(x.type.ndim for x in indices)
            alike = axis == attrs["axis"] == 0 and _common(indices, ndim, kinds) == 0
            return _PART if alike else None
        case _:
            return _moved(node, axis, size)


def _moved(node: Node, axis: int, size: Size) -> int | None:
    """Return where a view, or zeros around a value, have the rows that lie along ``axis`` of it."""
    x, attrs, ndim = node.inputs[0], node.attrs, node.type.ndim
    match node.op.name:
        case "expand_dims":
            return [i for i in range(ndim) if i not in attrs["axes"]][axis]
        case "squeeze":
            return axis - len([other for other in attrs["axes"] if other < axis])
        case "transpose":
            return tuple(attrs["axes"]).index(axis)
        case "broadcast_to":
            return axis + ndim - x.type.ndim
        case "slice" | "place":
            return axis if attrs["start"][axis] == 0 and attrs["step"][axis] == 1 else None
        case "reshape":
            before = product(x.type.shape[:axis])
            places = [i for i, dim in enumerate(node.type.shape) if dim == size]
            return next((i for i in places if product(node.type.shape[:i]) == before), None)
        case _:
            return None


def _gathered(node: Node, kinds: Mapping[Node, Kind]) -> Kind | None:
    """Return the kind of what is looked up in a table that all rows share."""
    table, *indices = node.inputs
    if node.op.name != "gather" or node.attrs["axis"] != 0:
        return None
    ndim = node.type.ndim - (table.type.ndim - len(indices))
    return 0 if all(kinds[x] == 0 and x.type.ndim == ndim for x in indices) else None


def _product_kind(node: Node, kinds: Mapping[Node, Kind]) -> Kind | None:
    """Return the kind of a matrix product of something that has rows."""
    a, b = node.inputs
    left, right = kinds[a], kinds[b]
    matrices = (a.type.ndim > 1) + (b.type.ndim > 1)
    if left == a.type.ndim - 1 or right == max(b.type.ndim - 2, 0):
        # Summed over the rows: both must have them there.
        both = left == a.type.ndim - 1 and right == max(b.type.ndim - 2, 0)
        return _PART if both else None
    if left == a.type.ndim - 2 and right == _SHARED:
        return node.type.ndim - matrices
    if right == b.type.ndim - 1 and left == _SHARED:
        return node.type.ndim - 1
    # What is left: stacks of matrices with a row for each, or few of them.
    ndim = node.type.ndim - matrices + 2
    axes = {kind + ndim - x.type.ndim for x in (a, b) if isinstance(kind := kinds[x], int)}
    if len(axes) != 1:
        return None
    [axis] = axes
    shared = [x for x in (a, b) if kinds[x] == _SHARED and x.type.ndim > 2]
    free = all(_is_shared_along(axis, x, ndim) for x in shared)
    return axis if axis < ndim - 2 and free else None


def _is_wide(node: Node, kinds: Mapping[Node, Kind]) -> bool:
    """Return whether a node is a product of rows that BLAS computes faster than a loop does."""
    if node.op.name != "matmul" or min(x.type.ndim for x in node.inputs) < 2:
        return False
    a, b = node.inputs
    if not any(isinstance(kinds[x], int) for x in node.inputs):
        return False
    if node.type.ndim > 2:
        return True
    summed = kinds[a] == 1
    narrow = [a.type.shape[0], b.type.shape[1]] if summed else [b.type.shape[1]]
    return not any(isinstance(dim, int) and dim <= _NARROW for dim in narrow)
