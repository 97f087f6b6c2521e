"""Indexing as NumPy has it: integers, slices, new axes and integer arrays; and one-hot codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply, broadcast
from symgrad.ir.cost import per_element
from symgrad.ir.op import Case, Op, define
from symgrad.ir.origin import here
from symgrad.ir.size import Dim, Shape, Size, add, floordiv, multiply
from symgrad.ir.types import BOOL, INT64, Array, TensorType, as_dim, as_dtype
from symgrad.ops.leaves import arange
from symgrad.ops.samples import fixed, spread
from symgrad.ops.shape import (
    axis_of,
    expand_dims,
    ravel,
    squeeze,
    take_window,
    transpose,
)
from symgrad.tensor import Tensor, as_tensor, implements

# Gathering along axes by integer arrays, and its adjoint


def _index_types(call: Call, indices: Sequence[TensorType]) -> Shape:
    for index in indices:
        if index.dtype.kind != "i":
            call.fail("an index is not an integer", kind=errors.DtypeError)
    return broadcast(call, [t.shape for t in indices])


def _gather_type(call: Call) -> TensorType:
    x, *indices = call.types
    axis, where = call.attrs["axis"], _index_types(call, indices)
    if axis + len(indices) > x.ndim:
        call.fail(f"{len(indices)} indices from axis {axis} on")
    shape = x.shape[:axis] + where + x.shape[axis + len(indices) :]
    return TensorType(x.dtype, shape)


def _gather(x: Array, *indices: Array, axis: int) -> Array:
    key = (slice(None),) * axis + np.broadcast_arrays(*indices)
    out: Array = x[tuple(key)]
    return out


def _gather_bprop(
    g: Tensor, y: Tensor, x: Tensor, *indices: Tensor, index: int, axis: int
) -> Tensor | None:
    return None if index else scatter_add(g, indices, axis, x.shape)


_ROWS, _COLUMNS = np.array([2, 0, 2, -1]), np.array([1, 1, 1, 0])

GATHER = define(
    Op(
        "gather",
        _gather_type,
        _gather,
        bprop=(_gather_bprop,),
        linear="each",
        variadic=True,
        why_zero="an index is an integer",
        samples=fixed(
            Case((spread(3, 4), _ROWS), {"axis": 0}),
            Case((spread(3, 2), _ROWS, _COLUMNS), {"axis": 0}),
            Case((spread(2, 3, 2), _ROWS.reshape(2, 2)), {"axis": 1}),
            Case((spread(5), np.array(-2)), {"axis": 0}),
        ),
        summary="Elements at integer positions along consecutive axes.",
    )
)


def gather(x: Tensor, indices: Sequence[Tensor], axis: int) -> Tensor:
    """Return ``x`` indexed by integer tensors along the axes from ``axis`` on."""
    return Tensor(apply(GATHER, [x.node, *(i.node for i in indices)], {"axis": axis}))


def _scatter_type(call: Call) -> TensorType:
    x, *indices = call.types
    axis, shape = call.attrs["axis"], call.attrs["shape"]
    where = _index_types(call, indices)
    expected = shape[:axis] + where + shape[axis + len(indices) :]
    if len(expected) != x.ndim:
        call.fail("numbers of axes differ")
    for i, (a, b) in enumerate(zip(x.shape, expected, strict=True)):
        call.same(a, b, f"sizes of axis {i}")
    return TensorType(call.types[0].dtype, shape)


def _scatter_add(x: Array, *indices: Array, axis: int, shape: tuple[int, ...]) -> Array:
    out = np.zeros(shape, dtype=x.dtype)
    key: Any = (slice(None),) * axis + tuple(np.broadcast_arrays(*indices))
    np.add.at(out, key, x)
    return out


def _scatter_bprop(
    g: Tensor, y: Tensor, x: Tensor, *indices: Tensor, index: int, axis: int, shape: Shape
) -> Tensor | None:
    return None if index else gather(g, indices, axis)


SCATTER_ADD = define(
    Op(
        "scatter_add",
        _scatter_type,
        _scatter_add,
        bprop=(_scatter_bprop,),
        linear="each",
        variadic=True,
        why_zero="an index is an integer",
        flops=per_element(1),
        samples=fixed(
            Case((spread(4, 4), _ROWS), {"axis": 0, "shape": (3, 4)}),
            Case((spread(4), _ROWS, _COLUMNS), {"axis": 0, "shape": (3, 2)}),
            Case((spread(2, 2, 2, 2), _ROWS.reshape(2, 2)), {"axis": 1, "shape": (2, 3, 2)}),
        ),
        summary="Zeros, with values added at integer positions: the adjoint of gathering.",
    )
)


def scatter_add(x: Tensor, indices: Sequence[Tensor], axis: int, shape: Shape) -> Tensor:
    """Return zeros of ``shape`` with ``x`` added at the positions that `gather` would read."""
    attrs = {"axis": axis, "shape": shape}
    return Tensor(apply(SCATTER_ADD, [x.node, *(i.node for i in indices)], attrs))


# Class labels


def _pick_type(call: Call) -> TensorType:
    x, labels = call.types
    _index_types(call, [labels])
    if labels.ndim != x.ndim - 1:
        call.fail("labels must have one axis less than the values")
    for i, (a, b) in enumerate(zip(x.shape, labels.shape, strict=False)):
        call.same(a, b, f"sizes of axis {i}")
    return TensorType(x.dtype, x.shape[:-1])


def checked_labels(labels: Array, size: int) -> Array:
    """Return ``labels`` after checking that each is a class.

    Raises:
        ValueRangeError: naming the first that is not in 0 ... size - 1.
    """
    wrong = (labels < 0) | (labels >= size)
    if wrong.any():
        raise errors.ValueRangeError(
            f"class label {labels[wrong].flat[0]} is not in 0 ... {size - 1}"
        )
    return labels


def _pick(x: Array, labels: Array) -> Array:
    checked = checked_labels(labels, x.shape[-1])
    return np.take_along_axis(x, checked[..., np.newaxis], -1)[..., 0]


_LABELS = np.array([2, 0, 3])

PICK = define(
    Op(
        "pick",
        _pick_type,
        _pick,
        bprop=(
            lambda g, y, x, t: expand_dims(g, g.ndim) * one_hot(t, x.shape[-1], g.dtype),
            None,
        ),
        linear="each",
        why_zero="a label is an integer",
        text="{0}[{1}]",
        latex=r"{0}[{1}]",
        samples=fixed(Case((spread(3, 4), _LABELS)), Case((spread(4), np.array(1)))),
        summary="The entry of the last axis that a class label names; other labels are errors.",
    )
)


def pick(x: Tensor, labels: Tensor) -> Tensor:
    """Return, along the last axis of ``x``, the entry that each label names."""
    return Tensor(apply(PICK, (x.node, labels.node)))


def _one_hot_type(call: Call) -> TensorType:
    shape = _index_types(call, call.types)
    return TensorType(call.attrs["dtype"], (*shape, call.attrs["size"]))


def _one_hot(labels: Array, size: int, dtype: Any) -> Array:
    checked = checked_labels(labels, size)
    out: Array = (checked[..., np.newaxis] == np.arange(size)).astype(dtype)
    return out


ONE_HOT = define(
    Op(
        "one_hot",
        _one_hot_type,
        _one_hot,
        bprop=(None,),
        why_zero="a label is an integer",
        text="onehot({0})",
        latex=r"\operatorname{{onehot}}({0})",
        samples=fixed(Case((_LABELS,), {"size": 4, "dtype": as_dtype("float64")})),
        summary="Vectors of zeros with a one at each class label; other labels are errors.",
    )
)


def one_hot(labels: Any, size: Dim, dtype: object = "float64") -> Tensor:
    """Return vectors of zeros with a one at each label, along a new last axis.

    Calling raises IndexError for a label that is not in 0 ... size - 1.
    """
    attrs = {"size": as_dim(size), "dtype": as_dtype(dtype)}
    return Tensor(apply(ONE_HOT, (as_tensor(labels).node,), attrs))


# x[...]


@implements("getitem")
def getitem(x: Tensor, key: Any) -> Tensor:
    """Return ``x[key]`` by NumPy's rules for integers, slices, None, ... and integer arrays."""
    parts = [_part(x, k) for k in (key if isinstance(key, tuple) else (key,))]
    keys = _full_key(x, parts)
    windows: list[tuple[Dim, Dim, int]] = []
    dropped: list[int] = []
    arrays: dict[int, Tensor] = {}
    axis = 0
    for k in keys:
        if k is None:
            continue
        dim = x.shape[axis]
        if isinstance(k, slice):
            windows.append(_window(k, dim, axis))
        elif isinstance(k, Tensor):
            arrays[axis] = k
            windows.append((0, dim, 1))
        else:
            dropped.append(axis)
            windows.append((_position(x, k, axis), 1, 1))
        axis += 1
    start, size, step = (tuple(column) for column in zip(*windows, strict=True)) if windows else (
        (), (), ()
    )  # fmt: skip
    view = take_window(x, start, size, step)
    if arrays:
        return _advanced(view, keys, arrays, dropped, _adjacent(parts))
    view = squeeze(view, tuple(dropped)) if dropped else view
    kept = [k for k in keys if k is None or isinstance(k, slice)]
    return expand_dims(view, tuple(i for i, k in enumerate(kept) if k is None))


def _fail(x: Tensor, what: str, fix: str = "") -> NoReturn:
    raise errors.ValueRangeError(errors.worded(f"index of {x!r}: {what}", made_at=here(), fix=fix))


def _full_key(x: Tensor, keys: list[Any]) -> list[Any]:
    """Return one entry per axis of ``x`` (None between them), without an ellipsis."""
    used = len([k for k in keys if k is not None and k is not Ellipsis])
    if used > x.ndim:
        _fail(x, f"{used} indices for {x.ndim} axes")
    ellipses = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(ellipses) > 1:
        _fail(x, "more than one ellipsis")
    at = ellipses[0] if ellipses else len(keys)
    return keys[:at] + [slice(None)] * (x.ndim - used) + keys[at + 1 :]


def _part(x: Tensor, key: Any) -> Any:
    match key:
        case None | slice() | Size():
            return key
        case _ if key is Ellipsis:
            return key
        case bool() | np.bool_():
            _fail(x, "a truth value is not an index", "use np.where(condition, a, b)")
        case int() | np.integer():
            return int(key)
        case Tensor():
            tensor = key
        case _:
            tensor = _array_key(x, np.asarray(key))
    if tensor.dtype == BOOL:
        _fail(
            x,
            "a mask selects a number of elements that is not known before a call",
            "use np.where(mask, a, b), or multiply by mask.astype('float64')",
        )
    if tensor.dtype.kind != "i":
        _fail(x, f"{tensor!r} is not an integer")
    return tensor


def _array_key(x: Tensor, key: Array) -> Tensor:
    if key.dtype == BOOL:
        if key.ndim != 1:
            _fail(x, "a mask array of more than one axis", "index with np.nonzero(mask)")
        key = np.nonzero(key)[0]
    if key.size == 0 and key.dtype.kind == "f":
        key = key.astype(np.int64)
    if key.dtype.kind not in "iu":
        _fail(x, f"{key.dtype} is not an integer")
    return as_tensor(key, INT64)


def _position(x: Tensor, key: int | Size, axis: int) -> Dim:
    dim = x.shape[axis]
    if isinstance(key, Size):
        return key
    if isinstance(dim, int) and not -dim <= key < dim:
        _fail(x, f"{key} is outside axis {axis}, which has size {dim}")
    return add(dim, key) if key < 0 else key


def _window(key: slice, dim: Dim, axis: int) -> tuple[Dim, Dim, int]:
    """Return start, length and step of a slice along an axis of this size."""
    step = 1 if key.step is None else int(key.step)
    bounds = (key.start, key.stop)
    if isinstance(dim, int) and not any(isinstance(b, Size) for b in bounds):
        start, stop, step = key.indices(dim)
        return start, len(range(start, stop, step)), step
    first: Dim = 0 if step > 0 else add(dim, -1)
    last: Dim = dim if step > 0 else -1
    start_ = first if key.start is None else _bound(key.start, dim)
    stop_ = last if key.stop is None else _bound(key.stop, dim)
    span = add(stop_, multiply(start_, -1)) if step > 0 else add(start_, multiply(stop_, -1))
    return start_, floordiv(add(span, abs(step) - 1), abs(step)), step


def _bound(bound: Any, dim: Dim) -> Dim:
    if isinstance(bound, Size):
        return bound
    return add(dim, int(bound)) if int(bound) < 0 else int(bound)


def _advanced(
    view: Tensor,
    keys: list[Any],
    arrays: dict[int, Tensor],
    dropped: list[int],
    consecutive: bool,
) -> Tensor:
    """Index by integer arrays. Integers beside arrays are arrays too, as NumPy has it."""
    for axis in dropped:
        # The slice has brought the wanted element to position 0 of this axis.
        arrays[axis] = as_tensor(0, INT64)
    order = sorted(arrays)
    indices = [arrays[axis] for axis in order]
    target = order[0] if consecutive else 0
    rest = [axis for axis in range(view.ndim) if axis not in arrays]
    moved = transpose(view, [*rest[:target], *order, *rest[target:]])
    rank = max(index.ndim for index in indices)
    out = gather(moved, indices, target)
    if not [k for k in keys if k is None]:
        return out
    return expand_dims(out, _new_axes(keys, rank, consecutive))


def _is_advanced(key: Any) -> bool:
    return isinstance(key, int | Tensor | Size)


def _adjacent(keys: list[Any]) -> bool:
    """Return whether the integer indices stand side by side: no slice, None or ... between."""
    positions = [i for i, k in enumerate(keys) if _is_advanced(k)]
    return positions[-1] - positions[0] == len(positions) - 1


def _new_axes(keys: list[Any], rank: int, consecutive: bool) -> tuple[int, ...]:
    """Return the positions of the None axes in the result of an advanced index."""
    block: list[Any] = [slice(None)] * rank
    if not consecutive:
        layout = block + [k for k in keys if not _is_advanced(k)]
    else:
        first = next(i for i, k in enumerate(keys) if _is_advanced(k))
        after = [k for k in keys[first:] if not _is_advanced(k)]
        layout = [*keys[:first], *block, *after]
    return tuple(i for i, k in enumerate(layout) if k is None)


@implements(np.take)
def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Return elements at integer positions along ``axis``, as `numpy.take`."""
    x = as_tensor(x)
    if axis is None:
        x, axis = ravel(x), 0
    at = axis_of(axis, x.ndim, "take")
    return gather(x, [_part_tensor(x, indices)], at)


def _part_tensor(x: Tensor, key: Any) -> Tensor:
    part = _part(x, key if isinstance(key, Tensor) else np.asarray(key))
    return part if isinstance(part, Tensor) else as_tensor(part, INT64)


@implements(np.take_along_axis)
def take_along_axis(x: Any, indices: Any, axis: int) -> Tensor:
    """Return one element per entry of ``indices`` along ``axis``, as `numpy.take_along_axis`."""
    x, index = as_tensor(x), as_tensor(indices)
    if index.ndim != x.ndim:
        raise errors.ShapeError(
            errors.worded(
                f"take_along_axis: {index!r} and {x!r} differ in their number of axes",
                made_at=here(),
            )
        )
    at = axis_of(axis, x.ndim, "take_along_axis")
    keys = []
    for i, dim in enumerate(x.shape):
        others = tuple(j for j in range(x.ndim) if j != i)
        keys.append(index if i == at else expand_dims(arange(dim), others))
    return gather(x, keys, 0)
