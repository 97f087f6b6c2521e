"""Scheduling: which values are stored, and which of them are computed in one loop nest.

A value is stored when something needs all of it (BLAS, a gather, a reshape, the caller), when it
is a reduction, or when it is dear and used by more than one nest. Everything else is computed
where it is used. Nests over one index space are joined when each reads the others' values only
at the element it is at, and so is a nest over nearly all of another's space that reads the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from symgrad.ir.cost import Cost, operations, size_in_bytes
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Size
from symgrad.ir.walk import consumers
from symgrad.lower.access import (
    CHECKED,
    LOADS,
    REDUCTIONS,
    Position,
    identity,
    is_inlined,
    matrix_operand,
    reads,
)
from symgrad.lower.accumulate import Accumulation, accumulations

Space = tuple[Dim, ...]

_CHEAP = frozenset(
    {
        *("add", "subtract", "multiply", "negative", "absolute", "sign", "maximum", "minimum"),
        *("where", "cast", "relu", "equal", "not_equal", "less", "less_equal", "greater"),
        *("greater_equal", "logical_and", "logical_or", "logical_not", "logical_xor"),
        *("one_hot", "iota", "pick", "gather", "place"),
    }
)
_DEAR_COST = 10
_INLINE_LIMIT = 8
"""A value used more than once is stored when computing it costs more than this many simple ops."""
_DEPTH_LIMIT = 60
"""At most this many ops are inlined into one another, so that no recursion runs deep."""
_BY_ROW_LIMIT = 25
"""The same where rows are computed apart, since what is stored cannot be read in other rows."""
_FEW = 8
"""A nest may join another that has so many elements more along an axis."""
_SMALL_STEP = 3, 12
"""The same limits where values share no loops: the steps of layers shall be small and alike."""


@dataclass(slots=True)
class Nest:
    """One step: a loop nest with the values that it computes, in order, or a step of its own.

    Some reductions may be over a little less than the nest's space (`space_of`).
    """

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
    """The steps of a program, in order, and the values that live in memory.

    Attributes:
        graph: The expanded graph.
        nests: The steps.
        roots: The values that are computed once, not wherever they are used.
        home: The number of the step that computes a root.
        stored: The roots that live in memory.
        sums: The sums that BLAS adds to what is there already.
        updates: The outputs that take the memory of an input, each with that input.
    """

    graph: Graph
    nests: list[Nest]
    roots: set[Node]
    home: dict[Node, int]
    stored: set[Node]
    sums: dict[Node, Accumulation]
    updates: dict[Node, Node]

    def reads(self, node: Node) -> Iterator[tuple[Node, Position | None]]:
        """Yield what a root reads from memory: roots and inputs, with the position of each."""
        return _dependencies(node, self.roots, self.sums)


def schedule(
    graph: Graph,
    updates: Mapping[Node, Node] | None = None,
    fuse: bool = True,
    by_row: bool = False,
) -> Schedule:
    """Return the steps that compute the outputs of ``graph``, whose composite ops are expanded.

    Args:
        graph: A graph whose composite ops are expanded.
        updates: Outputs that shall take the memory of an input, each with that input.
        fuse: Whether values over one index space share a nest.
        by_row: Whether rows are computed apart (`lower.rows`).
    """
    updates = dict(updates or {})
    sums = accumulations(graph, updates)
    usual = _BY_ROW_LIMIT if by_row else _INLINE_LIMIT, _DEPTH_LIMIT
    roots = _roots(graph, sums, *(usual if fuse else _SMALL_STEP))
    plan = Schedule(graph, [], roots, {}, set(), sums, {})
    late = _after(graph, updates)
    for node in sorted(roots, key=lambda root: (root in late, root.number)):
        _put(plan, node, updates, fuse)
    if fuse and not updates:
        _join_smaller(plan)
    plan.updates = {n: x for n, x in updates.items() if n in plan.home and _last(plan, n, x)}
    plan.stored = _needed(plan)
    for nest in plan.nests:
        nest.stored = plan.stored & set(nest.members)
    return plan


def space_of(node: Node) -> Space:
    """Return the index space of the nest that computes ``node``."""
    if node.op.name in REDUCTIONS:
        return node.inputs[0].type.shape
    return node.type.shape


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
            return list(node.inputs) if node.op.kernel else []


def _after(graph: Graph, updates: Mapping[Node, Node]) -> set[Node]:
    """Return the outputs that replace inputs, and all that needs them: they are computed last."""
    late = set(updates)
    for node in graph.nodes:
        if any(x in late for x in node.inputs):
            late.add(node)
    return late


def _roots(
    graph: Graph, sums: Mapping[Node, Accumulation], limit: int, depth_limit: int
) -> set[Node]:
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
        shared = len(users[node]) > 1 and cost[node] > limit
        if (
            node in needed
            or node in sums
            or not is_inlined(node)
            or not node.type.shape
            or shared
            or depth[node] >= depth_limit
        ):
            roots.add(node)
    # The product of such a sum is computed as a part of it.
    return roots - {total.product for total in sums.values()}


def _put(plan: Schedule, node: Node, updates: Mapping[Node, Node], fuse: bool) -> None:
    """Put ``node`` into the first nest that may hold it, or a new one."""
    space = space_of(node)
    fusible = node not in plan.sums and (
        is_inlined(node) or (node.op.name in REDUCTIONS and not node.op.name.startswith("arg"))
    )
    here = identity(space)
    earliest = 0
    for x, at in plan.reads(node):
        if x in plan.home:
            pointwise = at == here and _is_pointwise(plan, x, space)
            earliest = max(earliest, plan.home[x] + (0 if pointwise else 1))
    if node in updates:
        earliest = max(earliest, _readers_done(plan, updates[node], space), _checks_done(plan))
    if fusible and fuse:
        for number in range(earliest, len(plan.nests)):
            if plan.nests[number].fusible and plan.nests[number].space == space:
                plan.nests[number].members.append(node)
                plan.home[node] = number
                return
    plan.nests.append(Nest(space, [node], fusible=fusible))
    plan.home[node] = len(plan.nests) - 1


def _join_smaller(plan: Schedule) -> None:
    """Move reductions to later nests that read the same, over a slightly larger space.

    The sum of squares of differences has one element less than its gradient, and both read all.
    """
    for number, nest in enumerate(plan.nests):
        into = next((n for n in range(number + 1, len(plan.nests)) if _joins(plan, number, n)), 0)
        if into:
            plan.nests[into].members += nest.members
            plan.home.update(dict.fromkeys(nest.members, into))
            nest.members = []
    plan.nests = [nest for nest in plan.nests if nest.members]
    plan.home = {n: i for i, nest in enumerate(plan.nests) for n in nest.members}


def _joins(plan: Schedule, number: int, into: int) -> bool:
    """Return whether a nest is nothing but reductions that can be computed in a later one."""
    nest, later = plan.nests[number], plan.nests[into]
    if not (nest.fusible and later.fusible and _is_nearly(nest.space, later.space)):
        return False
    if any(n.type.shape or n.op.name not in REDUCTIONS for n in nest.members):
        return False
    between = [n for other in plan.nests[number + 1 : into + 1] for n in other.members]
    if any(x in nest.members for n in between for x, _ in plan.reads(n)):
        return False
    arrays = [{x for n in members.members for x, _ in plan.reads(n)} for members in (nest, later)]
    return any(x.type.shape for x in arrays[0] & arrays[1])


def _is_nearly(space: Space, whole: Space) -> bool:
    """Return whether a space is another one but for a few elements of some named sizes."""
    if len(space) != len(whole) or space == whole:
        return False
    for a, b in zip(space, whole, strict=True):
        missing = b - a
        few = isinstance(missing, int) and 0 < missing <= _FEW
        if a != b and not (isinstance(a, Size) and isinstance(b, Size) and few):
            return False
    return True


def _is_pointwise(plan: Schedule, x: Node, space: Space) -> bool:
    return x not in plan.sums and is_inlined(x) and x.type.shape == space


def _readers_done(plan: Schedule, replaced: Node, space: Space) -> int:
    """Return the first nest that may write over an input: all that reads it is done."""
    here = identity(space)
    earliest = 0
    for reader, number in plan.home.items():
        for x, at in plan.reads(reader):
            if x is replaced:
                beside = at == here and plan.nests[number].fusible
                earliest = max(earliest, number + (0 if beside else 1))
    return earliest


def _checks_done(plan: Schedule) -> int:
    """Return the first nest in which no label, index or matrix can be found wrong any more."""
    checked = [
        number
        for number, nest in enumerate(plan.nests)
        if any(_may_raise(x) for member in nest.members for x in _computed_in(plan, member))
    ]
    return max(checked, default=-1) + 1


def _may_raise(node: Node) -> bool:
    return node.op.name in CHECKED or bool(node.op.kernel)


def _computed_in(plan: Schedule, member: Node) -> Iterator[Node]:
    """Yield a root and what is computed with it, inlined."""
    stack = [member]
    seen = set()
    while stack:
        node = stack.pop()
        yield node
        for x in node.inputs:
            if x not in plan.roots and x not in seen:
                seen.add(x)
                stack.append(x)


def step_cost(plan: Schedule, nest: Nest) -> Cost:
    """Return what a step costs: each array that it reads or writes is moved once."""
    if nest.kind == "reshape":
        return Cost()
    computed = {node for member in nest.members for node in _computed_in(plan, member)}
    read = {x for member in nest.members for x, _ in plan.reads(member)}
    written = nest.members if not nest.fusible else nest.stored
    found = Cost()
    for node in computed:
        found += Cost(operations(node))
    for node in (*read.difference(nest.members), *written):
        if node.op.name != "size" and scalar_value(node) is None:
            found += Cost(0, size_in_bytes(node))
    return found


def _last(plan: Schedule, node: Node, replaced: Node) -> bool:
    """Return whether nothing reads ``replaced`` after an element of ``node`` is written over it."""
    own = plan.home[node]
    here = identity(space_of(node))
    for reader, number in plan.home.items():
        if number < own:
            continue
        places = [at for x, at in plan.reads(reader) if x is replaced]
        if reader is node and node in plan.sums and plan.sums[node].base is replaced:
            # BLAS adds to what is there; the factors of the product are another matter.
            places.remove(None)
        if places and (number > own or any(at != here for at in places)):
            return False
    return node.type == replaced.type


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
    """Return what a step of its own reads: every input, seen through views for BLAS."""
    if node.op.name == "matmul":
        return [matrix_operand(x)[0] for x in node.inputs]
    return list(node.inputs)


def _dependencies(
    node: Node, roots: set[Node], sums: Mapping[Node, Accumulation]
) -> Iterator[tuple[Node, Position | None]]:
    """Yield every root that ``node`` reads, also through inlined inputs of whole-value steps."""
    total = sums.get(node)
    if total is None:
        found = leaves_of(node, roots)
    else:
        factors = [x for x in (total.alpha, total.beta) if x is not None]
        found = iter([(x, None) for x in (*_sources(total.product), total.base, *factors)])
    for x, at in found:
        if x in roots or not is_inlined(x):
            yield x, at
            continue
        # A step of its own reads this through inlined ops: whatever they read comes before.
        stack = [x]
        seen = set()
        while stack:
            inner = stack.pop()
            for source in inner.inputs:
                if source in roots or not is_inlined(source):
                    yield source, None
                elif source not in seen:
                    seen.add(source)
                    stack.append(source)


def _needed(plan: Schedule) -> set[Node]:
    """Return the roots that must live in memory: read outside their nest, or not inlined."""
    home = plan.home
    stored = {node for node in plan.graph.outputs if node in home}
    for node in home:
        if not is_inlined(node) or node in plan.sums:
            stored.add(node)
        for x, _ in plan.reads(node):
            if x in home and home[x] != home[node]:
                stored.add(x)
    for node in plan.graph.nodes:
        stored.update(x for x in read_whole(node) if x in home)
    return stored
