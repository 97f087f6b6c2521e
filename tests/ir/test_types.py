"""Dtypes, shapes and sizes that a declaration accepts, and the words for those it does not."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.ir.size import Size
from symgrad.ir.types import (
    DTYPES,
    FLOAT32,
    FLOAT64,
    INT64,
    TensorType,
    as_dim,
    as_dtype,
    declared_shape,
    representable,
)

N = Size.named("n")


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_by_any_name(name: str) -> None:
    for spelled in (name, np.dtype(name), np.dtype(name).type):
        assert as_dtype(spelled) is DTYPES[name]
    assert as_dtype(float) is FLOAT64
    assert as_dtype(int) is INT64


@pytest.mark.parametrize(
    "wrong", ["float16", "complex128", "uint8", "int8", "O", "U3", ">f8", "M8[s]"]
)
def test_other_dtypes_are_refused(wrong: str) -> None:
    with pytest.raises(errors.DtypeError, match="expected one of float32, float64, int32"):
        as_dtype(wrong)
    with pytest.raises(errors.DtypeError):
        sg.tensor("x", (), wrong)


def test_what_is_no_dtype_is_refused() -> None:
    with pytest.raises(errors.DtypeError, match="'flaot32' is not a dtype"):
        as_dtype("flaot32")


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((), ""),
        ((3, 4), "3, 4"),
        (("n", 4), "n, 4"),
        ("n", "n"),
        (5, "5"),
        ([2, "m"], "2, m"),
        ((N, np.int64(3)), "n, 3"),
        ((None, None), "_x0, _x1"),
        (None, "_x0"),
        ((0,), "0"),
        (("batch_size", "größe"), "batch_size, größe"),
    ],
)
def test_declared_shapes(shape: object, text: str) -> None:
    assert ", ".join(map(str, declared_shape("x", shape))) == text


@pytest.mark.parametrize(
    "wrong",
    [(-1,), (2.5,), ("2n",), ("n m",), ("",), ("_n",), (True,), (N + 1,), (2 * N,), (N // 2,), 2.5],
)
def test_wrong_shapes_are_refused_by_name(wrong: object) -> None:
    with pytest.raises(errors.ShapeError):
        declared_shape("x", wrong)


def test_a_declared_size_is_a_plain_name() -> None:
    with pytest.raises(errors.ShapeError, match=r"shape of x has the size n \+ 1"):
        sg.tensor("x", (N + 1,))


def test_as_dim() -> None:
    assert as_dim(3) == 3 and as_dim("n") == N and as_dim(N + 1) == N + 1
    with pytest.raises(errors.ShapeError, match="cannot be negative, got -3"):
        as_dim(-3)


def test_types_print_and_compare() -> None:
    t = TensorType(FLOAT32, (N, 64))
    assert str(t) == "float32[n, 64]"
    assert t == TensorType(FLOAT32, (Size.named("n"), 64))
    assert (t.ndim, str(t.size), t.is_float) == (2, "64*n", True)
    assert str(TensorType(INT64, ())) == "int64[]"


def test_representable() -> None:
    assert representable(1e30, FLOAT32) and not representable(1e39, FLOAT32)
    assert not representable(1e-39, FLOAT32) and representable(-1e-39, FLOAT64)
    assert not representable(0.0, FLOAT64) and not representable(float("nan"), FLOAT64)
    assert representable(2.0, INT64) and not representable(2.5, INT64)
