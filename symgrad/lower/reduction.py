"""Reductions: what they start from, what they are kept in, and how an element is taken in."""

from __future__ import annotations

import numpy as np

from symgrad.ir.node import Node
from symgrad.ir.size import Shape, product
from symgrad.ir.types import FLOAT32, FLOAT64, DType
from symgrad.lower.element import literal
from symgrad.lower.scope import SHORT


def outer_depth(space: Shape, axes: tuple[int, ...]) -> int:
    """Return how many loops stand outside the innermost run of reduced axes."""
    outer = len(space)
    while outer and (outer - 1 in axes or space[outer - 1] == 1):
        outer -= 1
    return outer


def accumulator(node: Node) -> DType:
    """Return the dtype to accumulate in: long float32 sums are kept in float64."""
    count = product(node.inputs[0].type.shape[axis] for axis in node.attrs["axis"])
    short = isinstance(count, int) and count <= SHORT
    if node.op.name in ("sum", "prod") and node.type.dtype == FLOAT32 and not short:
        return FLOAT64
    return node.type.dtype


def start_of(node: Node, wide: DType) -> str:
    """Return what a reduction starts from."""
    match node.op.name:
        case "sum" | "prod":
            one = node.op.name == "prod"
            # A plain number would be a float32 where it meets one, outside Numba.
            number = literal(int(one), wide)
            return number if wide == node.type.dtype else f"np.float64({number})"
        case name:
            low = name == "max"
            if wide.kind == "f":
                return literal(-np.inf if low else np.inf, wide)
            if wide.kind == "b":
                return str(not low)
            info = np.iinfo(wide)
            return literal(info.min if low else info.max, wide)


def updated(node: Node, total: str, text: str) -> str:
    """Return the statement that takes one more element into a reduction."""
    match node.op.name:
        case "sum":
            return f"{total} += {text}"
        case "prod":
            return f"{total} *= {text}"
        case name:
            return f"{total} = np.{name}imum({total}, {text})"
