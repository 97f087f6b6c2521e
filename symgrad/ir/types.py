"""What a tensor is before it has a value: its dtype and its shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from symgrad.errors import DtypeError, ShapeError, worded
from symgrad.ir.origin import here
from symgrad.ir.size import Dim, Shape, Size, product, shape_text

Array = npt.NDArray[Any]
DType = np.dtype[Any]

FLOAT32: DType = np.dtype(np.float32)
FLOAT64: DType = np.dtype(np.float64)
INT32: DType = np.dtype(np.int32)
INT64: DType = np.dtype(np.int64)
BOOL: DType = np.dtype(np.bool_)
DTYPES: dict[str, DType] = {d.name: d for d in (FLOAT32, FLOAT64, INT32, INT64, BOOL)}
SUPPORTED = frozenset(DTYPES.values())


@dataclass(frozen=True, slots=True)
class TensorType:
    """A dtype and a shape, printed as ``float64[n, 4]``."""

    dtype: DType
    shape: Shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return product(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether the elements are real numbers, so that derivatives exist."""
        return self.dtype.kind == "f"

    def __str__(self) -> str:
        return f"{self.dtype.name}[{shape_text(self.shape)}]"


def as_dtype(value: object) -> DType:
    """Return the dtype that ``value`` names.

    Raises:
        DtypeError: for anything but float32, float64, int32, int64 and bool.
    """
    if isinstance(value, np.dtype) and value in SUPPORTED:
        return value
    try:
        dtype: DType = np.dtype(value)  # type: ignore[call-overload]
    except TypeError:
        raise _wrong_dtype(f"{value!r} is not a dtype") from None
    if dtype not in SUPPORTED:
        raise _wrong_dtype(f"dtype {dtype} is not supported")
    return dtype


def _wrong_dtype(what: str) -> DtypeError:
    return DtypeError(worded(f"{what}; expected one of {', '.join(DTYPES)}", made_at=here()))


def as_dim(value: object) -> Dim:
    """Return a size from an integer, a name, or arithmetic on names."""
    match value:
        case Size():
            return value
        case bool():
            pass
        case int() | np.integer():
            if value < 0:
                raise ShapeError(worded(f"a size cannot be negative, got {value}", made_at=here()))
            return int(value)
        case str() if value.isidentifier() and not value.startswith("_"):
            return Size.named(value)
        case _:
            pass
    raise ShapeError(
        worded(
            f"{value!r} is not a size; expected an integer, a name such as 'n' "
            "(a Python identifier that does not start with an underscore), or arithmetic on names",
            made_at=here(),
        )
    )


def declared_shape(name: str, shape: object) -> Shape:
    """Return the shape of the declared tensor ``name``; a None in it is a size of its own.

    A declaration takes integers, names and None only: the value of a size is read off the
    arrays of a call, which arithmetic such as ``n - 1`` would not allow.
    """
    if isinstance(shape, int | str | Size) or shape is None:
        shape = (shape,)
    if not isinstance(shape, Sequence):
        raise ShapeError(f"the shape of {name} must be a tuple of sizes, got {shape!r}")
    dims: list[Dim] = []
    for axis, value in enumerate(shape):
        if value is None:
            # Names that people give never start with an underscore, so this one is free.
            stem = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
            dims.append(Size.named(f"_{stem}{axis}"))
            continue
        dim = as_dim(value)
        if isinstance(dim, Size) and (len(dim.names) != 1 or dim != Size.named(*dim.names)):
            raise ShapeError(
                f"the shape of {name} has the size {dim}; a declared size is an integer, "
                "a name or None"
            )
        dims.append(dim)
    return tuple(dims)


def representable(value: float, dtype: DType) -> bool:
    """Return whether a product of constants is a normal finite number in ``dtype``."""
    if dtype.kind != "f":
        return float(value).is_integer()
    info = np.finfo(dtype)
    return math.isfinite(value) and float(info.tiny) <= abs(value) <= float(info.max)
