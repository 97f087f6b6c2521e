"""How products, inverses and transposes of matrices are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symgrad.ir.node import Node
from symgrad.ir.size import shape_text
from symgrad.show.part import ATOM, POWER, PRODUCT, Part
from symgrad.show.product import juxtaposed, number_and_rest, sign_in_front

if TYPE_CHECKING:
    from symgrad.show.writer import Writer


def transposed(w: Writer, part: Part) -> Part:
    """Return Aᵀ for A, and A for Aᵀ."""
    if part.identity or part.symmetric:
        return part
    if part.inverse_of is not None:
        return inverted(w, transposed(w, part.inverse_of))
    if part.transposed is not None:
        return part.transposed
    return Part(w.style.transpose(w.fit(part, ATOM)), ATOM, transposed=part)


def inverted(w: Writer, part: Part) -> Part:
    """Return A⁻¹ for A, A⁻ᵀ for Aᵀ, and A for A⁻¹."""
    if part.identity:
        return part
    if part.inverse_of is not None:
        return part.inverse_of
    base = part.transposed or part
    text = w.style.inverse(w.fit(base, ATOM), part.transposed is not None)
    return Part(text, POWER, inverse_of=part, symmetric=part.symmetric)


def inverse(w: Writer, node: Node, inner: list[Part]) -> Part:
    """Return A⁻¹."""
    if inner[0].opposite is not None:
        return w.negated(inverse(w, node, [inner[0].opposite]))
    return inverted(w, whole(w, node.inputs[0], inner[0]))


def solve(w: Writer, node: Node, inner: list[Part]) -> Part:
    """Return A⁻¹ b."""
    signed = sign_in_front(w, inner, lambda factors: solve(w, node, factors))
    if signed is not None:
        return signed
    a, b = (whole(w, x, part) for x, part in zip(node.inputs, inner, strict=True))
    inverse = inverted(w, a)
    if b.identity:
        return inverse
    text = w.style.product([w.fit(inverse, PRODUCT, last=False), w.fit(b, PRODUCT)])
    return Part(text, PRODUCT, open=b.open)


def matmul(w: Writer, node: Node, inner: list[Part]) -> Part:
    """Return the product of two operands."""
    signed = sign_in_front(w, inner, lambda factors: matmul(w, node, factors))
    if signed is not None:
        return signed
    a, b = (whole(w, x, part) for x, part in zip(node.inputs, inner, strict=True))
    if a.identity or b.identity:
        return b if a.identity else a
    numbers = []
    for part in (a, b):
        number, rest = number_and_rest(w, part)
        if number is not None and rest is not None:
            numbers.append((0, w.number(number)))
            a, b = (rest if x is part else x for x in (a, b))
    found = _product_of(w, node, a, b)
    # A number is not written between matrices.
    return juxtaposed(w, [*numbers, (3, found)]) if numbers else found


def _product_of(w: Writer, node: Node, a: Part, b: Part) -> Part:
    ranks = [x.type.ndim for x in node.inputs]
    if ranks == [1, 1]:
        a = transposed(w, a)
    elif ranks == [1, 2]:
        # A vector is a column: x A is Aᵀ x.
        a, b = transposed(w, b), a
    text = w.style.product([w.fit(a, PRODUCT, last=False), w.fit(b, PRODUCT)])
    left, right = node.inputs
    of_itself = ranks == [2, 2] and (
        (is_transpose(left) and left.inputs[0] is right)
        or (is_transpose(right) and right.inputs[0] is left)
    )
    return Part(text, PRODUCT, open=b.open, symmetric=of_itself)


def whole(w: Writer, node: Node, part: Part) -> Part:
    """Return the text of a value with the axes that would otherwise be left to the reader."""
    shape = node.type.shape
    if part.shape is None or shape in (part.shape, (*part.shape, 1)):
        # A vector is a column.
        return part
    if len(part.shape) == 1 and shape == (1, *part.shape):
        return transposed(w, part)
    if part.shape == ():
        ones = Part(w.style.call("ones", [w.style.literal(shape_text(shape))]), shape=shape)
        return ones if part.number == 1 else juxtaposed(w, [(0, part), (3, ones)])
    if node.op.name == "transpose":
        return part
    repeated = repeated_vector(w, node, part)
    if repeated is not None:
        return repeated
    name = "reshape" if node.op.name == "reshape" else "broadcast"
    size = w.style.literal(f"({shape_text(shape)})")
    return Part(w.style.call(name, [part.text, size]), shape=shape)


def repeated_vector(w: Writer, node: Node, part: Part) -> Part | None:
    """Return v 1ᵀ for a matrix whose columns are all v, and 1 vᵀ for one of equal rows."""
    if len(part.shape or ()) != 1 or node.type.ndim != 2 or 1 in node.type.shape:
        return None
    while node.op.name == "broadcast_to":
        [node] = node.inputs
    if node.op.name != "expand_dims" and node.type.ndim != 1:
        return None
    one = w.style.number(1)
    if node.op.name == "expand_dims" and node.attrs["axes"] == (1,):
        factors = [w.fit(part, PRODUCT, last=False), w.style.transpose(one)]
    else:
        factors = [one, transposed(w, part).text]
    return Part(w.style.product(factors), PRODUCT)


def transpose(w: Writer, node: Node, inner: list[Part]) -> Part:
    """Return a value with its axes in another order."""
    if not is_transpose(node):
        axes = w.style.literal(str(node.attrs["axes"]))
        return Part(w.style.call("transpose", [inner[0].text, axes]))
    if inner[0].shape == ():
        return inner[0]
    return transposed(w, whole(w, node.inputs[0], inner[0]))


def is_transpose(node: Node) -> bool:
    """Return whether a node swaps the last two axes."""
    if node.op.name != "transpose":
        return False
    axes = node.attrs["axes"]
    return len(axes) > 1 and axes == (*range(len(axes) - 2), len(axes) - 1, len(axes) - 2)
