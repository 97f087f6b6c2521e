"""How ops are written whose form depends on their operands: sums, products, powers, indices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Size
from symgrad.show.part import ATOM, HADAMARD, POWER, PRODUCT, QUOTIENT, SUM, Part

if TYPE_CHECKING:
    from symgrad.show.writer import Writer

SILENT = frozenset({"broadcast_to", "expand_dims", "squeeze", "reshape", "stop_gradient"})
"""Ops that a reader infers."""


_SHORT = 6
"""Numbers of more letters are not multiplied for print."""


def known_number(w: Writer, value: float) -> Part | None:
    """Return a well-known number in symbols, such as 2/√π."""
    pi = Part(w.style.name("pi"))
    root = Part(w.style.root(pi.text))
    twice = Part(w.style.product([w.style.number(2), pi.text]), PRODUCT)
    one, two = (Part(w.style.number(n), number=n) for n in (1, 2))
    for number, top, bottom in (
        (math.pi, pi, None),
        (2 * math.pi, twice, None),
        (2 / math.sqrt(math.pi), two, root),
        (1 / math.sqrt(2 * math.pi), one, Part(w.style.root(twice.text))),
        (math.sqrt(2 / math.pi), Part(w.style.root(_quotient(w, two, pi).text)), None),
        (math.sqrt(2), Part(w.style.root(two.text)), None),
        (1 / math.sqrt(2), one, Part(w.style.root(two.text))),
        (math.log(2), Part(w.style.call("log", [two.text])), None),
        (1 / math.log(2), one, Part(w.style.call("log", [two.text]))),
        (1 / math.log(10), one, Part(w.style.call("log", [w.style.number(10)]))),
    ):
        if value == number or value == np.float32(number):
            return top if bottom is None else _quotient(w, top, bottom)
    return None


def _leaf(w: Writer, node: Node, _inner: list[Part]) -> Part:
    return Part(w.style.name(str(node.attrs["name"])))


def _constant(w: Writer, node: Node, _inner: list[Part]) -> Part:
    value = node.attrs["value"]
    if value.ndim == 1 and value.size <= 4:
        return Part(w.style.index("", [w.style.number(v) for v in value.tolist()]))
    w.constants += 1
    return Part(w.style.name(f"C{w.constants}"))


def _size(w: Writer, node: Node, _inner: list[Part]) -> Part:
    return _size_part(w, node.attrs["size"])


def _size_part(w: Writer, size: Size) -> Part:
    single = len(size.terms) == 1
    factors, coefficient = size.terms[0]
    if single and all(isinstance(f, str) for f in factors):
        words = [w.style.name(str(f).lstrip("_")) for f in factors]
        if coefficient != 1:
            words.insert(0, w.style.number(coefficient))
        return Part(w.style.product(words), ATOM if len(words) == 1 else PRODUCT)
    return Part(w.style.literal(str(size).replace("*", " ")), SUM)


def _silent(_w: Writer, _node: Node, inner: list[Part]) -> Part:
    return inner[0]


def _cast(w: Writer, node: Node, inner: list[Part]) -> Part:
    if node.inputs[0].type.dtype.kind == "b" and node.type.dtype.kind != "b":
        return Part(w.style.indicator(inner[0].text))
    return inner[0]


def _add(w: Writer, _node: Node, inner: list[Part]) -> Part:
    a, b = inner
    if a.text == b.text:
        return _juxtaposed(w, [(0, w.number(2)), (3, a)])
    if b.opposite is None and a.opposite is not None:
        a, b = b, a
    if b.opposite is not None:
        return _infix(w, w.fit(a, SUM), w.style.minus, w.fit(b.opposite, QUOTIENT))
    return _infix(w, w.fit(a, SUM), w.style.plus, w.fit(b, SUM))


def _infix(w: Writer, left: str, sign: str, right: str, strength: int = SUM) -> Part:
    return Part(w.style.infix(left, sign, right), strength)


def _subtract(w: Writer, _node: Node, inner: list[Part]) -> Part:
    a, b = inner
    if b.opposite is not None:
        return _infix(w, w.fit(a, SUM), w.style.plus, w.fit(b.opposite, SUM))
    return _difference(w, a, b)


def _difference(w: Writer, a: Part, b: Part) -> Part:
    found = _infix(w, w.fit(a, SUM), w.style.minus, w.fit(b, QUOTIENT))
    if a.opposite is not None:
        return found
    turned = _infix(w, w.fit(b, SUM), w.style.minus, w.fit(a, QUOTIENT))
    return replace(found, turned=turned)


def _positive(inner: list[Part]) -> tuple[list[Part], bool]:
    """Return factors without minus signs, and whether their product has one.

    A difference among them takes it up: −2 (a − b) is 2 (b − a).
    """
    negative = sum(part.opposite is not None for part in inner) % 2 == 1
    found = [part.opposite or part for part in inner]
    for i, part in enumerate(found):
        if negative and part.turned is not None:
            found[i], negative = part.turned, False
    return found, negative


def _negative(w: Writer, _node: Node, inner: list[Part]) -> Part:
    return w.negated(inner[0])


def _multiply(w: Writer, node: Node, inner: list[Part]) -> Part:
    if any(part.opposite for part in inner):
        factors, negative = _positive(inner)
        product = _multiply(w, node, factors)
        return w.negated(product) if negative else product
    a, b = node.inputs
    left, right = inner
    if _is_outer(node):
        row = w.style.transpose(w.fit(right, ATOM))
        return Part(w.style.product([w.fit(left, PRODUCT), row]), PRODUCT)
    if a.type.ndim and b.type.ndim and scalar_value(a) is None and scalar_value(b) is None:
        first, second = _in_hadamard(w, left), _in_hadamard(w, right)
        found = _infix(w, first, w.style.times, second, HADAMARD)
        vectors = a.type.ndim == b.type.ndim == 1
        return replace(found, between=(left, right) if vectors else None)
    return _juxtaposed(w, [(_rank(a), left), (_rank(b), right)])


def _juxtaposed(w: Writer, operands: list[tuple[int, Part]]) -> Part:
    """Return a product of numbers and a value: numbers first, then sizes, scalars, tensors."""
    fractions = [(rank, part) for rank, part in operands if part.quotient is not None]
    if len(fractions) == 1:
        # a (b / c) is (a b) / c, which is how one writes it.
        [(_, fraction)] = fractions
        assert fraction.quotient is not None
        top, bottom = fraction.quotient
        inner = [(r, top if part is fraction else part) for r, part in operands]
        return _quotient(w, _juxtaposed(w, inner), bottom)
    operands = _numbers_first(w, operands)
    if len(operands) == 1:
        return operands[0][1]
    factors: list[tuple[int, str]] = []
    strength = PRODUCT
    for rank, part in operands:
        if part.factors:
            factors += part.factors
            continue
        if part.strength == HADAMARD and all(r < rank for r, p in operands if p is not part):
            strength = HADAMARD
            factors.append((9, part.text))
        else:
            # A factor in brackets comes after the plain ones of its kind.
            factors.append((2 * rank + (part.strength < PRODUCT), w.fit(part, PRODUCT)))
    factors = _gathered(w, sorted(factors, key=lambda factor: factor[0]))
    text = w.style.product([factor for _, factor in factors])
    if strength != PRODUCT:
        return Part(text, strength)
    first = next((part.number for _, part in operands if part.number is not None), None)
    return Part(text, PRODUCT, factors=tuple(factors), coefficient=first)


def _numbers_first(w: Writer, operands: list[tuple[int, Part]]) -> list[tuple[int, Part]]:
    """Return factors with the numbers among them multiplied, where that is exact and short."""
    found: list[tuple[int, Part]] = []
    numbers: list[float] = []
    for rank, part in operands:
        if part.number is not None:
            numbers.append(part.number)
        elif part.coefficient is not None:
            numbers.append(part.coefficient)
            rest = part.factors[1:]
            if rest:
                text = w.style.product([factor for _, factor in rest])
                found.append((rank, Part(text, PRODUCT, part.weight, part.depth, factors=rest)))
        else:
            found.append((rank, part))
    total = math.prod(numbers)
    if len(numbers) > 1 and len(repr(total)) > _SHORT:
        return operands
    if numbers and (total != 1 or not found):
        found.insert(0, (0, w.number(total)))
    return found


def _gathered(w: Writer, factors: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return factors with a name that occurs several times written once, as a power."""
    counts = Counter(text for _, text in factors)
    found: dict[str, tuple[int, str]] = {}
    for i, (kind, text) in enumerate(factors):
        if counts[text] > 1 and w.style.is_name(text):
            found.setdefault(text, (kind, w.style.power(text, w.style.number(counts[text]))))
        else:
            found[f"{i}"] = (kind, text)
    return list(found.values())


def _rank(node: Node) -> int:
    """Return a sort key: numbers before sizes before scalars before tensors."""
    if scalar_value(node) is not None:
        return 0
    inputs = {x.op.name for x in node.inputs}
    if node.op.name == "size" or (inputs and inputs <= {"constant", "size"}):
        return 1
    return 2 + bool(node.type.ndim)


def _in_hadamard(w: Writer, part: Part) -> str:
    """Return an operand of ⊙; matrix products are bracketed, as textbooks do."""
    if part.strength == PRODUCT and part.weight:
        return w.style.brackets(part.text)
    return w.fit(part, HADAMARD)


def _is_outer(node: Node) -> bool:
    a, b = node.inputs
    return a.type.ndim == 2 and a.type.shape[1] == 1 and b.type.ndim == 1


def _divide(w: Writer, node: Node, inner: list[Part]) -> Part:
    a, b = inner
    if a.opposite is not None or b.opposite is not None:
        parts, negative = _positive(inner)
        found = _divide(w, node, parts)
        return w.negated(found) if negative else found
    top = node.inputs[0]
    if a.quotient is not None and top.op.name == "divide" and top not in w.deltas:
        numerator, first = a.quotient
        if first.text == b.text:
            square = w.style.power(w.fit(b, ATOM), w.style.number(2))
            return _quotient(w, numerator, Part(square, POWER))
        if not node.type.ndim:
            product = w.style.product([w.fit(first, PRODUCT), w.fit(b, PRODUCT)])
            return _quotient(w, numerator, Part(product, PRODUCT))
    return _quotient(w, a, b)


def _quotient(w: Writer, top: Part, bottom: Part) -> Part:
    if w.style.stacked:
        text = w.style.fraction(top.text, bottom.text)
        return Part(text, PRODUCT, quotient=(top, bottom))
    over = w.fit(top, QUOTIENT) if top.strength != HADAMARD else w.style.brackets(top.text)
    text = w.style.fraction(over, w.fit(bottom, POWER))
    return Part(text, QUOTIENT, quotient=(top, bottom))


def _logistic_loss(w: Writer, node: Node, inner: list[Part]) -> Part:
    z, y = inner
    if node.type.ndim:
        left, right = (_in_hadamard(w, part) for part in inner)
        product = w.style.infix(right, w.style.times, left)
    else:
        product = _juxtaposed(w, [(2, y), (2, z)]).text
    return _infix(w, w.style.call("softplus", [z.text]), w.style.minus, product)


def _power(w: Writer, node: Node, inner: list[Part]) -> Part:
    base, exponent = inner
    number = scalar_value(node.inputs[1])
    if number == 1:
        return base
    if number == 0.5:
        return _root(w, base)
    if number is not None and number < 0:
        positive = Part(w.style.power(w.fit(base, ATOM), w.style.number(-number)), POWER)
        bottom = base if number == -1 else _root(w, base) if number == -0.5 else positive
        return _quotient(w, w.number(1), bottom)
    text = w.style.power(w.fit(base, ATOM), exponent.text)
    return Part(text, POWER, square_of=base if number == 2 else None)


def _root(w: Writer, part: Part) -> Part:
    if part.squares is not None:
        return Part(w.style.norm(part.squares.text))
    return Part(w.style.root(part.text))


def _sqrt(w: Writer, _node: Node, inner: list[Part]) -> Part:
    return _root(w, inner[0])


def _transposed(w: Writer, part: Part) -> Part:
    """Return Aᵀ for A, and A for Aᵀ."""
    if part.identity:
        return part
    if part.transposed is not None:
        return part.transposed
    return Part(w.style.transpose(w.fit(part, ATOM)), ATOM, transposed=part)


def _matmul(w: Writer, node: Node, inner: list[Part]) -> Part:
    if any(part.opposite for part in inner):
        factors, negative = _positive(inner)
        product = _matmul(w, node, factors)
        return w.negated(product) if negative else product
    a, b = inner
    if a.identity or b.identity:
        return b if a.identity else a
    ranks = [x.type.ndim for x in node.inputs]
    if ranks == [1, 1]:
        a = _transposed(w, a)
    elif ranks == [1, 2]:
        # A vector is a column: x A is Aᵀ x.
        a, b = _transposed(w, b), a
    return Part(w.style.product([w.fit(a, PRODUCT), w.fit(b, PRODUCT)]), PRODUCT)


def _transpose(w: Writer, node: Node, inner: list[Part]) -> Part:
    if not is_transpose(node):
        axes = w.style.literal(str(node.attrs["axes"]))
        return Part(w.style.call("transpose", [inner[0].text, axes]))
    return _transposed(w, inner[0])


def is_transpose(node: Node) -> bool:
    """Return whether a node swaps the last two axes."""
    if node.op.name != "transpose":
        return False
    axes = node.attrs["axes"]
    return len(axes) > 1 and axes == (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2)


def _sum(w: Writer, node: Node, inner: list[Part]) -> Part:
    x = node.inputs[0]
    dims = [x.type.shape[axis] for axis in node.attrs["axis"]]
    named = [str(dim) for dim in dims if isinstance(dim, Size)]
    nameless = len(named) < len(dims) or any(name.startswith("_") for name in named)
    if node.type.ndim and nameless:
        axes = w.style.literal(f"axis={axes_text(node.attrs['axis'])}")
        return Part(w.style.call("sum", [inner[0].text, axes]))
    [of] = inner
    if of.diagonal_of is not None:
        return Part(w.style.call("tr", [of.diagonal_of.text]))
    if x.type.ndim == 1 and of.square_of is not None:
        square = w.style.power(w.style.norm(of.square_of.text), w.style.number(2))
        return Part(square, POWER, squares=of.square_of)
    if x.type.ndim == 1 and of.between is not None:
        a, b = of.between
        return Part(w.style.product([_transposed(w, a).text, w.fit(b, PRODUCT)]), PRODUCT)
    sign = w.style.total(named if node.type.ndim else [])
    text = w.style.spaced(sign, w.fit(of, HADAMARD))
    return Part(text, PRODUCT, squares=None if node.type.ndim else of.square_of)


def _is_diagonal(node: Node) -> bool:
    """Return whether a node reads or writes the diagonal of a matrix."""
    indices = node.inputs[1:]
    return (
        len(indices) == 2
        and indices[0].op.name == "iota"
        and indices[0].attrs == indices[1].attrs
        and indices[0].op is indices[1].op
    )


def _scatter_add(w: Writer, node: Node, inner: list[Part]) -> Part:
    if not _is_diagonal(node) or node.type.ndim != 2:
        return w.by_template(node, inner)
    value = inner[0]
    if value.number is None:
        return Part(w.style.call("diag", [value.text]))
    unit = Part(w.style.name("I"), identity=value.number == 1)
    return unit if unit.identity else _juxtaposed(w, [(0, value), (3, unit)])


def axes_text(axes: object) -> str:
    """Return axes as people write them: a number, or several in parentheses."""
    if isinstance(axes, tuple):
        return str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
    return str(axes)


def _squeeze(w: Writer, node: Node, inner: list[Part]) -> Part:
    x = node.inputs[0]
    if x.op.name == "slice" and inner[0].weight and x.inputs[0] in w.parts:
        return _slice(w, x, [w.parts[x.inputs[0]]], node.attrs["axes"])
    return inner[0]


def _slice(w: Writer, node: Node, inner: list[Part], dropped: Sequence[int] = ()) -> Part:
    keys = []
    attrs, whole = node.attrs, node.inputs[0].type.shape
    for axis, (dim, start, size, step) in enumerate(
        zip(whole, attrs["start"], attrs["size"], attrs["step"], strict=True)
    ):
        if axis in dropped:
            keys.append(str(start))
            continue
        stop = start + step * size
        first = "" if start == 0 else str(start)
        last = "" if stop == dim else str(stop)
        keys.append(f"{first}:{last}" + ("" if step == 1 else f":{step}"))
    while len(keys) > 1 and keys[-1] == ":":
        keys.pop()
    return Part(w.style.index(w.fit(inner[0], ATOM), [w.style.literal(key) for key in keys]))


def _gather(w: Writer, node: Node, inner: list[Part]) -> Part:
    if _is_diagonal(node) and node.inputs[0].type.ndim == 2:
        return Part(w.style.call("diag", [inner[0].text]), diagonal_of=inner[0])
    x, *indices = inner
    before = [w.style.literal(":")] * node.attrs["axis"]
    return Part(w.style.index(w.fit(x, ATOM), before + [i.text for i in indices]))


RULES: dict[str, Callable[[Writer, Node, list[Part]], Part]] = {
    "input": _leaf,
    "constant": _constant,
    "size": _size,
    "cast": _cast,
    "add": _add,
    "subtract": _subtract,
    "negative": _negative,
    "multiply": _multiply,
    "divide": _divide,
    "logistic_loss": _logistic_loss,
    "power": _power,
    "sqrt": _sqrt,
    "scatter_add": _scatter_add,
    "matmul": _matmul,
    "transpose": _transpose,
    "sum": _sum,
    "slice": _slice,
    "gather": _gather,
    **dict.fromkeys(SILENT, _silent),
    "squeeze": _squeeze,
}
"""What writes an op. Others are written by their own template, or as a call."""
