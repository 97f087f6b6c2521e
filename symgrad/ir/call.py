"""Applying an op: the type rule is run, errors are worded, and the node is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from symgrad import errors
from symgrad.ir.node import Node
from symgrad.ir.op import Op
from symgrad.ir.origin import here
from symgrad.ir.size import Dim, Shape, Size, add, multiply
from symgrad.ir.types import DType, TensorType


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a call must satisfy: ``left == right``, or ``left >= right``, for the sizes bound."""

    left: Dim
    relation: str
    right: Dim
    what: str
    place: str

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return whether the relation holds for these values of the named sizes."""
        left = self.left.value(sizes) if isinstance(self.left, Size) else self.left
        right = self.right.value(sizes) if isinstance(self.right, Size) else self.right
        return left == right if self.relation == "==" else left >= right


class Call:
    """One application of an op, as its type rule sees it."""

    __slots__ = ("attrs", "constraints", "inputs", "op", "origin", "types")

    def __init__(self, op: Op, inputs: Sequence[Node], attrs: Mapping[str, Any]):
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.types = [node.type for node in inputs]
        self.constraints: list[tuple[Dim, str, Dim, str]] = []

    def fail(
        self, what: str, fix: str = "", kind: type[errors.SymgradError] = errors.ShapeError
    ) -> NoReturn:
        """Raise an error about this call, naming its inputs and where they were made."""
        shown = ", ".join(f"{describe(x, i)} is {x.type}" for i, x in enumerate(self.inputs))
        places = [
            f"{describe(x, i)} was made at {x.origin.place}" for i, x in enumerate(self.inputs)
        ]
        text = f"{self.op.name}: {what}" + (f": {shown}" if shown else "")
        raise kind(errors.worded(text, made_at=here(), inputs=places, fix=fix))

    def same(self, a: Dim, b: Dim, what: str) -> Dim:
        """Return the size that ``a`` and ``b`` both are; two names are compared at the call."""
        if a == b:
            return a
        if isinstance(add(a, multiply(b, -1)), int):
            # They differ by a number, so they differ whatever the named sizes are.
            self.fail(f"{what} differ")
        self.constraints.append((a, "==", b, what))
        return a if isinstance(a, int) else b if isinstance(b, int) else a

    def at_least(self, a: Dim, b: Dim, what: str) -> None:
        """Demand ``a >= b``, now if both are known and else at the call."""
        difference = add(a, multiply(b, -1))
        if isinstance(difference, Size):
            self.constraints.append((a, ">=", b, what))
        elif difference < 0:
            self.fail(f"{what}: expected at least {b}, got {a}")

    def one_dtype(self, accepts: str = "fib", types: Sequence[TensorType] = ()) -> DType:
        """Return the dtype that all inputs share, of one of the kinds in ``accepts``."""
        types = types or self.types
        dtype = types[0].dtype
        if any(t.dtype != dtype for t in types):
            self.fail("dtypes differ", kind=errors.DtypeError)
        if dtype.kind not in accepts:
            wanted = " or ".join(_KINDS[k] for k in accepts)
            self.fail(f"expected {wanted}", kind=errors.DtypeError)
        return dtype


_KINDS = {"f": "float32 or float64", "i": "int32 or int64", "b": "bool"}


def describe(node: Node, index: int) -> str:
    """Return the name of an operand for a message: its own, its variable's, or its position."""
    while node.op.name == "cast":
        # Promotion makes these, not people.
        node = node.inputs[0]
    return node.name or f"operand {index + 1}"


def broadcast(call: Call, shapes: Sequence[Shape]) -> Shape:
    """Return the shape that ``shapes`` broadcast to. Only a size known to be 1 broadcasts."""
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    rank = max(len(shape) for shape in shapes)
    out: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, start=rank - len(shape)):
            if dim == 1 or dim == out[axis]:
                continue
            out[axis] = (
                dim if out[axis] == 1 else call.same(out[axis], dim, f"sizes of axis {axis}")
            )
    return tuple(out)


def apply(op: Op, inputs: Sequence[Node], attrs: Mapping[str, Any] | None = None) -> Node:
    """Return a new node: ``op`` applied to ``inputs``.

    Raises:
        SymgradError: in the words of the op's type rule.
    """
    call = Call(op, inputs, attrs or {})
    if op.arity is not None and op.arity != len(inputs):
        call.fail(f"takes {op.arity} inputs, got {len(inputs)}", kind=errors.ArgumentError)
    return Node(op, tuple(inputs), call.attrs, op.infer(call), here())


def constraints_of(node: Node) -> list[Constraint]:
    """Return what the sizes must satisfy for ``node`` to make sense at a call."""
    call = Call(node.op, node.inputs, node.attrs)
    node.op.infer(call)
    what = f"{node.op.name}: "
    return [
        Constraint(a, relation, b, what + text, str(node.origin))
        for a, relation, b, text in call.constraints
    ]
