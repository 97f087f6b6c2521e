"""What nodes cost: floating-point operations and bytes, as polynomials in the named sizes.

An operation is one addition, multiplication, division, comparison of real numbers in an extremum,
or value of an elementary function; a product of matrices has one multiplication and one addition
for each pair of factors. Choosing, comparing, casting and moving values is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from symgrad.ir.node import Node
from symgrad.ir.size import Dim, multiply, product

_MOVE_NOTHING = frozenset({"input", "constant", "size", "iota", "stop_gradient"})


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations, and bytes read and written.

    Attributes:
        flops: The operations.
        bytes: The bytes, each value that is read or written counted once for each node.
    """

    flops: Dim = 0
    bytes: Dim = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)


def per_element(count: int) -> Callable[[Node], Dim]:
    """Return a rule of so many operations for each element of the first input."""
    return lambda node: multiply(product(node.inputs[0].type.shape), count)


def operations(node: Node) -> Dim:
    """Return how many floating-point operations a node takes."""
    op = node.op
    if op.flops is not None:
        return op.flops(node) if any(x.type.is_float for x in node.inputs) else 0
    return product(node.type.shape) if op.elementwise and node.type.is_float else 0


def size_in_bytes(node: Node) -> Dim:
    """Return how many bytes the value of a node takes."""
    return multiply(product(node.type.shape), node.type.dtype.itemsize)


def cost_of(node: Node) -> Cost:
    """Return what a node costs if it is computed on its own, from memory to memory."""
    if node.op.view or node.op.name in _MOVE_NOTHING:
        return Cost()
    moved = size_in_bytes(node)
    for x in dict.fromkeys(node.inputs):
        if x.op.name != "size":
            moved = moved + size_in_bytes(x)
    return Cost(operations(node), moved)


def total_cost(nodes: Iterable[Node]) -> Cost:
    """Return what nodes cost one by one."""
    return sum(map(cost_of, nodes), Cost())
