"""Factor: numbers and sizes that multiply a tensor are collected and moved to the cheapest place.

Every value is seen as ``factor * base`` with a static factor: a rational number times a quotient
of sizes. Factors are joined along chains of products, taken out of sums that share them, and
carried through linear ops when the other side has fewer elements: so 1/2 * 2 * r / n becomes
r / n, and Xᵀ(r / n) becomes (Xᵀ r) / n. A value with several consumers keeps its factor, since
moving it would multiply once for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from symgrad.ir.call import apply
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Shape, divide, grows_faster, multiply
from symgrad.ir.types import representable
from symgrad.ir.walk import consumers
from symgrad.ops import elementwise as ew
from symgrad.ops.shape import broadcast_to
from symgrad.passes.rebuild import rebuild
from symgrad.tensor import Tensor, constant, size_tensor

_VIEWS = frozenset({"transpose", "reshape", "expand_dims", "squeeze"})


@dataclass(frozen=True, slots=True)
class Factor:
    """``number * top / bottom``, exactly; never zero."""

    number: Fraction = Fraction(1)
    top: Dim = 1
    bottom: Dim = 1

    def __mul__(self, other: Factor) -> Factor:
        return _factor(
            self.number * other.number,
            multiply(self.top, other.top),
            multiply(self.bottom, other.bottom),
        )

    def __truediv__(self, other: Factor) -> Factor:
        return self * Factor(1 / other.number, other.bottom, other.top)

    def __neg__(self) -> Factor:
        return Factor(-self.number, self.top, self.bottom)

    def plus(self, other: Factor) -> Factor | None:
        """Return the sum of two factors over the same sizes, None for others."""
        if (self.top, self.bottom) != (other.top, other.bottom):
            return None
        return Factor(self.number + other.number, self.top, self.bottom)

    @property
    def negative(self) -> bool:
        """Whether the factor is below zero."""
        return self.number < 0


ONE = Factor()


def _factor(number: Fraction, top: Dim, bottom: Dim) -> Factor:
    """Return the factor with what is common to ``top`` and ``bottom`` cancelled."""
    for a, b, above in ((top, bottom, True), (bottom, top, False)):
        quotient = divide(a, b)
        if quotient is not None:
            top, bottom = (quotient, 1) if above else (1, quotient)
            break
    if isinstance(top, int):
        number, top = number * top, 1
    if isinstance(bottom, int):
        number, bottom = number / bottom, 1
    return Factor(number, top, bottom)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A value as ``factor * base``; with no base it is the factor itself, in any shape."""

    factor: Factor
    base: Node | None


def split(node: Node) -> Scaled:
    """Return ``node`` as a factor and a base. One level is enough: nodes are canonical."""
    static = _static(node)
    if static is not None:
        return Scaled(static, None)
    match node.op.name:
        case "negative":
            inner = split_product(node.inputs[0])
            return Scaled(-inner.factor, inner.base)
        case _:
            return split_product(node)


def split_product(node: Node) -> Scaled:
    """Return a product or quotient with one static operand as a factor and a base."""
    if node.op.name == "multiply":
        for a, b in (node.inputs, node.inputs[::-1]):
            static = _static(a)
            if static is not None and b.type.shape == node.type.shape:
                return Scaled(static, b)
    if node.op.name == "divide":
        a, b = node.inputs
        static = _static(b)
        if static is not None and a.type.shape == node.type.shape:
            return Scaled(ONE / static, a)
    return Scaled(ONE, node)


def _static(node: Node) -> Factor | None:
    """Return a value made of constants and sizes only, the same in every element."""
    while node.op.name in ("broadcast_to", "expand_dims", "reshape"):
        node = node.inputs[0]
    if node.type.ndim and node.op.name != "constant":
        return None
    match node.op.name:
        case "constant":
            return _number(node)
        case "size":
            return _factor(Fraction(1), node.attrs["size"], 1)
        case "negative":
            inner = _static_leaf(node.inputs[0])
            return None if inner is None else -inner
        case "multiply" | "divide":
            a, b = (_static_leaf(x) for x in node.inputs)
            if a is None or b is None:
                return None
            return a * b if node.op.name == "multiply" else a / b
        case _:
            return None


def _static_leaf(node: Node) -> Factor | None:
    if node.op.name == "constant":
        return _number(node)
    if node.op.name == "size":
        return _factor(Fraction(1), node.attrs["size"], 1)
    return None


def _number(node: Node) -> Factor | None:
    value = scalar_value(node)
    usable = value is not None and node.type.is_float and representable(value, node.type.dtype)
    return Factor(Fraction(value)) if usable and value is not None else None


def scaled(factor: Factor, base: Node | None, shape: Shape, like: Node) -> Node | None:
    """Return ``factor * base`` in its plainest form, or None when it cannot be written."""
    try:
        number = float(factor.number)
    except OverflowError:
        return None
    if not representable(number, like.type.dtype):
        return None
    dtype = like.type.dtype
    if base is None:
        return broadcast_to(_written(factor, like), shape).node
    out = Tensor(base)
    if factor.top == 1 and abs(factor.number) == 1:
        out = out if factor.bottom == 1 else out / size_tensor(factor.bottom, dtype)
        out = -out if factor.negative else out
    elif factor.top == factor.bottom == 1 and _is_divisor(factor.number, like):
        out = out / constant(factor.number.denominator * factor.number.numerator, dtype)
    else:
        out = _written(factor, like) * out
    return broadcast_to(out, shape).node


def _is_divisor(number: Fraction, like: Node) -> bool:
    """Return whether to divide: by an integer whose reciprocal would be rounded."""
    denominator = number.denominator
    return (
        abs(number.numerator) == 1
        and denominator & (denominator - 1) != 0
        and representable(float(denominator), like.type.dtype)
    )


def _written(factor: Factor, like: Node) -> Tensor:
    dtype = like.type.dtype
    out = constant(float(factor.number), dtype)
    if factor.top != 1:
        top = size_tensor(factor.top, dtype)
        out = top if factor.number == 1 else out * top
    return out if factor.bottom == 1 else out / size_tensor(factor.bottom, dtype)


def factor(graph: Graph) -> Graph:
    """Return ``graph`` with static factors collected and moved."""
    uses = {node: len(users) for node, users in consumers(graph.nodes).items()}
    for output in graph.outputs:
        uses[output] = uses.get(output, 0) + 1

    def visit(node: Node, original: Node) -> tuple[Node, str] | None:
        rule = _RULES.get(node.op.name)
        if rule is None or not node.type.is_float:
            return None
        parts = [
            # A number is scaled for next to nothing, so a shared one need not keep its factor.
            _parted(node, x, shared=uses[was] > 1 and not (node.type.ndim and not x.type.ndim))
            for x, was in zip(node.inputs, original.inputs, strict=True)
        ]
        found = rule(node, parts)
        if found is None or found.type != node.type or _same(found, node):
            return None
        return found, _ACTIONS[node.op.name]

    return rebuild(graph, visit, "factor")


def _parted(node: Node, x: Node, shared: bool) -> Scaled:
    """Return the operand ``x`` of ``node`` as a factor and a base, if its factor may move."""
    part = split(x)
    if not shared or part.base is None or part.factor == -ONE:
        # A sign costs nothing anywhere, and merges with the sums it meets.
        return part
    # The sum of a one-hot row is 1, whatever else uses the row.
    trivial = node.op.name == "sum" and part.base.op.name == "one_hot"
    return part if trivial else Scaled(ONE, x)


def _same(a: Node, b: Node) -> bool:
    """Return whether two nodes are one op on the same inputs, constants compared by value."""
    if a is b:
        return True
    return (
        a.op is b.op
        and len(a.inputs) == len(b.inputs)
        and all(x is y or _equal_static(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))
    )


def _equal_static(a: Node, b: Node) -> bool:
    left, right = _static(a), _static(b)
    return left is not None and left == right and a.type == b.type


def _multiply(node: Node, parts: list[Scaled]) -> Node | None:
    a, b = parts
    shape = node.type.shape
    total = a.factor * b.factor
    if a.base is None or b.base is None:
        return scaled(total, a.base or b.base, shape, node)
    if total == ONE and a.factor == ONE:
        return None
    product_ = ew.multiply(Tensor(a.base), Tensor(b.base)).node
    for mine, other in ((a, b), (b, a)):
        # A sign alone is better in the open, where it merges with sums.
        if mine.factor not in (ONE, -ONE) and mine.base and _cheaper(mine.base, node):
            # The factor is on an operand smaller than the product: join both factors there.
            small = scaled(total, mine.base, mine.base.type.shape, node)
            if small is None or other.factor == ONE or other.base is None:
                return None
            return ew.multiply(Tensor(small), Tensor(other.base)).node
    return scaled(total, product_, shape, node)


def _cheaper(a: Node, b: Node) -> bool:
    return grows_faster(b.type.size, a.type.size)


def _divide(node: Node, parts: list[Scaled]) -> Node | None:
    a, b = parts
    total = a.factor / b.factor
    if b.base is None:
        return scaled(total, a.base, node.type.shape, node)
    if a.base is None or (a.factor == ONE and b.factor == ONE):
        return None
    quotient = ew.divide(Tensor(a.base), Tensor(b.base)).node
    return scaled(total, quotient, node.type.shape, node)


def _negative(node: Node, parts: list[Scaled]) -> Node | None:
    [a] = parts
    if a.base is not None and a.base.op.name == "subtract" and a.factor == ONE:
        return None
    return scaled(-a.factor, a.base, node.type.shape, node)


def _add(node: Node, parts: list[Scaled]) -> Node | None:
    a, b = parts
    sign = -1 if node.op.name == "subtract" else 1
    if a.base is None or b.base is None or (a.factor == b.factor == ONE and a.base is not b.base):
        return None
    left, right = a.factor, b.factor if sign > 0 else -b.factor
    if a.base is b.base and left.negative == right.negative:
        together = left.plus(right)
        return None if together is None else scaled(together, a.base, node.type.shape, node)
    common = left if left in (right, -right) else None
    if common is None:
        return _signs(node, a, b, left, right)
    if _cheaper(a.base, node) and _cheaper(b.base, node):
        return None
    if left == right:
        inner = ew.add(Tensor(a.base), Tensor(b.base)).node
    elif left.negative:
        inner, common = ew.subtract(Tensor(b.base), Tensor(a.base)).node, right
    else:
        inner = ew.subtract(Tensor(a.base), Tensor(b.base)).node
    return scaled(common, inner, node.type.shape, node)


def _signs(node: Node, a: Scaled, b: Scaled, left: Factor, right: Factor) -> Node | None:
    """Write a sum of differently scaled terms with the signs in the open: a - 2 b."""
    if not right.negative and not left.negative:
        return None
    if a.base is None or b.base is None or (not right.negative and left.negative and right != ONE):
        return None
    first = scaled(left, a.base, a.base.type.shape, node)
    second = scaled(-right if right.negative else right, b.base, b.base.type.shape, node)
    if first is None or second is None:
        return None
    if right.negative:
        return ew.subtract(Tensor(first), Tensor(second)).node
    positive = scaled(-left, a.base, a.base.type.shape, node)
    return None if positive is None else ew.subtract(Tensor(second), Tensor(positive)).node


def _linear(node: Node, parts: list[Scaled]) -> Node | None:
    """Carry factors through an op that is linear in each operand, where that is cheaper."""
    total = ONE
    bases = []
    for x, part in zip(node.inputs, parts, strict=True):
        if part.base is None or (part.factor != ONE and grows_faster(node.type.size, x.type.size)):
            bases.append(x)
        else:
            total = total * part.factor
            bases.append(part.base)
    if tuple(bases) == node.inputs:
        return None
    return scaled(total, apply(node.op, bases, node.attrs), node.type.shape, node)


_RULES: dict[str, Callable[[Node, list[Scaled]], Node | None]] = {
    "multiply": _multiply,
    "divide": _divide,
    "negative": _negative,
    "add": _add,
    "subtract": _add,
    "sum": _linear,
    "matmul": _linear,
    **dict.fromkeys(_VIEWS, _linear),
}
_ACTIONS = {
    "multiply": "(c x) (d y) -> (c d) (x y)",
    "divide": "(c x) / (d y) -> (c / d) (x / y)",
    "negative": "-(c x) -> (-c) x",
    "add": "c x + c y -> c (x + y)",
    "subtract": "c x - c y -> c (x - y)",
    "sum": "sum(c x) -> c sum(x)",
    "matmul": "A (c B) -> c (A B)",
    **{name: f"{name}(c x) -> c {name}(x)" for name in _VIEWS},
}
