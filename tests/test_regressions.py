"""Mistakes that were found once, each as the smallest program that showed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.module import function_module


@pytest.mark.parametrize(
    ("shape", "index", "axis"),
    [
        ((2, 3), [[1], [0]], 0),
        ((2, 3), [[1, 0, 1]], 0),
        ((2, 3), [[2], [0]], 1),
        ((2, 1), [[0, 1, 1], [1, 1, 0]], 0),
        ((4,), [3, 0, -1], 0),
    ],
)
def test_take_along_axis_broadcasts(
    shape: tuple[int, ...], index: Any, axis: int, backend: str
) -> None:
    X, k = sg.tensor("X", shape), sg.tensor("k", np.shape(index), "int64")
    x, i = np.arange(float(np.prod(shape))).reshape(shape), np.array(index)
    got = sg.compile([X, k], sg.take_along_axis(X, k, axis), backend=backend)(x, i)
    np.testing.assert_array_equal(got, np.take_along_axis(x, i, axis))


def test_take_along_axis_needs_as_many_axes() -> None:
    with pytest.raises(sg.errors.ShapeError, match="number of axes"):
        sg.take_along_axis(sg.matrix("X"), sg.tensor("k", ("n",), "int64"), 0)
    with pytest.raises(sg.errors.ShapeError, match="2 indices from axis 0 on"):
        sg.ops.index.gather(sg.vector("v"), [sg.arange(2), sg.arange(2)], 0)


def test_mixed_second_derivatives_of_a_power_agree() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    z = x**y
    mixed = [sg.grad(sg.grad(z, x), y), sg.grad(sg.grad(z, y), x)]
    for a, b in ((2.0, 0.0), (2.0, 1.0), (0.5, -1.0)):
        exact = a ** (b - 1) * (1 + b * np.log(a))
        np.testing.assert_allclose(sg.compile([x, y], mixed, backend="numpy")(a, b), exact)


def test_a_number_reshaped(backend: str) -> None:
    s, v = sg.scalar("s"), sg.vector("v", "n")
    outputs = [np.ravel(s), np.outer(v, np.sum(v)), v + np.reshape(np.sum(v), (1,))]
    first, second, third = sg.compile([s, v], outputs, backend=backend)(0.5, np.arange(3.0))
    assert first.tolist() == [0.5]
    assert second.tolist() == [[0], [3], [6]]
    assert third.tolist() == [3, 4, 5]


def test_position_along_an_axis_of_one(backend: str) -> None:
    x = sg.tensor("x", ("m", 1))
    s = sg.sum(x, axis=-2, keepdims=True)
    f = sg.compile(
        [x], [sg.argmax(s, axis=-1), sg.argmin(s), sg.argmax(x, axis=1)], backend=backend
    )
    assert [np.asarray(a).tolist() for a in f(np.ones((3, 1)))] == [[0], 0, [0, 0, 0]]


def test_gradient_of_a_product_with_an_axis_of_one() -> None:
    b, y = sg.tensor("b", (1,)), sg.vector("y", "n")
    assert sg.grad(b @ y, b).shape == (1,)
    A = sg.tensor("A", ("m", 3))
    assert sg.grad(sg.sum(sg.expand_dims(A, -1) @ y), A).shape == A.shape


def test_softmax_over_nothing(backend: str) -> None:
    x = sg.tensor("x", (0, 3))
    f = sg.compile([x], [sg.nn.log_softmax(x, 0), sg.nn.logsumexp(x, 0)], backend=backend)
    empty, total = f(np.empty((0, 3)))
    assert empty.shape == (0, 3)
    assert total.tolist() == [-np.inf] * 3


def test_a_written_module_keeps_the_dtype_of_scalars(tmp_path: Path) -> None:
    s = sg.tensor("s", ("n",), "float32")
    f = sg.compile([s], sg.sum(s), backend="numpy")
    space: dict[str, Any] = {"__file__": str(tmp_path / "written.py"), "__name__": "written"}
    source = function_module(f.original, f.graph).source.replace("cache=True", "cache=False")
    exec(source, space)
    assert space["value_and_grad"](np.ones(3, "float32")).dtype == np.float32


def test_sizes_that_can_never_be_equal() -> None:
    a = sg.vector("a", "n")
    with pytest.raises(sg.errors.ShapeError, match="sizes of axis 0 differ"):
        a[1:] + a
