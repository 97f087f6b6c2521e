"""How ops are written whose form depends on their operands: sums, products, powers, indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Shape, Size
from symgrad.show.matrices import inverse, matmul, solve, transpose, transposed, whole
from symgrad.show.part import ATOM, HADAMARD, POWER, PRODUCT, QUOTIENT, SUM, Part
from symgrad.show.product import juxtaposed, quotient, sign_in_front

if TYPE_CHECKING:
    from symgrad.show.writer import Writer

SILENT = frozenset({"broadcast_to", "expand_dims", "squeeze", "reshape", "stop_gradient"})
"""Ops that a reader infers."""


def known_number(w: Writer, value: float) -> Part | None:
    """Return a well-known number in symbols, such as 2/√π."""
    pi = Part(w.style.name("pi"))
    if w.is_declared(pi.text):
        return None
    root = Part(w.style.root(pi.text))
    twice = Part(w.style.product([w.style.number(2), pi.text]), PRODUCT)
    one, two = (Part(w.style.number(n), number=n) for n in (1, 2))
    for number, top, bottom in (
        (math.pi, pi, None),
        (2 * math.pi, twice, None),
        (2 / math.sqrt(math.pi), two, root),
        (1 / math.sqrt(2 * math.pi), one, Part(w.style.root(twice.text))),
        (math.sqrt(2 / math.pi), Part(w.style.root(quotient(w, two, pi).text)), None),
        (math.sqrt(2), Part(w.style.root(two.text)), None),
        (1 / math.sqrt(2), one, Part(w.style.root(two.text))),
        (math.log(2), Part(w.style.call("log", [two.text])), None),
        (1 / math.log(2), one, Part(w.style.call("log", [two.text]))),
        (1 / math.log(10), one, Part(w.style.call("log", [w.style.number(10)]))),
    ):
        if value in (number, float(np.float32(number))):
            return top if bottom is None else quotient(w, top, bottom)
    return None


def _leaf(w: Writer, node: Node, _inner: list[Part]) -> Part:
    return Part(w.declared(str(node.attrs["name"])))


def _constant(w: Writer, node: Node, _inner: list[Part]) -> Part:
    value = node.attrs["value"]
    if value.ndim == 1 and value.size <= 4:
        # Beside a value it would read as its index.
        return Part(w.style.index("", [w.style.number(v) for v in value.tolist()]), SUM)
    w.constants += 1
    return Part(w.unused(f"C{w.constants}"))


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
    if node.inputs[0].type.is_float and not node.type.is_float:
        return Part(w.style.call(node.type.dtype.name, [inner[0].text]))
    return inner[0]


def _add(w: Writer, node: Node, inner: list[Part]) -> Part:
    a, b = inner
    if a.text == b.text and a.shape == b.shape == node.type.shape:
        return juxtaposed(w, [(0, w.number(2)), (3, a)])
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


def _negative(w: Writer, _node: Node, inner: list[Part]) -> Part:
    return w.negated(inner[0])


def _multiply(w: Writer, node: Node, inner: list[Part]) -> Part:
    signed = sign_in_front(w, inner, lambda factors: _multiply(w, node, factors))
    if signed is not None:
        return signed
    a, b = node.inputs
    left, right = inner
    apart = told_apart(w, node, inner)
    if apart is not None:
        column, row = apart if a.type.shape[1:] == (1,) else apart[::-1]
        return Part(w.style.product([w.fit(column, PRODUCT, last=False), row.text]), PRODUCT)
    if a.type.ndim and b.type.ndim and scalar_value(a) is None and scalar_value(b) is None:
        first, second = _in_hadamard(w, left, last=False), _in_hadamard(w, right)
        found = _infix(w, first, w.style.times, second, HADAMARD)
        vectors = left.shape == right.shape == node.type.shape and node.type.ndim == 1
        return replace(found, between=(left, right) if vectors else None, open=right.open)
    return juxtaposed(w, [(_rank(a), left), (_rank(b), right)])


def _rank(node: Node) -> int:
    """Return a sort key: numbers before sizes before scalars before tensors."""
    if scalar_value(node) is not None:
        return 0
    inputs = {x.op.name for x in node.inputs}
    if node.op.name == "size" or (inputs and inputs <= {"constant", "size"}):
        return 1
    return 2 + bool(node.type.ndim)


def _in_hadamard(w: Writer, part: Part, last: bool = True) -> str:
    """Return an operand of ⊙; matrix products are bracketed, as textbooks do."""
    if part.strength == PRODUCT and part.weight:
        return w.style.brackets(part.text)
    return w.fit(part, HADAMARD, last)


def _divide(w: Writer, node: Node, inner: list[Part]) -> Part:
    signed = sign_in_front(w, inner, lambda parts: _divide(w, node, parts))
    if signed is not None:
        return signed
    a, b = inner
    top = node.inputs[0]
    if a.quotient is not None and top.op.name == "divide" and top not in w.deltas:
        numerator, first = a.quotient
        if first.text == b.text and first.shape == b.shape == node.type.shape:
            square = w.style.power(w.fit(b, ATOM), w.style.number(2))
            return quotient(w, numerator, Part(square, POWER))
        if not node.type.ndim:
            product = w.style.product([w.fit(first, PRODUCT, last=False), w.fit(b, PRODUCT)])
            return quotient(w, numerator, Part(product, PRODUCT))
    return quotient(w, a, b)


def _logistic_loss(w: Writer, node: Node, inner: list[Part]) -> Part:
    z, y = inner
    if node.type.ndim:
        left, right = (_in_hadamard(w, part) for part in inner)
        product = w.style.infix(right, w.style.times, left)
    else:
        product = w.fit(juxtaposed(w, [(2, y), (2, z)]), QUOTIENT)
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
        return quotient(w, w.number(1), bottom)
    text = w.style.power(w.fit(base, ATOM), exponent.text)
    return Part(text, POWER, square_of=base if number == 2 else None)


def _root(w: Writer, part: Part) -> Part:
    if part.squares is not None:
        return Part(w.style.norm(part.squares.text))
    text = w.style.root(part.text)
    # √x is not bracketed by itself.
    return Part(text, ATOM if w.style.stacked or text.endswith(")") else POWER)


def _sqrt(w: Writer, _node: Node, inner: list[Part]) -> Part:
    return _root(w, inner[0])


def _triangle(w: Writer, node: Node, inner: list[Part]) -> Part:
    k = node.attrs["k"]
    return Part(w.style.call(node.op.name, [inner[0].text, *[w.style.number(k)] * bool(k)]))


def _kron(w: Writer, _node: Node, inner: list[Part]) -> Part:
    # Textbooks differ in how strongly ⊗ binds: brackets leave no doubt.
    left, right = (w.fit(part, POWER) for part in inner)
    return _infix(w, left, w.style.kron, right, SUM)


def _sum(w: Writer, node: Node, inner: list[Part]) -> Part:
    x = node.inputs[0]
    dims = [x.type.shape[axis] for axis in node.attrs["axis"]]
    named = [str(dim) for dim in dims if isinstance(dim, Size)]
    kept = [str(dim) for axis, dim in enumerate(x.type.shape) if axis not in node.attrs["axis"]]
    nameless = len(named) < len(dims) or any(name.startswith("_") for name in named)
    if node.type.ndim and (nameless or set(named) & set(kept)):
        axes = w.style.literal(f"axis={axes_text(node.attrs['axis'])}")
        of = inner[0] if inner[0].shape == () else whole(w, x, inner[0])
        return Part(w.style.call("sum", [of.text, axes]))
    of = whole(w, x, inner[0])
    if of.diagonal_of is not None:
        return Part(w.style.call("tr", [of.diagonal_of.text]))
    squares = of.square_of
    if squares is not None and (squares.shape != x.type.shape or node.type.ndim):
        squares = None
    if x.type.ndim == 1 and squares is not None:
        square = w.style.power(w.style.norm(squares.text), w.style.number(2))
        return Part(square, POWER, squares=squares)
    if x.type.ndim == 1 and of.between is not None:
        a, b = of.between
        return Part(w.style.product([transposed(w, a).text, w.fit(b, PRODUCT)]), PRODUCT)
    sign = w.style.total(named if node.type.ndim else [])
    text = w.style.spaced(sign, w.fit(of, HADAMARD))
    return Part(text, PRODUCT, squares=squares, open=True)


def _is_diagonal(node: Node, shape: Shape) -> bool:
    """Return whether a node reads or writes the whole diagonal of a matrix of this shape."""
    indices = node.inputs[1:]
    return (
        len(indices) == len(shape) == 2
        and indices[0].op.name == indices[1].op.name == "iota"
        and shape == (indices[0].attrs["size"], indices[1].attrs["size"])
    )


def _scatter_add(w: Writer, node: Node, inner: list[Part]) -> Part:
    if not _is_diagonal(node, node.type.shape):
        return w.by_template(node, inner)
    value = inner[0]
    if value.shape != ():
        return Part(w.style.call("diag", [value.text]))
    unit = Part(w.unused("I"), identity=value.number == 1)
    if value.opposite is not None:
        return w.negated(juxtaposed(w, [(0, value.opposite), (3, unit)]))
    return unit if unit.identity else juxtaposed(w, [(0, value), (3, unit)])


def _floor_divide(w: Writer, node: Node, inner: list[Part]) -> Part:
    text = quotient(w, *inner).text
    return Part(w.style.filled("⌊{0}⌋", r"\left\lfloor {0} \right\rfloor", [text]))


def _place(w: Writer, node: Node, inner: list[Part]) -> Part:
    start = ", ".join(map(str, node.attrs["start"]))
    return Part(w.style.call("place", [inner[0].text, w.style.literal(f"from [{start}]")]))


def told_apart(w: Writer, node: Node, inner: list[Part]) -> list[Part] | None:
    """Return a column and a row that broadcast to a matrix as v and vᵀ; None for anything else."""
    if len(inner) != 2 or node.type.ndim != 2:
        return None
    shapes = [x.type.shape for x in node.inputs]
    columns = [len(s) == 2 and s[1] == 1 and s[0] != 1 for s in shapes]
    rows = [len(s) == 1 or (len(s) == 2 and s[0] == 1) for s in shapes]
    if sum(columns) != 1 or sum(rows) != 1 or any(p.shape == () for p in inner):
        return None
    return [p if column else transposed(w, p) for p, column in zip(inner, columns, strict=True)]


def columns_shown(w: Writer, node: Node, inner: list[Part], i: int) -> Part:
    """Return an operand; a column beside a square matrix as v 1ᵀ, for v would read as a row."""
    part, x = inner[i], node.inputs[i]
    if node.type.ndim > 2:
        return _with_axes(w, node, inner, i)
    square = any(p.shape is not None and p.shape == (*x.type.shape[:1],) * 2 for p in inner)
    if x.type.ndim != 2 or x.type.shape[1] != 1 or part.shape != x.type.shape[:1] or not square:
        return part
    factors = [w.fit(part, PRODUCT, last=False), w.style.transpose(w.style.number(1))]
    text = w.style.product(factors)
    return Part(text, PRODUCT, part.weight + 1, part.depth, shape=node.type.shape)


def _with_axes(w: Writer, node: Node, inner: list[Part], i: int) -> Part:
    """Return an operand with its new axes, where what is shown has fewer axes than the result.

    X[:, None] − X[None] would read as X − X.
    """
    part, x = inner[i], node.inputs[i]
    shapes = [p.shape for p in inner if p.shape != ()]
    few = all(shape is not None and len(shape) < node.type.ndim for shape in shapes)
    if not few or len(shapes) < 2 or part.shape in ((), x.type.shape):
        return part
    keys, rest = [], list(part.shape or ())
    for dim in x.type.shape:
        if rest and dim == rest[0]:
            keys.append(":")
            rest.pop(0)
        elif dim == 1:
            keys.append("None")
    if rest or len(keys) != x.type.ndim:
        return part
    while keys[-1] == ":":
        keys.pop()
    text = w.style.index(w.fit(part, ATOM), [w.style.literal(key) for key in keys])
    return Part(text, ATOM, part.weight + 1, part.depth, shape=x.type.shape)


def shown_shape(node: Node, inner: list[Part]) -> Shape:
    """Return the shape that an op on elements has as it is written, without hidden axes."""
    found: list[Dim] = []
    for part in inner:
        for i, dim in enumerate(reversed(part.shape or ())):
            if i == len(found):
                found.append(dim)
            elif found[i] == 1:
                found[i] = dim
            elif dim not in (1, found[i]):
                return node.type.shape
    return tuple(reversed(found))


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
        first, last = str(start), str(stop)
        if start == (0 if step > 0 else dim - 1):
            first = ""
        if stop == dim or (step < 0 and stop == -1):
            last = ""
        keys.append(f"{first}:{last}" + ("" if step == 1 else f":{step}"))
    while len(keys) > 1 and keys[-1] == ":":
        keys.pop()
    return Part(w.style.index(w.fit(inner[0], ATOM), [w.style.literal(key) for key in keys]))


def _gather(w: Writer, node: Node, inner: list[Part]) -> Part:
    if _is_diagonal(node, node.inputs[0].type.shape):
        of = whole(w, node.inputs[0], inner[0])
        return Part(w.style.call("diag", [of.text]), diagonal_of=of)
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
    "floor_divide": _floor_divide,
    "place": _place,
    "scatter_add": _scatter_add,
    "matmul": matmul,
    "inv": inverse,
    "solve": solve,
    "kron": _kron,
    "tril": _triangle,
    "triu": _triangle,
    "transpose": transpose,
    "sum": _sum,
    "slice": _slice,
    "gather": _gather,
    **dict.fromkeys(SILENT, _silent),
    "squeeze": _squeeze,
}
"""What writes an op. Others are written by their own template, or as a call."""
