"""Ops that move elements and change none: transposes, reshapes, broadcasts, slices, joins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply
from symgrad.ir.node import Node
from symgrad.ir.op import Case, Op, define, lookup
from symgrad.ir.origin import here
from symgrad.ir.size import Dim, Shape, add, divide, multiply, product, shape_text
from symgrad.ir.types import FLOAT64, Array, TensorType, as_dim
from symgrad.ops.samples import fixed, spread
from symgrad.tensor import Tensor, as_tensor, common_dtype, constant, implements


def axis_of(axis: Any, ndim: int, what: str) -> int:
    """Return ``axis`` counted from the front.

    Raises:
        ValueRangeError: if there is no such axis.
    """
    if not isinstance(axis, int | np.integer) or not -ndim <= axis < ndim:
        raise errors.ValueRangeError(
            errors.worded(
                f"{what}: there is no axis {axis!r}; the tensor has {ndim} axes", made_at=here()
            )
        )
    return int(axis) % ndim


def axes_of(axis: Any, ndim: int, what: str) -> tuple[int, ...]:
    """Return ``axis`` (None for all, one, or several) as sorted axes counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    listed = list(axis) if isinstance(axis, Iterable) else [axis]
    axes = sorted(axis_of(a, ndim, what) for a in listed)
    if len(set(axes)) != len(axes):
        raise errors.ValueRangeError(
            errors.worded(f"{what}: an axis is repeated in {axis!r}", made_at=here())
        )
    return tuple(axes)


# Transposing


def _transpose_type(call: Call) -> TensorType:
    x = call.types[0]
    return TensorType(x.dtype, tuple(x.shape[axis] for axis in call.attrs["axes"]))


def _transpose_bprop(g: Tensor, y: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return transpose(g, np.argsort(axes).tolist())


TRANSPOSE = define(
    Op(
        "transpose",
        _transpose_type,
        lambda x, axes: np.transpose(x, axes),
        bprop=(_transpose_bprop,),
        linear="each",
        text="{0}ᵀ",
        samples=fixed(
            Case((spread(3, 4),), {"axes": (1, 0)}), Case((spread(2, 3, 4),), {"axes": (2, 0, 1)})
        ),
        view=True,
        summary="The axes in another order.",
    )
)


@implements(np.transpose, np.permute_dims)
def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """Return the axes in another order, reversed by default, as `numpy.transpose`."""
    x = as_tensor(x)
    order = (
        tuple(reversed(range(x.ndim)))
        if axes is None
        else tuple(axis_of(axis, x.ndim, "transpose") for axis in axes)
    )
    if sorted(order) != list(range(x.ndim)):
        raise errors.ShapeError(
            errors.worded(
                f"transpose: axes {axes!r} are not an order of {x.ndim} axes", made_at=here()
            )
        )
    if order == tuple(range(x.ndim)):
        return as_tensor(x)
    return Tensor(apply(TRANSPOSE, (x.node,), {"axes": order}))


@implements(np.swapaxes)
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Return ``x`` with two axes exchanged, as `numpy.swapaxes`."""
    x = as_tensor(x)
    order = list(range(x.ndim))
    a, b = axis_of(axis1, x.ndim, "swapaxes"), axis_of(axis2, x.ndim, "swapaxes")
    order[a], order[b] = b, a
    return transpose(x, order)


@implements(np.moveaxis)
def moveaxis(x: Any, source: int, destination: int) -> Tensor:
    """Return ``x`` with one axis moved, as `numpy.moveaxis`."""
    x = as_tensor(x)
    moved = axis_of(source, x.ndim, "moveaxis")
    order = [axis for axis in range(x.ndim) if axis != moved]
    order.insert(axis_of(destination, x.ndim, "moveaxis"), moved)
    return transpose(x, order)


@implements(np.matrix_transpose)
def matrix_transpose(x: Any) -> Tensor:
    """Return ``x`` with its last two axes exchanged."""
    return swapaxes(x, -1, -2)


# Reshaping


def _reshape_type(call: Call) -> TensorType:
    x = call.types[0]
    shape: Shape = call.attrs["shape"]
    call.same(x.size, product(shape), f"numbers of elements (new shape [{shape_text(shape)}])")
    return TensorType(x.dtype, shape)


def _reshape_bprop(g: Tensor, y: Tensor, x: Tensor, shape: Shape) -> Tensor:
    return reshape(g, x.shape)


RESHAPE = define(
    Op(
        "reshape",
        _reshape_type,
        lambda x, shape: np.reshape(x, shape),
        bprop=(_reshape_bprop,),
        linear="each",
        text="{0}",
        samples=fixed(
            Case((spread(3, 4),), {"shape": (2, 6)}), Case((spread(6),), {"shape": (1, 6)})
        ),
        view=True,
        summary="The same elements, in the same order, in another shape.",
    )
)


@implements(np.reshape)
def reshape(x: Any, shape: Any) -> Tensor:
    """Return the elements of ``x`` in another shape; one size may be -1, as in `numpy.reshape`."""
    x = as_tensor(x)
    wanted = list(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else [shape]
    free = [i for i, dim in enumerate(wanted) if isinstance(dim, int) and dim == -1]
    dims: list[Dim] = [1 if i in free else as_dim(dim) for i, dim in enumerate(wanted)]
    if len(free) > 1:
        raise errors.ShapeError(errors.worded("reshape: only one size can be -1", made_at=here()))
    if free:
        rest = divide(x.size, product(dims)) if product(dims) != 0 else None
        if rest is None:
            raise errors.ShapeError(
                errors.worded(
                    f"reshape: {x.type} does not divide into rows of {product(dims)}",
                    made_at=here(),
                )
            )
        dims[free[0]] = rest
    if tuple(dims) == x.shape:
        return as_tensor(x)
    if not x.ndim and set(dims) == {1}:
        return expand_dims(x, range(len(dims)))
    return Tensor(apply(RESHAPE, (x.node,), {"shape": tuple(dims)}))


@implements(np.ravel)
def ravel(x: Any) -> Tensor:
    """Return the elements in one axis, as `numpy.ravel`."""
    return reshape(x, -1)


def _expand_type(call: Call) -> TensorType:
    shape = list(call.types[0].shape)
    for axis in call.attrs["axes"]:
        shape.insert(axis, 1)
    return TensorType(call.types[0].dtype, tuple(shape))


def _expand_bprop(g: Tensor, y: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return squeeze(g, axes)


EXPAND_DIMS = define(
    Op(
        "expand_dims",
        _expand_type,
        lambda x, axes: np.expand_dims(x, axes),
        bprop=(_expand_bprop,),
        linear="each",
        text="{0}",
        samples=fixed(Case((spread(3, 4),), {"axes": (1,)}), Case((spread(3),), {"axes": (0, 2)})),
        view=True,
        summary="More axes, of size 1; ``axes`` are positions in the result.",
    )
)


@implements(np.expand_dims)
def expand_dims(x: Any, axis: Any) -> Tensor:
    """Return ``x`` with axes of size 1 at these positions, as `numpy.expand_dims`."""
    x = as_tensor(x)
    count = len(list(axis)) if isinstance(axis, Iterable) else 1
    axes = axes_of(axis, x.ndim + count, "expand_dims")
    return Tensor(apply(EXPAND_DIMS, (x.node,), {"axes": axes})) if axes else x


def _squeeze_type(call: Call) -> TensorType:
    x, axes = call.types[0], call.attrs["axes"]
    for axis in axes:
        if x.shape[axis] != 1:
            call.fail(f"axis {axis} has size {x.shape[axis]}, not 1")
    kept = tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)
    return TensorType(x.dtype, kept)


SQUEEZE = define(
    Op(
        "squeeze",
        _squeeze_type,
        lambda x, axes: np.squeeze(x, axes),
        bprop=(lambda g, y, x, axes: expand_dims(g, axes),),
        linear="each",
        text="{0}",
        samples=fixed(Case((spread(3, 1, 4),), {"axes": (1,)})),
        view=True,
        summary="Without these axes, each of size 1.",
    )
)


@implements(np.squeeze)
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Return ``x`` without axes of size 1 (all that are known to be), as `numpy.squeeze`."""
    x = as_tensor(x)
    if axis is None:
        axes = tuple(i for i, dim in enumerate(x.shape) if dim == 1)
    else:
        axes = axes_of(axis, x.ndim, "squeeze")
    return Tensor(apply(SQUEEZE, (x.node,), {"axes": axes})) if axes else x


@implements(np.atleast_1d)
def atleast_1d(x: Any) -> Tensor:
    """Return ``x`` with at least one axis."""
    x = as_tensor(x)
    return x if x.ndim else expand_dims(x, 0)


@implements(np.atleast_2d)
def atleast_2d(x: Any) -> Tensor:
    """Return ``x`` with at least two axes."""
    x = atleast_1d(x)
    return x if x.ndim > 1 else expand_dims(x, 0)


# Broadcasting


def _broadcast_type(call: Call) -> TensorType:
    x, shape = call.types[0], call.attrs["shape"]
    if x.ndim > len(shape):
        call.fail(f"more axes than the shape [{shape_text(shape)}] has")
    for mine, wanted in zip(reversed(x.shape), reversed(shape), strict=False):
        if mine != 1:
            call.same(mine, wanted, f"sizes (new shape [{shape_text(shape)}])")
    return TensorType(x.dtype, shape)


BROADCAST_TO = define(
    Op(
        "broadcast_to",
        _broadcast_type,
        lambda x, shape: np.broadcast_to(x, shape),
        bprop=(lambda g, y, x, shape: sum_to(g, x.shape),),
        linear="each",
        text="{0}",
        samples=fixed(
            Case((spread(3, 1),), {"shape": (2, 3, 4)}), Case((np.array(2.0),), {"shape": (3,)})
        ),
        view=True,
        summary="Repeated along axes that are new or of size 1.",
    )
)


@implements(np.broadcast_to)
def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Return ``x`` repeated to a larger shape, as `numpy.broadcast_to`."""
    x = as_tensor(x)
    listed = shape if isinstance(shape, Iterable) else (shape,)
    dims = tuple(as_dim(dim) for dim in listed)
    return x if dims == x.shape else Tensor(apply(BROADCAST_TO, (x.node,), {"shape": dims}))


def sum_to(x: Tensor, shape: Shape) -> Tensor:
    """Return ``x`` summed over every axis along which ``shape`` was broadcast: its adjoint."""
    extra = x.ndim - len(shape)
    ones = tuple(
        axis + extra for axis, dim in enumerate(shape) if dim == 1 and x.shape[axis + extra] != 1
    )
    if not extra and not ones:
        return x
    total = Tensor(apply(lookup("sum"), (x.node,), {"axis": (*range(extra), *ones)}))
    return expand_dims(total, tuple(axis - extra for axis in ones))


def full_like_shape(value: float, like: Tensor) -> Tensor:
    """Return ``value`` in the shape and dtype of ``like``."""
    return broadcast_to(constant(value, like.dtype), like.shape)


@implements(np.zeros_like)
def zeros_like(x: Any) -> Tensor:
    """Return zeros in the shape and dtype of ``x``."""
    return full_like_shape(0, as_tensor(x))


@implements(np.ones_like)
def ones_like(x: Any) -> Tensor:
    """Return ones in the shape and dtype of ``x``."""
    return full_like_shape(1, as_tensor(x))


@implements(np.full_like)
def full_like(x: Any, value: Any) -> Tensor:
    """Return ``value`` in the shape and dtype of ``x``."""
    x = as_tensor(x)
    return broadcast_to(as_tensor(value).astype(x.dtype), x.shape)


def zeros(shape: Any, dtype: object = FLOAT64) -> Tensor:
    """Return zeros of this shape, whose sizes may be symbolic."""
    return broadcast_to(constant(0, dtype), shape)


def ones(shape: Any, dtype: object = FLOAT64) -> Tensor:
    """Return ones of this shape, whose sizes may be symbolic."""
    return broadcast_to(constant(1, dtype), shape)


# Slicing, and its adjoint


def _slice_type(call: Call) -> TensorType:
    x, attrs = call.types[0], call.attrs
    _check_window(call, x.shape, attrs["size"], attrs["start"], attrs["step"])
    return TensorType(x.dtype, attrs["size"])


def _check_window(
    call: Call, whole: Shape, size: Shape, start: Shape, step: tuple[int, ...]
) -> None:
    """Demand that start, start + step, ..., ``size`` of them, lie inside ``whole``."""
    for axis, (dim, count, first, stride) in enumerate(zip(whole, size, start, step, strict=True)):
        if (count, first, stride) == (dim, 0, 1) or count == 0:
            continue
        reach = add(first, multiply(stride, add(count, -1)))
        low, high = (first, reach) if stride > 0 else (reach, first)
        call.at_least(count, 0, f"length of the slice of axis {axis}")
        call.at_least(low, 0, f"first index of the slice of axis {axis}")
        call.at_least(dim, add(high, 1), f"size of axis {axis}, which is sliced")


def _window(start: Shape, size: Shape, step: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(first, (stop if (stop := first + stride * count) >= 0 else None), stride)
        if count
        else slice(0, 0)
        for first, count, stride in zip(start, size, step, strict=True)
        if isinstance(first, int) and isinstance(count, int)
    )


SLICE = define(
    Op(
        "slice",
        _slice_type,
        lambda x, start, size, step: x[_window(start, size, step)],
        bprop=(lambda g, y, x, start, size, step: place(g, x.shape, start, step),),
        linear="each",
        samples=fixed(
            Case((spread(4, 5),), {"start": (1, 4), "size": (2, 3), "step": (1, -2)}),
            Case((spread(6),), {"start": (5,), "size": (6,), "step": (-1,)}),
        ),
        view=True,
        summary="A window: ``size`` elements from ``start`` in steps of ``step``, along each axis.",
    )
)


def take_window(x: Tensor, start: Shape, size: Shape, step: tuple[int, ...]) -> Tensor:
    """Return a window of ``x``; ``x`` itself when that is all of it."""
    if size == x.shape and set(step) <= {1}:
        return x
    return Tensor(apply(SLICE, (x.node,), {"start": start, "size": size, "step": step}))


def _place_type(call: Call) -> TensorType:
    x, attrs = call.types[0], call.attrs
    _check_window(call, attrs["shape"], x.shape, attrs["start"], attrs["step"])
    return TensorType(x.dtype, attrs["shape"])


def _place(x: Array, shape: tuple[int, ...], start: Shape, step: tuple[int, ...]) -> Array:
    out = np.zeros(shape, dtype=x.dtype)
    out[_window(start, x.shape, step)] = x
    return out


PLACE = define(
    Op(
        "place",
        _place_type,
        _place,
        bprop=(lambda g, y, x, shape, start, step: take_window(g, start, x.shape, step),),
        linear="each",
        samples=fixed(
            Case((spread(2, 3),), {"shape": (4, 5), "start": (1, 4), "step": (1, -2)}),
            Case((spread(2),), {"shape": (5,), "start": (1,), "step": (3,)}),
        ),
        summary="A window of zeros filled with ``x``: the adjoint of slicing.",
    )
)


def place(x: Tensor, shape: Shape, start: Shape, step: tuple[int, ...]) -> Tensor:
    """Return zeros of ``shape`` with ``x`` in the window from ``start`` in steps of ``step``."""
    return Tensor(apply(PLACE, (x.node,), {"shape": shape, "start": start, "step": step}))


@implements(np.flip)
def flip(x: Any, axis: Any = None) -> Tensor:
    """Return ``x`` with the elements along ``axis`` in reverse order, as `numpy.flip`."""
    x = as_tensor(x)
    axes = axes_of(axis, x.ndim, "flip")
    start = tuple(add(dim, -1) if i in axes else 0 for i, dim in enumerate(x.shape))
    step = tuple(-1 if i in axes else 1 for i in range(x.ndim))
    return take_window(x, start, x.shape, step)


# Joining


def _concatenate_type(call: Call) -> TensorType:
    axis, first = call.attrs["axis"], call.types[0]
    dims = list(first.shape)
    for other in call.types[1:]:
        if other.ndim != first.ndim:
            call.fail("numbers of axes differ")
        for i, dim in enumerate(other.shape):
            dims[i] = (
                add(dims[i], dim) if i == axis else call.same(dims[i], dim, f"sizes of axis {i}")
            )
    return TensorType(call.one_dtype(), tuple(dims))


_OFFSETS: WeakKeyDictionary[Node, tuple[Dim, ...]] = WeakKeyDictionary()
"""Where each part of a joined tensor starts, so that its gradient is linear in their number."""


def _concatenate_bprop(g: Tensor, y: Tensor, *x: Tensor, index: int, axis: int) -> Tensor:
    if y.node not in _OFFSETS:
        sizes = (part.shape[axis] for part in x)
        _OFFSETS[y.node] = tuple(accumulate(sizes, add, initial=0))
    offset = _OFFSETS[y.node][index]
    start = tuple(offset if i == axis else 0 for i in range(g.ndim))
    return take_window(g, start, x[index].shape, (1,) * g.ndim)


CONCATENATE = define(
    Op(
        "concatenate",
        _concatenate_type,
        lambda *x, axis: np.concatenate(x, axis),
        bprop=(_concatenate_bprop,),
        linear="jointly",
        variadic=True,
        samples=fixed(
            Case((spread(2, 3), spread(2, 1)), {"axis": 1}),
            Case((spread(2), spread(3), spread(1)), {"axis": 0}),
        ),
        summary="Tensors one after the other along an axis.",
    )
)


@implements(np.concatenate, np.concat)
def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Return tensors joined along an axis, as `numpy.concatenate`."""
    values = list(tensors)
    if not values:
        raise errors.ArgumentError(errors.worded("concatenate: nothing to join", made_at=here()))
    dtype = common_dtype("concatenate", values)
    parts = [as_tensor(value, dtype) for value in values]
    if axis is None:
        parts, axis = [ravel(part) for part in parts], 0
    at = axis_of(axis, parts[0].ndim, "concatenate")
    return Tensor(apply(CONCATENATE, [part.node for part in parts], {"axis": at}))


@implements(np.stack)
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Return tensors joined along a new axis, as `numpy.stack`."""
    return concatenate([expand_dims(t, axis) for t in tensors], axis)


@implements(np.vstack)
def vstack(tensors: Sequence[Any]) -> Tensor:
    """Return tensors joined along the first axis, as `numpy.vstack`."""
    return concatenate([atleast_2d(t) for t in tensors], 0)


@implements(np.hstack)
def hstack(tensors: Sequence[Any]) -> Tensor:
    """Return tensors joined along the second axis (the first for vectors), as `numpy.hstack`."""
    parts = [atleast_1d(t) for t in tensors]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1)


@implements(np.column_stack)
def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Return vectors as the columns of a matrix, as `numpy.column_stack`."""
    parts = [as_tensor(t) for t in tensors]
    return concatenate([expand_dims(p, 1) if p.ndim == 1 else p for p in parts], 1)


@implements(np.split)
def split(x: Any, parts: int, axis: int = 0) -> list[Tensor]:
    """Return ``x`` cut into equal parts along an axis of known size, as `numpy.split`."""
    x = as_tensor(x)
    at = axis_of(axis, x.ndim, "split")
    dim = x.shape[at]
    if not isinstance(dim, int) or not isinstance(parts, int) or parts < 1 or dim % parts:
        raise errors.ShapeError(
            errors.worded(f"split: {x.type} has no {parts!r} equal parts", made_at=here())
        )
    return [
        take_window(
            x,
            tuple(i * (dim // parts) if a == at else 0 for a in range(x.ndim)),
            tuple(dim // parts if a == at else d for a, d in enumerate(x.shape)),
            (1,) * x.ndim,
        )
        for i in range(parts)
    ]


@implements(np.shape)
def shape(x: Tensor) -> Shape:
    """Return the shape, as `numpy.shape`."""
    return x.shape


@implements(np.ndim)
def ndim(x: Tensor) -> int:
    """Return the number of axes, as `numpy.ndim`."""
    return x.ndim


@implements(np.size)
def size(x: Tensor, axis: int | None = None) -> Dim:
    """Return the number of elements, or the size of one axis, as `numpy.size`."""
    return x.size if axis is None else x.shape[axis_of(axis, x.ndim, "size")]
