"""What Python's and NumPy's objects look like in memory, and functions made of machine code.

The fields here are those that NumPy's headers compile into every extension module, so they stay
where they are as long as one NumPy runs modules that were built for another. `check` looks anyway.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.types import FLOAT64, Array, DType

HEAD = object.__basicsize__
"""How many bytes stand before the fields of an object."""
TYPE = HEAD - ctypes.sizeof(ctypes.c_void_p)
"""Where an object has its type: last in its head."""
_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400
"""Flags of an array."""
_SCALAR, _NEW_FROM_DESCR = 60, 94
"""Positions in NumPy's table of C functions: PyArray_Scalar, PyArray_NewFromDescr."""
_FASTCALL = 0x80
"""The flag of a function that takes its arguments in a row."""


class ArrayFields(ctypes.Structure):
    """The beginning of an array (PyArrayObject_fields in ndarraytypes.h)."""

    _fields_ = (
        ("head", ctypes.c_byte * HEAD),
        ("data", ctypes.c_void_p),
        ("nd", ctypes.c_int),
        ("dimensions", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("descr", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


class DTypeFields(ctypes.Structure):
    """The beginning of a dtype (PyArray_Descr): its eight bytes from ``kind`` on say which it is.

    A dtype may be there more than once: that of an array that was pickled is.
    """

    _fields_ = (
        ("head", ctypes.c_byte * HEAD),
        ("type", ctypes.c_void_p),
        ("kind", ctypes.c_uint64),
    )


class _Method(ctypes.Structure):
    """What a function made of machine code is (PyMethodDef)."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class Table(np.ndarray[Any, Any]):
    """Numbers for a function made of machine code; it keeps alive what they are addresses of."""

    kept: tuple[Any, ...] = ()


_new_function = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p
)(("PyCFunction_NewEx", ctypes.pythonapi))


def address(array: Array) -> int:
    """Return where the elements of an array are. NumPy's own ways take many times as long."""
    found: int = ArrayFields.from_address(id(array)).data
    return found


def kind(dtype: DType) -> int:
    """Return the eight bytes that tell a dtype from others."""
    found: int = DTypeFields.from_address(id(dtype)).kind
    return found


def number_types(dtype: DType) -> tuple[int, int]:
    """Return the addresses of the types whose objects hold a number of a dtype as arrays do.

    Of Python's own numbers that is float only.
    """
    return id(dtype.type), id(float if dtype == FLOAT64 else dtype.type)


def flags(written: bool) -> int:
    """Return the flags that an array must have which is read where it lies, or written to."""
    return _CONTIGUOUS | _ALIGNED | (_WRITEABLE if written else 0)


@functools.cache
def functions() -> tuple[int, int]:
    """Return the addresses of NumPy's PyArray_Scalar and PyArray_NewFromDescr."""
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    table = pointer(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
    listed = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
    return listed[_SCALAR], listed[_NEW_FROM_DESCR]


@functools.cache
def _method(address: int) -> _Method:
    """Return a method that stays: functions may look at theirs until the very end of them."""
    return _Method(b"kernel", address, _FASTCALL, None)


def function(address: int, table: Table) -> Callable[..., Any]:
    """Return machine code ``PyObject *f(table, PyObject *const *given, n)`` as a function.

    Raises:
        BackendError: if there is no code.
    """
    if not address:
        raise errors.BackendError("the compiled kernel has no entry")
    made: Callable[..., Any] = _new_function(ctypes.addressof(_method(address)), table, None)
    return made


def check() -> None:
    """Check that objects are laid out as they are read.

    Raises:
        BackendError: if they are not.
    """
    array = np.zeros((2, 3), np.float32)
    numbers = (np.float64(1.5), 2.5)
    if not (_is_as_expected(array) and all(map(_holds, numbers)) and _makes_arrays_and_scalars()):
        raise errors.BackendError(
            errors.worded(
                "this interpreter or NumPy lays out its objects in an unknown way",
                fix="backend='numpy' computes the same",
            )
        )


def _is_as_expected(array: Array) -> bool:
    fields = ArrayFields.from_address(id(array))
    sizes = (ctypes.c_ssize_t * array.ndim).from_address(fields.dimensions)
    return (
        fields.data == array.ctypes.data
        and fields.nd == array.ndim
        and tuple(sizes) == array.shape
        and fields.descr == id(array.dtype)
        and fields.flags & 0xFFFF == array.flags.num & 0xFFFF
        and ctypes.c_void_p.from_address(id(array) + TYPE).value == id(np.ndarray)
        and kind(array.dtype).to_bytes(8, sys.byteorder).startswith(array.dtype.kind.encode())
    )


def _makes_arrays_and_scalars() -> bool:
    object_, pointer = ctypes.py_object, ctypes.c_void_p
    scalar, array = functions()
    dtype, value, dims = np.dtype(np.float64), ctypes.c_double(1.5), (ctypes.c_ssize_t * 2)(2, 3)
    made = ctypes.PYFUNCTYPE(object_, pointer, object_, pointer)(scalar)(
        ctypes.addressof(value), dtype, None
    )
    types: list[Any] = [
        object_,
        object_,
        ctypes.c_int,
        pointer,
        pointer,
        pointer,
        ctypes.c_int,
        pointer,
    ]
    # It takes a reference to the dtype.
    ctypes.pythonapi.Py_IncRef(object_(dtype))
    empty = ctypes.PYFUNCTYPE(object_, *types)(array)(
        np.ndarray, dtype, 2, ctypes.addressof(dims), None, None, 0, None
    )
    return type(made) is np.float64 and made == 1.5 and empty.shape == (2, 3)


def _holds(number: float) -> bool:
    return ctypes.c_double.from_address(id(number) + HEAD).value == number


check()
