"""From the arrays of a call to what a program takes: dtypes, layout, sizes by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Size, names_in
from symgrad.ir.types import Array


class Signature:
    """What a graph takes: names, types, and the relations that named sizes must satisfy."""

    def __init__(self, graph: Graph):
        self.inputs = graph.inputs
        self.dims = [_dims(node) for node in graph.inputs]
        self.names = [str(node.attrs["name"]) for node in graph.inputs]
        self.constraints = [c for c in graph.constraints if _checkable(c.left, c.right, graph)]
        bound = names_in(tuple(node.type.shape for node in graph.inputs))
        needed: set[str] = set()
        for node in graph.nodes:
            needed |= names_in(node.type.shape) | names_in(tuple(node.attrs.values()))
        if needed - bound:
            sizes = ", ".join(sorted(needed - bound))
            raise errors.GraphError(
                errors.worded(
                    f"no input has the size {sizes}, which the outputs need",
                    fix="add a tensor with that size to the inputs",
                )
            )

    def bind(self, values: Sequence[Any]) -> tuple[list[Array], dict[str, int]]:
        """Return contiguous arrays of the declared dtypes, and the value of each named size.

        Raises:
            ArgumentError, DtypeError, ShapeError: naming the tensor, expected against got.
        """
        if len(values) != len(self.inputs):
            raise errors.ArgumentError(
                f"{len(self.inputs)} arguments are needed ({', '.join(self.names)}), "
                f"got {len(values)}"
            )
        pairs = zip(self.inputs, values, strict=True)
        arrays = [as_declared(node, value) for node, value in pairs]
        sizes: dict[str, int] = {}
        declared = zip(self.dims, arrays, strict=True)
        if not all(_fits(dims, array.shape, sizes) for dims, array in declared):
            self._misfit(arrays)
        self.check(sizes)
        return arrays, sizes

    def _misfit(self, arrays: Sequence[Array]) -> None:
        """Raise for the first array that has not its declared shape."""
        sizes: dict[str, int] = {}
        source: dict[str, str] = {}
        for node, array in zip(self.inputs, arrays, strict=True):
            read_sizes(node, array, sizes, source)

    def by_name(self, values: Mapping[str, Any]) -> list[Any]:
        """Return arguments given by name, in order.

        Raises:
            ArgumentError: naming what is missing and what is unknown.
        """
        return named_in_order(self.names, values)

    def check(self, sizes: Mapping[str, int]) -> None:
        """Check every relation between named sizes.

        Raises:
            ShapeError: naming both sizes, their values, and where the expression was written.
        """
        for c in self.constraints:
            if not c.holds(sizes):
                names = sorted(names_in((c.left, c.right)))
                values = ", ".join(f"{name} = {sizes[name]}" for name in names)
                raise errors.ShapeError(
                    errors.worded(
                        f"{c.what}: {c.left} {c.relation} {c.right} does not hold for {values}",
                        made_at=c.place,
                    )
                )


def named_in_order(names: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
    """Return values given by name, in order.

    Raises:
        ArgumentError: naming what is missing and what is unknown.
    """
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if missing or unknown:
        parts = [f"missing: {', '.join(missing)}"] * bool(missing)
        parts += [f"unknown: {', '.join(unknown)}"] * bool(unknown)
        raise errors.ArgumentError(
            f"arguments by name: {'; '.join(parts)} (expected {', '.join(names)})"
        )
    return [values[name] for name in names]


def _dims(node: Node) -> tuple[int | str, ...]:
    return tuple(str(dim) if isinstance(dim, Size) else dim for dim in node.type.shape)


def _fits(dims: Sequence[int | str], shape: Sequence[int], sizes: dict[str, int]) -> bool:
    """Return whether an array has its declared shape, and read the named sizes off it."""
    if len(dims) != len(shape):
        return False
    for dim, got in zip(dims, shape, strict=True):
        if (sizes.setdefault(dim, got) if isinstance(dim, str) else dim) != got:
            return False
    return True


def read_sizes(node: Node, array: Array, sizes: dict[str, int], source: dict[str, str]) -> None:
    """Read the named sizes off an array into ``sizes``, and whose they are into ``source``.

    Raises:
        ShapeError: naming the tensor, for another shape than the declared one.
    """
    name = str(node.attrs["name"])
    if array.ndim != node.type.ndim:
        _wrong_shape(node, array, f"{node.type.ndim} axes")
    for axis, (dim, got) in enumerate(zip(node.type.shape, array.shape, strict=True)):
        if not isinstance(dim, Size):
            if got != dim:
                _wrong_shape(node, array, f"size {dim} for axis {axis}")
            continue
        key = str(dim)
        if sizes.setdefault(key, got) != got:
            raise errors.ShapeError(
                f"the size {key} is {sizes[key]} in {source[key]} but {got} in {name} "
                f"(axis {axis} of {node.type})\n  {name} was made at {node.origin}"
            )
        source.setdefault(key, name)


def _checkable(left: object, right: object, graph: Graph) -> bool:
    bound = names_in(tuple(node.type.shape for node in graph.inputs))
    return names_in((left, right)) <= bound


def _wrong_shape(node: Node, array: Array, expected: str) -> None:
    raise errors.ShapeError(
        f"{node.attrs['name']}: expected {expected}, got an array of shape {array.shape}; "
        f"it is {node.type}\n  {node.attrs['name']} was made at {node.origin}"
    )


def as_declared(node: Node, value: Any) -> Array:
    """Return ``value`` as a C-contiguous array of the declared dtype.

    A cast within one kind (float64 to float32, int64 to int32), or to a wider kind, is made
    when every value survives it.

    Raises:
        DtypeError: for any other dtype, naming the tensor.
    """
    wanted = node.type.dtype
    if type(value) is np.ndarray and value.dtype is wanted:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value
    if hasattr(value, "node"):
        raise errors.ArgumentError(
            f"{node.attrs['name']}: a call takes arrays, got the tensor {value!r}"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise errors.ArgumentError(f"{node.attrs['name']}: {error}; it is {node.type}") from None
    if array.dtype is not wanted:
        # One dtype may have several names (long long), or metadata.
        array = array.view(wanted) if array.dtype == wanted else _cast(node, array)
    if not array.flags.c_contiguous or not array.flags.aligned:
        array = np.array(array, order="C", copy=True)
    return array


def _cast(node: Node, array: Array) -> Array:
    wanted = node.type.dtype
    if np.can_cast(array.dtype, wanted, "same_kind") or array.size == 0:
        with np.errstate(all="ignore"):
            cast = array.astype(wanted)
        lost = np.isinf(cast) & ~np.isinf(array) if wanted.kind == "f" else cast != array
        if not np.any(lost):
            return cast
        reason = f"{array[lost].flat[0] if array.ndim else array} does not fit"
    else:
        reason = f"got {array.dtype}"
    raise errors.DtypeError(
        f"{node.attrs['name']}: expected {wanted}, {reason}; it is {node.type}\n"
        f"  {node.attrs['name']} was made at {node.origin}"
    )
