"""Quick forms for small arguments, and windows read where they are placed: compiled values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.backends.lowered import lowered
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import assert_close, evaluate

NOT_FINITE = [np.nan, np.inf, -np.inf]
SMALL = [0.0, -0.0, 1e-310, 1e-9, 0.5, -1.0, 3.0, -100.0, 4095.999, -4095.999]
LARGE = [4096.0, -4096.0, 4096.5, 1e5, -123456.789, 1e15, 1e22, -6.0e200, np.finfo(float).max]
FUNCTIONS: list[Callable[[Any], Any]] = [np.sin, np.cos, np.tan]


def source(inputs: list[Tensor], outputs: list[Any]) -> str:
    return lowered(sg.optimize(Graph(inputs, outputs))).body


def places(special: list[float]) -> list[Array]:
    """Return arrays of small numbers with others first, last, and everywhere."""
    small = np.linspace(-30, 30, 41)
    return [np.array([*special, *small]), np.array([*small, *special]), np.array(special)]


class TestLargeArguments:
    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_among_small_ones(self, function: Callable[[Any], Any]) -> None:
        x = sg.vector("x", "n")
        f = sg.compile(x, function(x))
        assert "near_" in source([x], [function(x)])
        with np.errstate(all="ignore"):
            for given in (*places(SMALL), *places(LARGE), *places(NOT_FINITE), *places([5e3])):
                np.testing.assert_allclose(f(given), function(given), rtol=1e-15, atol=0)

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_of_float32(self, function: Callable[[Any], Any]) -> None:
        x = sg.vector("x", "n", "float32")
        f = sg.compile(x, function(x))
        large = [4096.0, -4100.5, 1e9, -3e38]
        with np.errstate(all="ignore"):
            for array in (*places(SMALL), *places(large), *places(NOT_FINITE)):
                given = array.astype("float32")
                exact = function(given.astype("float64")).astype("float32")
                np.testing.assert_allclose(f(given), exact, rtol=2.4e-7, atol=0)

    def test_several_results_and_sums_of_one_loop(self) -> None:
        """What was added up before a large argument came must not be added once more."""
        x = sg.vector("x", "n")
        s, c = np.sin(x), np.cos(2 * x)
        outputs = [s, c * x, np.sum(s), np.sum(s * c), np.max(c), np.tan(x / 3), np.sum(x)]
        f = sg.compile(x, outputs)
        for given in (*places([1.0]), *places([5000.0]), *places([-1e6, 2100.0, 3e4])):
            v, u = np.sin(given), np.cos(2 * given)
            tangent = np.tan(given / 3)
            expected = [v, u * given, v.sum(), (v * u).sum(), u.max(), tangent, given.sum()]
            for got, wanted in zip(f(given), expected, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-15)

    def test_sums_over_rows_and_columns(self) -> None:
        x = sg.matrix("x", ("m", "n"))
        y = np.sin(x)
        f = sg.compile(x, [np.sum(y, axis=0), np.sum(y, axis=1), np.prod(y), y, np.min(y, axis=0)])
        for bad in (1.0, 7000.0):
            given = np.linspace(-5, 5, 12).reshape(3, 4)
            given[1, 2] = bad
            v = np.sin(given)
            expected = [v.sum(0), v.sum(1), v.prod(), v, v.min(0)]
            for got, wanted in zip(f(given), expected, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-15)

    def test_that_is_written_over(self) -> None:
        """Where the loop writes over its own argument, it cannot be done again."""
        x = sg.matrix("x", ("n", "n"))
        y = np.sin(x @ x)
        outputs = [np.cos(y @ x * 1000) + y, np.sum(y)]
        f = sg.compile(x, outputs)
        for scale in (1.0, 60.0):
            given = scale * np.arange(1.0, 10).reshape(3, 3)
            v = np.sin(given @ given)
            np.testing.assert_allclose(f(given)[1], v.sum(), rtol=1e-13)
            np.testing.assert_allclose(f(given)[0], np.cos(v @ given * 1000) + v, atol=1e-9)

    def test_in_a_step_of_training(self) -> None:
        """The parameter is written over in the loop that computes the sine of it."""
        x, w = sg.vector("x", "n"), sg.parameter("w", ("n",))
        model = sg.Model(np.sum(np.sin(w * x)))
        values = np.array([0.5, 2.0, 3.0])
        train = model.compile(update=sg.optim.sgd(0.25), parameters={"w": values})
        for given in (np.array([1.0, 2.0, -1.0]), np.array([1.0, 1e5, 3.0]), np.ones(3)):
            assert train(x=given) == pytest.approx(np.sum(np.sin(values * given)), rel=1e-12)
            values = values - 0.25 * given * np.cos(values * given)
            np.testing.assert_allclose(train.parameters["w"], values, rtol=1e-12)
            # A step of 25,000 leaves a last bit that would count in the next one.
            values = train.parameters["w"].copy()

    def test_one_function_of_another(self) -> None:
        x = sg.vector("x", "n")
        outputs = [np.sin(1e5 * np.cos(x)), np.sin(np.where(x > 0, x, 1e4 * x)), np.sin(x[::-1])]
        f = sg.compile(x, outputs)
        given = np.array([0.5, -1.0, 2.0, -0.125])
        expected = [np.sin(1e5 * np.cos(given)), np.sin(np.where(given > 0, given, 1e4 * given))]
        for got, wanted in zip(f(given), [*expected, np.sin(given[::-1])], strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-10)

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_of_what_is_never_large(self, dtype: str) -> None:
        """The values of some functions need no test, infinities and NaN among them."""
        x = sg.vector("x", "n", dtype)
        inner = [np.log, np.log2, np.log1p, np.tanh, np.arctan, np.arcsinh, np.cos]
        outputs = [f(g(x)) for f in FUNCTIONS for g in inner]
        given = np.array([0.0, -0.0, 0.5, 1, 2, 1e-30, 3e38, -1, np.inf, -np.inf, np.nan], dtype)
        arguments = sg.compile(x, [g(x) for g in inner])(given)
        with np.errstate(all="ignore"):
            exact = [f(a.astype("float64")) for f in FUNCTIONS for a in arguments]
        for got, wanted in zip(sg.compile(x, outputs)(given), exact, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=4 * float(np.finfo(dtype).eps))
        text = source([x], [f(np.log(x)) for f in FUNCTIONS])
        assert "near_sin" in text and "near_cos" in text and "near_tan" in text
        assert "far" not in text

    def test_of_a_number_and_of_a_row(self) -> None:
        """Where the argument is computed outside the inner loop."""
        x, s = sg.matrix("x", ("m", "n")), sg.scalar("s")
        column = np.sum(x, axis=1, keepdims=True)
        f = sg.compile([x, s], [np.sin(s) * x, x * np.cos(column), np.sum(x * np.tan(x[:, :1]))])
        for number in (0.5, 1e7):
            given = np.array([[1.0, 2.0, number], [number, -number, 3.0]])
            wide = given.sum(1, keepdims=True)
            expected = [np.sin(number) * given, given * np.cos(wide)]
            expected.append(np.sum(given * np.tan(given[:, :1])))
            for got, wanted in zip(f(given, number), expected, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-13)


WINDOWS: list[Callable[[Any], Any]] = [
    lambda x: x[::-2],
    lambda x: x[1:],
    lambda x: x[:-1][::3],
    lambda x: x[::-1][1:],
    lambda x: x[2:-1:2],
    lambda x: x[-2:0:-1],
    lambda x: x[::-3][:-1],
    lambda x: x[:1],
    lambda x: x[-1:],
]


@pytest.mark.parametrize("n", [7, 8])
def test_gradients_of_windows(n: int) -> None:
    x = sg.vector("x", n)
    outputs = [sg.grad(np.sum(window(x) ** 3), x) for window in WINDOWS]
    given = np.linspace(-1, 2, n)
    for got, window in zip(sg.compile(x, outputs)(given), WINDOWS, strict=True):
        chosen = np.zeros(n)
        chosen[window(np.arange(n))] = 1
        np.testing.assert_allclose(got, 3 * chosen * given**2, rtol=1e-14)


def test_gradients_of_windows_of_any_size() -> None:
    x = sg.vector("x", "n")
    windows: list[Callable[[Any], Any]] = [
        lambda x: x[1:],
        lambda x: x[:-1],
        lambda x: x[::-1],
        lambda x: x[::-1][2:],
    ]
    outputs = [sg.grad(np.sum(np.sin(window(x))), x) for window in windows]
    f = sg.compile(x, outputs)
    for n in (2, 3, 9):
        given = np.linspace(-1, 2, n)
        given[-1] = 1e6
        for got, window in zip(f(given), windows, strict=True):
            chosen = np.zeros(n)
            chosen[window(np.arange(n))] = 1
            np.testing.assert_allclose(got, chosen * np.cos(given), rtol=1e-13)


def test_windows_on_several_axes() -> None:
    X = sg.matrix("X", (5, 6))
    losses = [
        np.sum(np.sin(X[1:, ::-2]) * X[:-1, ::2]),
        np.sum((X[::2, 1:] - X[::-2, :-1]) ** 2),
        np.sum(np.exp(X[1:-1, 1:-1]) * X[2:, 2:] * X[:-2, ::-1][:, 1:-1]),
        np.sum(np.max(X[::-2, ::3], axis=1) * X[::2, 5]),
        np.sum(X[::-1][::2].T @ X[1:4, ::-1]),
    ]
    outputs = [*losses, *(sg.grad(loss, X) for loss in losses)]
    given = np.random.default_rng(0).normal(size=(5, 6))
    f = sg.compile(X, outputs)
    for got, wanted in zip(f(given), evaluate([X], outputs, given), strict=True):
        assert_close(got, wanted, 1e-13)


def test_second_derivatives_of_differences() -> None:
    x, v = sg.vector("x", 9), sg.vector("v", 9)
    d = x[2:] - 2 * x[1:-1] + x[:-2]
    energy = np.sum(np.sin(d) * x[::-1][1:-1]) + np.sum(x[::4] ** 3)
    gradient = sg.grad(energy, x)
    outputs = [energy, gradient, sg.grad(np.sum(gradient * v), x)]
    given = np.linspace(0, 1, 9) ** 2, np.cos(np.arange(9.0))
    f = sg.compile([x, v], outputs)
    for scale in (1, 10**4):
        values = given[0] * scale, given[1]
        for got, wanted in zip(f(*values), evaluate([x, v], outputs, *values), strict=True):
            assert_close(got, wanted, 1e-9)


def test_what_lies_outside_a_window_is_not_touched() -> None:
    """Zero times infinity must not come of elements that were not chosen."""
    x = sg.vector("x", 6)
    with np.errstate(all="ignore"):
        f = sg.compile(x, [sg.grad(np.sum(np.log(x[1:])), x), sg.grad(np.sum(1 / x[::2]), x)])
        first, second = f(np.array([0.0, 1.0, 2.0, 0.0, 4.0, np.nan]))
    np.testing.assert_array_equal(first, [0, 1, 0.5, np.inf, 0.25, np.nan])
    np.testing.assert_array_equal(second, [-np.inf, 0, -0.25, 0, -0.0625, 0])


def test_quick_forms_in_windows() -> None:
    """Under the condition of a window, too, where a large argument is looked for as well."""
    x = sg.vector("x", "n")
    loss = sg.sum(sg.cos(x[1:]) * x[:-1])
    outputs = [loss, sg.grad(loss, x)]
    assert "near_sin" in source([x], outputs)
    f, reference = (sg.compile(x, outputs, backend=name) for name in ("numba", "numpy"))
    with np.errstate(all="ignore"):
        for given in (*places(SMALL), *places(LARGE[:-1]), *places(NOT_FINITE)):
            for got, expected in zip(f(given), reference(given), strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-13)
