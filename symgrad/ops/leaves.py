"""Where values come from: declared tensors, constants, sizes and index ranges."""

from __future__ import annotations

from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply
from symgrad.ir.op import Op, define
from symgrad.ir.origin import here
from symgrad.ir.size import Dim
from symgrad.ir.types import (
    FLOAT64,
    INT64,
    Array,
    DType,
    TensorType,
    as_dim,
    as_dtype,
    declared_shape,
)
from symgrad.tensor import Tensor


def _declared_type(call: Call) -> TensorType:
    return TensorType(call.attrs["dtype"], call.attrs["shape"])


def _never(**attrs: object) -> Array:
    raise errors.GraphError(f"the declared tensor {attrs['name']!r} was given no value")


INPUT = define(
    Op("input", _declared_type, _never, summary="A declared tensor: an input or a parameter.")
)
CONSTANT = define(
    Op(
        "constant",
        lambda call: TensorType(call.attrs["value"].dtype, call.attrs["value"].shape),
        lambda value: value,
        summary="An array that is part of the graph.",
    )
)
SIZE = define(
    Op(
        "size",
        lambda call: TensorType(call.attrs["dtype"], ()),
        lambda size, dtype: dtype.type(size),
        summary="A symbolic size as a number.",
    )
)
IOTA = define(
    Op(
        "iota",
        lambda call: TensorType(call.attrs["dtype"], (call.attrs["size"],)),
        lambda size, dtype: np.arange(size, dtype=dtype),
        text="(0, 1, …)",
        latex=r"(0, 1, \dots)",
        summary="The integers 0, 1, ..., size - 1.",
    )
)


def _declare(name: object, shape: object, dtype: object, role: str, init: object) -> Tensor:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise errors.ArgumentError(
            errors.worded(
                f"a tensor's name is a non-empty printable string, got {name!r}",
                made_at=here(),
                fix="sg.tensor('x', ('n', 64), 'float32')",
            )
        )
    try:
        type_ = TensorType(as_dtype(dtype), declared_shape(name, shape))
    except errors.SymgradError as error:
        raise type(error)(f"{name}: {error}") from None
    return _input(name, type_, role, init)


def _input(name: str, type_: TensorType, role: str, init: object) -> Tensor:
    attrs = {
        "name": name,
        "dtype": type_.dtype,
        "shape": type_.shape,
        "role": role,
        "init": init,
    }
    return Tensor(apply(INPUT, (), attrs))


def stand_in(name: str, type_: TensorType) -> Tensor:
    """Return an input that takes the place of a computed value, whose sizes may be any: n - 1."""
    return _input(name, type_, "input", None)


def tensor(name: str, shape: object = (), dtype: object = FLOAT64) -> Tensor:
    """Declare an input.

    Args:
        name: How it is called in formulas, errors and calls.
        shape: A tuple of sizes: an integer, a name (one name is one size everywhere), or None
            for a size of its own.
        dtype: float32, float64, int32, int64 or bool.

    Raises:
        ArgumentError, ShapeError, DtypeError: for a name, size or dtype that is none.
    """
    return _declare(name, shape, dtype, "input", None)


def parameter(name: str, shape: object = None, dtype: object = None, *, init: Any = None) -> Tensor:
    """Declare a parameter: an input that a model learns.

    Args:
        name: As for `tensor`.
        shape: As for `tensor`; by default that of the array ``init``.
        dtype: As for `tensor`; by default that of the array ``init``, else float64.
        init: The initial value: an array, a number, a function ``(rng, shape, dtype) -> array``
            such as ``sg.init.glorot_uniform``, or None for zeros.

    Raises:
        ShapeError, DtypeError: also when the array ``init`` is not of the declared type.
    """
    if isinstance(init, Tensor):
        raise errors.ArgumentError(
            errors.worded(f"parameter {name}: init must be an array or a function", made_at=here())
        )
    if init is not None and not callable(init):
        init = np.asarray(init, dtype=None if dtype is None else as_dtype(dtype))
        shape, dtype = init.shape if shape is None else shape, init.dtype
    declared = _declare(
        name, () if shape is None else shape, FLOAT64 if dtype is None else dtype, "parameter", init
    )
    _check_init(declared, init)
    return declared


def _check_init(declared: Tensor, init: object) -> None:
    if not isinstance(init, np.ndarray) or init.ndim == 0:
        return
    fits = init.ndim == declared.ndim and all(
        not isinstance(dim, int) or dim == got
        for dim, got in zip(declared.shape, init.shape, strict=True)
    )
    if not fits:
        raise errors.ShapeError(
            errors.worded(
                f"parameter {declared.name} is {declared.type}, "
                f"but init has the shape {init.shape}",
                made_at=here(),
            )
        )


def scalar(name: str, dtype: object = FLOAT64) -> Tensor:
    """Declare a number."""
    return tensor(name, (), dtype)


def vector(name: str, size: object = None, dtype: object = FLOAT64) -> Tensor:
    """Declare a vector, of a size of its own unless one is given."""
    return tensor(name, (size,), dtype)


def matrix(name: str, shape: object = (None, None), dtype: object = FLOAT64) -> Tensor:
    """Declare a matrix, of sizes of its own unless they are given."""
    return tensor(name, shape, dtype)


def arange(size: object, dtype: object = INT64) -> Tensor:
    """Return the integers 0 ... size - 1; the size may be symbolic."""
    wanted: DType = as_dtype(dtype)
    dim: Dim = as_dim(size)
    return Tensor(apply(IOTA, (), {"size": dim, "dtype": wanted}))
