"""The node: one application of an op, immutable and numbered when made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from symgrad.errors import GraphError
from symgrad.ir.op import Op
from symgrad.ir.origin import Origin
from symgrad.ir.types import TensorType

_numbers = itertools.count()

# Attributes that say where a value came from, not what it is: never part of a node's meaning.
_NOT_MEANING = frozenset({"init"})


class Node:
    """One application of an op. Inputs always have smaller numbers; nodes compare by identity."""

    __slots__ = ("__weakref__", "attrs", "inputs", "number", "op", "origin", "type")

    op: Op
    inputs: tuple[Node, ...]
    attrs: Mapping[str, Any]
    type: TensorType
    origin: Origin
    number: int

    def __init__(
        self,
        op: Op,
        inputs: tuple[Node, ...],
        attrs: Mapping[str, Any],
        type: TensorType,
        origin: Origin,
    ):
        put = object.__setattr__
        put(self, "op", op)
        put(self, "inputs", inputs)
        put(self, "attrs", MappingProxyType(dict(attrs)))
        put(self, "type", type)
        put(self, "origin", origin)
        put(self, "number", next(_numbers))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise GraphError(f"nodes are immutable: {name} of %{self.number} cannot be set")

    def __repr__(self) -> str:
        inputs = ", ".join(f"%{node.number}" for node in self.inputs)
        return f"%{self.number} = {self.op.name}({inputs}) : {self.type}"

    def __reduce__(self) -> tuple[Callable[..., Node], tuple[object, ...]]:
        # Pickling node by node would recurse as deep as the graph; a flat list does not.
        from symgrad.ir.flat import flatten, restore_one

        return restore_one, (flatten([self]),)

    @property
    def is_input(self) -> bool:
        """Whether this is a declared tensor: an input or a parameter."""
        return self.op.name == "input"

    @property
    def is_parameter(self) -> bool:
        """Whether this is a declared parameter."""
        return self.is_input and self.attrs["role"] == "parameter"

    @property
    def name(self) -> str | None:
        """The name of a declared tensor, else the Python variable it was assigned to, if any."""
        if self.is_input:
            return str(self.attrs["name"])
        return None if self.origin.gradient_of else self.origin.variable

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        """Return this op on other inputs of the same types, or this node when they are its own."""
        # Nodes compare by identity, and so do tuples of them.
        if inputs == self.inputs:
            return self
        return Node(self.op, inputs, self.attrs, self.type, self.origin)


def scalar_value(node: Node) -> bool | int | float | None:
    """Return the value of a constant whose elements are all the same, else None."""
    while node.op.name in ("broadcast_to", "expand_dims", "reshape"):
        node = node.inputs[0]
    if node.op.name != "constant":
        return None
    value = node.attrs["value"]
    if value.size == 1 or (value.size > 1 and np.all(value == value.flat[0])):
        return value.flat[0].item()  # type: ignore[no-any-return]
    return None


def meaning(node: Node) -> tuple[object, ...]:
    """Return a hashable key: two nodes with one key compute the same value.

    Constants are compared by dtype, shape and bits, so that 0.0 is not -0.0. A declared tensor
    is only itself.
    """
    if node.is_input:
        return (node.number,)
    attrs = tuple(
        (key, _hashable(value)) for key, value in node.attrs.items() if key not in _NOT_MEANING
    )
    return (node.op.name, attrs, tuple(n.number for n in node.inputs))


def _hashable(value: object) -> object:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    return value
