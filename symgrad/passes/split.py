"""Split: what can be computed in blocks of rows, and what is left once they are joined.

A program over a long batch reads its data several times, from memory each time: X for X w, and
again for the gradient's Xᵀ δ. If every value belongs to one row, or is a reduction over all rows,
the program can be run block by block, each in cache and on any core. Reductions of the blocks are
then joined, and what follows from them is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Dim, Size, names_in
from symgrad.ir.walk import reachable
from symgrad.ops.leaves import tensor

_JOINED = {"sum": "add", "max": "maximum", "min": "minimum", "prod": "multiply"}
"""How the reductions of blocks are joined: NumPy's function."""
_NARROW = 16
"""Products with a wider matrix are best left to BLAS in one piece."""
_ROW, _TURNED, _SHARED, _PART, _REST = "row", "turned", "shared", "part", "rest"


@dataclass(frozen=True, slots=True)
class Split:
    """A graph in two: ``part`` for each block of rows, ``rest`` for what is left to do once.

    Attributes:
        size: The name of the size that counts the rows.
        part: Takes the graph's inputs (those with rows, in blocks), then ``counts``. Its outputs
            are the graph's outputs with rows, then the reductions.
        rows: For each of the graph's outputs, its position among those of ``part``, if it has
            rows, else None.
        joined: How each reduction is joined: the name of NumPy's function.
        counts: The sizes of the whole that ``part`` takes as numbers.
        rest: Takes the joined reductions and the graph's inputs; its outputs are the graph's
            outputs without rows.
    """

    size: str
    part: Graph
    rows: tuple[int | None, ...]
    joined: tuple[str, ...]
    counts: tuple[Dim, ...]
    rest: Graph


def split(graph: Graph) -> Split | None:
    """Return ``graph`` in two, or None if not all of it goes row by row."""
    leading = [node.type.shape[0] for node in graph.inputs if node.type.shape]
    for size in dict.fromkeys(leading):
        if isinstance(size, Size):
            kinds = _kinds(graph, size)
            if kinds is not None and _ROW in kinds.values():
                return _parted(graph, size, kinds)
    return None


def _parted(graph: Graph, size: Size, kinds: Mapping[Node, str]) -> Split | None:
    used = {x for node in graph.nodes if kinds[node] == _REST for x in node.inputs}
    parts = [
        node
        for node in graph.nodes
        if kinds[node] == _PART and (node in used or node in graph.outputs)
    ]
    with_rows = list(dict.fromkeys(n for n in graph.outputs if kinds[n] == _ROW))
    if any(node.is_input for node in with_rows) or not parts:
        return None
    counts: dict[Node, Node] = {
        node: tensor(f"count {node.attrs['size']}", (), node.type.dtype).node
        for node in graph.nodes
        if node.op.name == "size" and size.names & names_in(node.attrs["size"])
    }
    given = {
        node: tensor(f"part {i}", node.type.shape, node.type.dtype).node
        for i, node in enumerate(parts)
    }
    others = [node for node in graph.outputs if kinds[node] != _ROW]
    return Split(
        str(size),
        Graph([*graph.inputs, *counts.values()], _replaced([*with_rows, *parts], counts)),
        tuple(with_rows.index(n) if n in with_rows else None for n in graph.outputs),
        tuple(_JOINED.get(node.op.name, "add") for node in parts),
        tuple(node.attrs["size"] for node in counts),
        Graph([*given.values(), *graph.inputs], _replaced(others or parts, given)),
    )


def _replaced(outputs: Sequence[Node], given: Mapping[Node, Node]) -> list[Node]:
    """Return ``outputs`` with some of the nodes below them replaced."""
    image: dict[Node, Node] = {}
    for node in reachable(outputs):
        moved = tuple([image[x] for x in node.inputs])
        image[node] = given[node] if node in given else node.with_inputs(moved)
    return [image[node] for node in outputs]


def _kinds(graph: Graph, size: Size) -> dict[Node, str] | None:
    """Return what each node is with respect to the rows, or None if one fits nowhere."""
    kinds: dict[Node, str] = {}
    for node in graph.nodes:
        kind = _kind(node, size, kinds)
        if kind is None:
            return None
        kinds[node] = kind
    return kinds


def _kind(node: Node, size: Size, kinds: Mapping[Node, str]) -> str | None:
    shape = node.type.shape
    if node.is_input:
        own = bool(shape) and shape[0] == size
        return _clean(shape[own:], size, _ROW if own else _SHARED)
    inputs = {kinds[x] for x in node.inputs}
    if inputs <= {_SHARED}:
        if node.op.name == "broadcast_to" and shape[0] == size:
            # The same in every row.
            return _clean(shape[1:], size, _ROW) if _is_new_axis(node) else None
        return _clean(shape, size, _SHARED)
    if _ROW not in inputs and _TURNED not in inputs:
        return _clean(shape, size, _REST)
    if inputs <= {_ROW, _SHARED, _TURNED}:
        found = _row_kind(node, size, kinds)
        return None if found is None else _clean(shape[found == _ROW :], size, found)
    return None


def _clean(shape: tuple[Dim, ...], size: Size, kind: str) -> str | None:
    """Return ``kind`` unless the number of rows occurs in a shape where it should not."""
    return None if kind != _TURNED and names_in(shape) & size.names else kind


def _is_new_axis(node: Node) -> bool:
    x = node.inputs[0]
    return x.type.ndim < node.type.ndim or x.type.shape[0] == 1


def _row_kind(node: Node, size: Size, kinds: Mapping[Node, str]) -> str | None:
    """Return the kind of a node with at least one input that has rows."""
    name = node.op.name
    if name == "matmul":
        return _product_kind(node, kinds)
    if any(kinds[x] == _TURNED for x in node.inputs):
        return None
    if name in _JOINED and 0 in node.attrs["axis"]:
        return _PART
    first = kinds[node.inputs[0]]
    if name == "scatter_add":
        return _PART if first == _ROW and node.attrs["axis"] == 0 else None
    if name == "transpose":
        return _TURNED if node.attrs["axes"] == (1, 0) else None
    keeps = bool(node.type.shape) and node.type.shape[0] == size
    return _ROW if keeps and _goes_by_row(node, kinds) else None


def _goes_by_row(node: Node, kinds: Mapping[Node, str]) -> bool:
    """Return whether each row of a value follows from the same row of its inputs."""
    x, attrs = node.inputs[0], node.attrs
    if node.op.elementwise:
        return all(
            y.type.ndim == node.type.ndim if kinds[y] == _ROW else _is_shared_by_rows(y, node)
            for y in node.inputs
        )
    match node.op.name:
        case "sum" | "max" | "min" | "prod" | "softmax" | "log_softmax" | "logsumexp":
            return 0 not in attrs["axis"]
        case "expand_dims" | "squeeze":
            return 0 not in attrs["axes"]
        case "slice":
            return bool(attrs["start"][0] == 0 and attrs["step"][0] == 1)
        case "broadcast_to":
            return kinds[x] == _ROW and x.type.ndim == node.type.ndim
        case "one_hot" | "pick":
            return kinds[x] == _ROW
        case "gather":
            return kinds[x] == _SHARED and attrs["axis"] == 0
        case _:
            return False


def _is_shared_by_rows(y: Node, node: Node) -> bool:
    return y.type.ndim < node.type.ndim or y.type.shape[0] == 1


def _product_kind(node: Node, kinds: Mapping[Node, str]) -> str | None:
    """Return the kind of a matrix product of something that has rows, if it is a narrow one."""
    a, b = node.inputs
    pair = kinds[a], kinds[b]
    if pair == (_ROW, _SHARED) and a.type.ndim == 2:
        return _ROW if b.type.ndim == 1 or _narrow(b.type.shape[1]) else None
    if pair == (_TURNED, _ROW) or (pair == (_ROW, _ROW) and a.type.ndim == 1):
        widths = [x.type.shape[axis] for x, axis in ((a, 0), (b, -1)) if x.type.ndim == 2]
        return _PART if len(widths) < 2 or any(map(_narrow, widths)) else None
    return None


def _narrow(dim: Dim) -> bool:
    return isinstance(dim, int) and dim <= _NARROW
