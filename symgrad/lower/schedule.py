"""Scheduling: which values are stored, and which of them are computed in one loop nest.

A value is stored when something needs all of it (BLAS, a gather, a reshape, the caller), when it
is a reduction, or when it is dear and used by more than one nest. Everything else is computed
where it is used. Nests over one index space are joined when each reads the others' values only
at the element it is at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Dim
from symgrad.ir.walk import consumers
from symgrad.lower.access import (
    LOADS,
    REDUCTIONS,
    Position,
    identity,
    is_inlined,
    reads,
)

Space = tuple[Dim, ...]

_CHEAP = frozenset(
    {
        *("add", "subtract", "multiply", "negative", "absolute", "sign", "maximum", "minimum"),
        *("where", "cast", "relu", "equal", "not_equal", "less", "less_equal", "greater"),
        *("greater_equal", "logical_and", "logical_or", "logical_not", "logical_xor"),
        *("one_hot", "iota", "pick", "gather"),
    }
)
_DEAR_COST = 10
_INLINE_LIMIT = 8
"""A value used more than once is stored when computing it costs more than this many simple ops."""
_DEPTH_LIMIT = 60
"""At most this many ops are inlined into one another, so that no recursion runs deep."""


@dataclass(slots=True)
class Nest:
    """One loop nest: the values that it computes, in order, over one index space."""

    space: Space
    members: list[Node] = field(default_factory=list)
    stored: set[Node] = field(default_factory=set)
    fusible: bool = True

    @property
    def kind(self) -> str:
        """``scalars`` (no loop), ``loops``, or the name of the op that is a step of its own."""
        if not self.fusible:
            return self.members[0].op.name
        return "loops" if self.space else "scalars"


@dataclass(slots=True)
class Schedule:
    """The steps of a program, in order, and the values that live in buffers."""

    graph: Graph
    nests: list[Nest]
    stored: set[Node]


def schedule(graph: Graph) -> Schedule:
    """Return the steps that compute the outputs of ``graph``, whose composite ops are expanded."""
    roots = _roots(graph)
    nests: list[Nest] = []
    home: dict[Node, int] = {}
    for node in graph.nodes:
        if node in roots:
            _put(node, roots, nests, home)
    stored = _needed(graph, nests, home, roots)
    for nest in nests:
        nest.stored = stored & set(nest.members)
    return Schedule(graph, nests, stored)


def space_of(node: Node) -> Space:
    """Return the index space of the nest that computes ``node``."""
    if node.op.name in REDUCTIONS:
        return node.inputs[0].type.shape
    return node.type.shape


def matrix_operand(node: Node) -> tuple[Node, bool]:
    """Return what BLAS reads for an operand: a stored value, and whether it is transposed."""
    if node.op.name == "transpose":
        axes = node.attrs["axes"]
        count = len(axes)
        if count > 1 and axes == (*range(count - 2), count - 1, count - 2):
            return node.inputs[0], True
    return node, False


def read_whole(node: Node) -> list[Node]:
    """Return the inputs of ``node`` of which it needs every element in memory."""
    match node.op.name:
        case "matmul":
            return [matrix_operand(x)[0] for x in node.inputs]
        case "reshape" | "prod_others":
            return list(node.inputs)
        case name if name in LOADS:
            return [node.inputs[0]]
        case _:
            return []


def _roots(graph: Graph) -> set[Node]:
    """Return the nodes that are computed as values of their own, not inlined."""
    needed: set[Node] = set(graph.outputs)
    users = consumers(graph.nodes)
    cost: dict[Node, int] = {}
    depth: dict[Node, int] = {}
    for node in graph.nodes:
        needed.update(read_whole(node))
    roots: set[Node] = set()
    for node in graph.nodes:
        if node.op.name in ("input", "constant", "size"):
            continue
        own = _DEAR_COST if node.op.elementwise and node.op.name not in _CHEAP else 1
        below = [x for x in node.inputs if x not in roots]
        cost[node] = own + sum(cost.get(x, 0) for x in below)
        depth[node] = 1 + max((depth.get(x, 0) for x in below), default=0)
        shared = len(users[node]) > 1 and cost[node] > _INLINE_LIMIT
        if (
            node in needed
            or not is_inlined(node)
            or not node.type.shape
            or shared
            or depth[node] >= _DEPTH_LIMIT
        ):
            roots.add(node)
    return roots


def leaves_of(node: Node, roots: set[Node]) -> Iterator[tuple[Node, Position | None]]:
    """Yield the roots that computing ``node`` reads, with the position of each."""
    position = identity(space_of(node))
    if node.op.name in REDUCTIONS:
        stack: list[tuple[Node, Position | None]] = [(node.inputs[0], position)]
    elif is_inlined(node):
        stack = list(reads(node, position))
    else:
        yield from ((x, None) for x in _sources(node))
        return
    seen = set()
    while stack:
        x, at = stack.pop()
        if (x, at) in seen:
            continue
        seen.add((x, at))
        if x in roots or at is None or not is_inlined(x):
            yield x, at
        else:
            stack.extend(reads(x, at))


def _sources(node: Node) -> list[Node]:
    """Return what a step of its own reads: every input, seen through transposes for BLAS."""
    if node.op.name == "matmul":
        return [matrix_operand(x)[0] for x in node.inputs]
    return list(node.inputs)


def _put(node: Node, roots: set[Node], nests: list[Nest], home: dict[Node, int]) -> None:
    """Put ``node`` into the first nest that may hold it, or a new one."""
    space = space_of(node)
    fusible = is_inlined(node) or (
        node.op.name in REDUCTIONS and not node.op.name.startswith("arg")
    )
    here = identity(space)
    earliest = 0
    for x, at in _dependencies(node, roots):
        if x not in home:
            continue
        pointwise = at == here and is_inlined(x) and x.type.shape == space
        earliest = max(earliest, home[x] + (0 if pointwise else 1))
    if fusible:
        for number in range(earliest, len(nests)):
            if nests[number].fusible and nests[number].space == space:
                nests[number].members.append(node)
                home[node] = number
                return
    nests.append(Nest(space, [node], fusible=fusible))
    home[node] = len(nests) - 1


def _dependencies(node: Node, roots: set[Node]) -> Iterator[tuple[Node, Position | None]]:
    """Yield every root that ``node`` reads, also through inlined inputs of whole-value steps."""
    for x, at in leaves_of(node, roots):
        if x in roots or not is_inlined(x):
            yield x, at
            continue
        # A step of its own reads this through inlined ops: whatever they read comes before.
        stack = [x]
        seen = set()
        while stack:
            inner = stack.pop()
            for source in inner.inputs:
                if source in roots:
                    yield source, None
                elif source not in seen:
                    seen.add(source)
                    stack.append(source)


def _needed(graph: Graph, nests: list[Nest], home: dict[Node, int], roots: set[Node]) -> set[Node]:
    """Return the roots that must live in memory: read outside their nest, or not inlined."""
    stored = {node for node in graph.outputs if node in home}
    for node in home:
        if not is_inlined(node):
            stored.add(node)
        for whole in read_whole(node):
            if whole in home:
                stored.add(whole)
        for x, _ in _dependencies(node, roots):
            if x in home and home[x] != home[node]:
                stored.add(x)
    for node in graph.nodes:
        stored.update(x for x in read_whole(node) if x in home)
    return stored
