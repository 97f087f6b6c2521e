"""Steps that take whole arrays: products of matrices, copies, views, and functions of NumPy's."""

from __future__ import annotations

from symgrad.ir.node import Node
from symgrad.ir.size import Dim
from symgrad.lower.access import (
    COLUMN,
    ROW,
    ZERO,
    Position,
    depth_of,
    identity,
    index_positions,
    matrix_operand,
    window,
)
from symgrad.lower.element import Names, literal
from symgrad.lower.emission import Emission
from symgrad.lower.scalars import called_helpers
from symgrad.lower.scope import Scope
from symgrad.lower.source import INDENT, Product, View


def write_whole(e: Emission, node: Node) -> None:
    """Write the step of a value that is not computed element by element."""
    if node in e.plan.sums:
        _accumulated(e, node)
    elif node.op.kernel:
        _matrix_by_matrix(e, node)
    else:
        _STEPS[node.op.name](e, node)


def _product(e: Emission, node: Node) -> None:
    e.step(f"matmul {node.type}", [node])
    e.allocate(node)
    _matmul(e, node, node)


def _accumulated(e: Emission, node: Node) -> None:
    """Add a product to what is in memory already."""
    total = e.plan.sums[node]
    e.step(f"matmul {node.type}, added in place", [node])
    base = e.buffers.of.get(total.base)
    own = e.buffers.of[node]
    in_place = own is base or own.owner is total.base
    name = e.allocate(node)
    scope = Scope()
    alpha = "1.0" if total.alpha is None else e.elements.read(scope, total.alpha, ())[0]
    beta = "1.0" if total.beta is None else e.elements.read(scope, total.beta, ())[0]
    e.close(scope, ())
    if not in_place:
        e.copy(total.base, name)
    _matmul(e, total.product, node, ("-" * total.negative + alpha, beta))


def _matmul(e: Emission, node: Node, into: Node, factors: tuple[str, str] | None = None) -> None:
    """Multiply matrices, or stacks of them, into the memory of ``into``."""
    a, b = node.inputs
    matrices = (a.type.ndim > 1) + (b.type.ndim > 1)
    batch = node.type.shape[: node.type.ndim - matrices]
    loops = identity(batch)
    (left, plain_a), (right, plain_b) = (_operand(e.names, x, loops) for x in (a, b))
    out = e.names.value(into)
    level = e.loops_over(batch)
    line = Product(
        left,
        right,
        f"{out}[{', '.join(map(e.names.index, loops))}]" if batch else out,
        (min(a.type.ndim, 2), min(b.type.ndim, 2)),
        (plain_a, plain_b),
        *(factors or ("1.0", "")),
        level,
    )
    if line.accumulates:
        e.elements.use("gemm")
    e.lines.append(line)


def _reshape(e: Emission, node: Node) -> None:
    x = node.inputs[0]
    source = e.names.value(x)
    e.step(f"view {node.type}", [node])
    name = e.names.value(node)
    if node.type.shape:
        code = e.names.shape(node.type.shape)
        e.lines.append(View(name, source, node.type.shape, code))
    else:
        zeros = ", ".join("0" for _ in x.type.shape)
        e.lines.append(f"{name} = {source}[{zeros}]" if zeros else f"{name} = {source}")


def _concatenate(e: Emission, node: Node) -> None:
    axis = node.attrs["axis"]
    e.step(f"concatenate {node.type}", [node])
    e.allocate(node)
    offset: Dim = 0
    for x in node.inputs:
        here, scope = identity(x.type.shape), Scope()
        place = (*here[:axis], window(here[axis], offset, 1), *here[axis + 1 :])
        text, _ = e.elements.read(scope, x, here)
        scope.store(depth_of(here), f"{e.names.element(node, place)} = {text}")
        e.close(scope, x.type.shape)
        offset = offset + x.type.shape[axis]


def _scatter(e: Emission, node: Node) -> None:
    x, *indices = node.inputs
    axis = node.attrs["axis"]
    e.step(f"scatter_add {node.type}", [node])
    e.allocate(node, fill=literal(0, node.type.dtype))
    scope = Scope()
    here = identity(x.type.shape)
    more = x.type.ndim - node.type.ndim
    placed = index_positions(indices, axis, more, here)
    at = e.elements.checked(scope, node, placed, node.type.shape[axis:])
    where = here[:axis] + at + here[axis + more + len(indices) :]
    text, _ = e.elements.read(scope, x, here)
    scope.store(depth_of(here), f"{e.names.element(node, where)} += {text}")
    e.close(scope, x.type.shape)


def _prod_others(e: Emission, node: Node) -> None:
    e.step(f"prod_others {node.type}", [node])
    e.allocates = True
    out = e.allocate(node)
    rows = ", ".join(e.names.value(x) for x in node.inputs)
    e.lines.append(f"{e.elements.use('prod_others')}(({rows},), {out})")


def _matrix_by_matrix(e: Emission, node: Node) -> None:
    """Compute each matrix of a stack, or the only one, with a function of NumPy's."""
    e.step(f"{node.op.name} {node.type}", [node])
    e.allocates = True
    stacked = max(x.type.ndim for x in node.inputs if x.type.ndim > 1) - 2
    batch = node.type.shape[:stacked]
    loops = identity(batch)
    operands = []
    for x in node.inputs:
        at = [e.names.index(i) for i in _place_in_stack(x, loops)]
        operands.append(e.names.value(x) + (f"[{', '.join(at)}]" if at else ""))
    text = node.op.kernel.format(*operands)
    for helper in called_helpers(text):
        e.elements.use(helper)
    if node.type.shape:
        e.allocate(node)
        place = [*map(e.names.index, loops), *[":"] * (node.type.ndim - stacked)]
        target = f"{e.names.value(node)}[{', '.join(place)}]"
    else:
        target = e.names.value(node)
    level = e.loops_over(batch)
    e.lines.append(f"{INDENT * level}{target} = {text}")


def _place_in_stack(x: Node, loops: Position) -> Position:
    """Return which matrix of a stack is used where loops over the places of a result are."""
    own = x.type.shape[: max(x.type.ndim - 2, 0)]
    at = loops[len(loops) - len(own) :]
    return tuple(ZERO if dim == 1 else i for dim, i in zip(own, at, strict=True))


def _operand(names: Names, x: Node, loops: Position) -> tuple[str, bool]:
    """Return an operand of BLAS as source, and whether it lies in one piece."""
    node, position = matrix_operand(x, _place_in_stack(x, loops))
    parts = [":" if i in (ROW, COLUMN) else names.index(i) for i in position]
    markers = [i for i in position if i in (ROW, COLUMN)]
    plain = all(i in (ROW, COLUMN) for i in position[len(position) - len(markers) :])
    while parts and parts[-1] == ":":
        parts.pop()
    text = names.value(node) + (f"[{', '.join(parts)}]" if parts else "")
    return text + (".T" if markers == [COLUMN, ROW] else ""), plain


_STEPS = {
    "matmul": _product,
    "reshape": _reshape,
    "concatenate": _concatenate,
    "scatter_add": _scatter,
    "prod_others": _prod_others,
}
