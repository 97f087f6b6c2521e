"""Functions of arrays: traced once per dtype and rank, then compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symgrad as sg


def sine(w: Any) -> Any:
    return np.sum(np.sin(w) ** 2)


def test_value_and_gradient(backend: str) -> None:
    f = sg.value_and_grad(sine, backend=backend)
    w = np.linspace(-1, 2, 7)
    value, gradient = f(w)
    assert value == pytest.approx(np.sum(np.sin(w) ** 2))
    np.testing.assert_allclose(gradient, np.sin(2 * w), rtol=1e-14)


def test_other_sizes_use_the_same_kernel() -> None:
    f = sg.value_and_grad(sine, backend="numpy")
    for size in (2, 5, 9):
        assert f(np.ones(size))[1].shape == (size,)
    assert len(f.compiled) == 1
    f(np.ones((2, 3)))
    f(np.ones(4, dtype=np.float32))
    assert len(f.compiled) == 3


def test_axes_of_size_one_broadcast() -> None:
    f = sg.value_and_grad(lambda a, b: np.sum(a * b), argnums=(0, 1), backend="numpy")
    a, b = np.arange(6.0).reshape(2, 3), np.array([[2.0], [3.0]])
    value, (da, db) = f(a, b)
    assert value == np.sum(a * b)
    np.testing.assert_array_equal(da, np.broadcast_to(b, a.shape))
    np.testing.assert_array_equal(db, a.sum(1, keepdims=True))


def test_arguments_by_name_and_static_ones() -> None:
    def power(x: Any, k: int = 2, *, scale: float = 1.0) -> Any:
        return scale * np.sum(x**k)

    f = sg.value_and_grad(power, backend="numpy")
    x = np.array([1.0, 2.0])
    assert f(x)[0] == 5
    assert f(x, k=3)[0] == 9
    assert f(x, 3, scale=2.0)[1].tolist() == [6, 24]
    assert f(2)[1] == 4


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (sine, (), sg.errors.ArgumentError, "sine: missing a required argument"),
        (lambda w: 3.0, (np.ones(2),), sg.errors.ArgumentError, "returned 3.0"),
        (lambda w: np.sin(w), (np.ones(2),), sg.errors.GradientError, "only a scalar"),
        (lambda w: np.sum(w), (np.arange(2),), sg.errors.GradientError, "not a real number"),
    ],
)
def test_errors(
    function: Any, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sg.value_and_grad(function, backend="numpy")(*arguments)
