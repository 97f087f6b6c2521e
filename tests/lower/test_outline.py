"""Large programs, compiled step by step: the same results, and as many functions as kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.backends import numba
from symgrad.backends.kernel import stepped_module
from symgrad.backends.lowered import lowered
from symgrad.backends.numba import NumbaProgram
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import assert_close

Build = Callable[[int], tuple[list[Tensor], list[Any]]]


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "LARGEST", 0)


def layers(depth: int, dtype: str = "float64") -> tuple[list[Tensor], list[Any]]:
    """Return a network with weights of its own for each layer, and its gradient."""
    x = sg.matrix("x", ("n", 6), dtype)
    weights = [sg.matrix(f"W{i}", (6, 6), dtype) for i in range(depth)]
    biases = [sg.vector(f"b{i}", 6, dtype) for i in range(depth)]
    h: Any = x
    for W, b in zip(weights, biases, strict=True):
        h = np.tanh(h @ W + b)
    loss = sg.mean(h**2)
    held = [*weights, *biases]
    return [x, *held], [loss, *sg.grad(loss, held)]


def chain(depth: int) -> tuple[list[Tensor], list[Any]]:
    x = sg.vector("x", "n")
    y: Any = x
    for _ in range(depth):
        y = np.sin(y) + x * np.cos(y)
    return [x], [y, sg.grad(np.sum(y), x)]


def normalised(depth: int) -> tuple[list[Tensor], list[Any]]:
    """Return layers with a mean and a spread each."""
    x = sg.matrix("x", ("n", 3))
    y: Any = x
    for _ in range(depth):
        centred = y - sg.mean(y, axis=0)
        y = centred / np.sqrt(sg.mean(centred**2) + 0.1) + np.tanh(x)
    return [x], [np.sum(y**2), sg.grad(np.sum(y * x), x)]


def reshaped(depth: int) -> tuple[list[Tensor], list[Any]]:
    x = sg.matrix("x", (4, 6))
    y: Any = x
    for _ in range(depth):
        y = np.reshape(np.tanh(np.reshape(y, (6, 4)) @ np.reshape(x, (4, 6))), (9, 4))[:6]
        y = np.reshape(y, (4, 6)) / 2
    return [x], [y, sg.grad(np.sum(y), x)]


def numbers(depth: int) -> tuple[list[Tensor], list[Any]]:
    """Return numbers of several dtypes, which pass from step to step."""
    x, k = sg.vector("x", "n", "float32"), sg.vector("k", "n", "int64")
    total: Any = np.sum(x)
    for _ in range(depth):
        total = np.sum(np.tanh(x * total)) / 3 + total / 7
    count = np.sum(k) // 2 + np.argmax(x)
    return [x, k], [total, np.max(x) > total, count, sg.grad(total, x), k[count % 2] * 2]


def recurrent(depth: int) -> tuple[list[Tensor], list[Any]]:
    """Return a network over time: slices of one input, one weight for all of them."""
    x, W, U = sg.tensor("x", (depth, "n", 2)), sg.matrix("W", (5, 5)), sg.matrix("U", (2, 5))
    h: Any = sg.zeros((1, 5))
    for i in range(depth):
        h = np.tanh(x[i] @ U + h @ W)
    loss = np.sum(h**2)
    return [x, W, U], [loss, *sg.grad(loss, [W, U])]


def coefficients(depth: int) -> tuple[list[Tensor], list[Any]]:
    """Return steps in time with numbers of their own, and windows that move."""
    x, y = sg.vector("x", "n"), sg.matrix("y", (depth + 3, 2))
    h: Any = x
    for i in range(depth):
        near, far = round(0.11 + i / 50, 2), round(1.11 + i / 50, 2)
        h = h + near * np.tanh(h * far + y[i + 2, 1]) - 1e-3
    return [x, y], [h, sg.grad(np.sum(h**2), x)]


def values(inputs: list[Tensor], n: int = 4) -> list[Array]:
    rng = np.random.default_rng(n)
    out = []
    for x in inputs:
        shape = tuple(dim if isinstance(dim, int) else n for dim in x.shape)
        out.append(rng.normal(size=shape).astype(x.type.dtype))
    return out


def steps(inputs: list[Tensor], outputs: list[Any]) -> int:
    """Return how many functions the program has."""
    graph = sg.optimize(Graph(inputs, outputs))
    assert NumbaProgram(graph).in_steps
    return len(stepped_module(graph, lowered(graph, fuse=False)).outline.functions)


def agree(inputs: list[Tensor], outputs: list[Any], rtol: float = 1e-10) -> None:
    f, reference = (sg.compile(inputs, outputs, backend=b) for b in ("numba", "numpy"))
    for n in (4, 4, 1):
        given = values(inputs, n)
        kept = [array.copy() for array in given]
        for a, b in zip(f(*given), reference(*given), strict=True):
            assert a.dtype == b.dtype
            assert type(a) is type(b)
            assert_close(a, b, rtol)
        assert all(np.array_equal(a, b) for a, b in zip(given, kept, strict=True))
    assert isinstance(f.program, NumbaProgram)
    assert f.program.in_steps


@pytest.mark.parametrize("build", [layers, chain, normalised, reshaped, recurrent, coefficients])
def test_as_many_functions_for_twice_the_depth(build: Build) -> None:
    # Where an inlined chain is cut may differ at the ends.
    assert steps(*build(20)) <= steps(*build(10)) + 2 < 30


@pytest.mark.parametrize("build", [layers, chain, normalised, reshaped, recurrent, coefficients])
def test_results_are_those_of_the_reference(build: Build) -> None:
    agree(*build(4))


def test_numbers_have_their_dtype() -> None:
    agree(*numbers(3), rtol=1e-5)


def test_float32_layers() -> None:
    agree(*layers(3, "float32"), rtol=1e-4)


def test_nothing_but_what_is_given() -> None:
    x = sg.vector("x", "n")
    c = sg.constant(np.arange(3.0))
    y = np.sin(x)
    listed = [x, x, x[::-1], x.reshape((-1, 1)), c, c, y, y, y.reshape((1, -1)), x[0], sg.ones(2)]
    f = sg.compile(x, listed)
    given = np.arange(3.0)
    for _ in range(2):
        results = f(given)
        for i, a in enumerate(results):
            assert not any(np.shares_memory(a, b) for b in (*results[:i], given))
        expected = sg.compile(x, listed, backend="numpy")(given)
        for a, b in zip(results, expected, strict=True):
            assert_close(a, b, 1e-15)
            if a.ndim:
                a[...] = 7


def test_several_indices_and_labels() -> None:
    x, k = sg.matrix("x", ("n", 3)), sg.tensor("k", ("n",), "int64")
    first = sg.nn.cross_entropy(x, k)
    loss = first + np.sum(np.sin(x)[k])
    f, reference = (
        sg.compile([x, k], [loss, sg.grad(loss, x)], backend=b) for b in ("numba", "numpy")
    )
    given = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 2])
    for _ in range(2):
        for a, b in zip(f(*given), reference(*given), strict=True):
            assert_close(a, b, 1e-13)
        with pytest.raises(errors.ValueRangeError, match="3"):
            f(given[0], np.array([0, 1, 2, 3]))


@pytest.mark.parametrize(
    "given",
    [
        (np.ones((4, 3)), np.ones(2)),
        (np.ones((4, 2)), np.ones(3)),
        (np.ones(4), np.ones(2)),
        (np.ones((4, 3)), np.ones(3) * 1j),
        (np.ones((4, 3)),),
    ],
)
def test_arguments_are_checked(given: tuple[Array, ...]) -> None:
    x, w = sg.matrix("x", ("n", 3)), sg.vector("w", 3)
    f = sg.compile([x, w], np.sum(np.tanh(x @ w)))
    for _ in range(2):
        assert f(np.ones((4, 3)), np.ones(3)) == pytest.approx(4 * np.tanh(3))
        with pytest.raises(errors.SymgradError):
            f(*given)


def test_arguments_of_any_layout() -> None:
    x, w = sg.matrix("x", ("n", 3)), sg.vector("w", 3)
    f = sg.compile([x, w], np.tanh(x.T) @ np.exp(x @ w))
    a, b = np.random.default_rng(0).normal(size=(4, 3)), np.arange(3.0)
    fixed = a.copy()
    fixed.flags.writeable = False
    expected = np.tanh(a.T) @ np.exp(a @ b)
    for given in (a, fixed, np.asfortranarray(a), a[::-1][::-1], a.tolist()):
        np.testing.assert_allclose(f(given, b), expected, rtol=1e-13)


@pytest.mark.parametrize(
    "rule", [sg.optim.sgd(0.1), sg.optim.momentum(0.1), sg.optim.adam(0.1)], ids=lambda r: r.name
)
def test_training_in_place(rule: sg.optim.Optimizer) -> None:
    x, scale = sg.matrix("x", ("n", 6)), sg.parameter("scale", init=1.5)
    h: Any = x
    for i in range(3):
        W = sg.parameter(f"W{i}", (6, 6), init=sg.init.normal(0.3))
        h = np.tanh(h @ W + sg.parameter(f"b{i}", (6,)))
    model = sg.Model(sg.mean((h * scale - x) ** 2))
    first, second = (model.compile(b, update=rule) for b in ("numba", "numpy"))
    assert first.program.in_steps
    held = dict(first.parameters)
    for n in (5, 2, 5):
        data = np.random.default_rng(n).normal(size=(n, 6))
        assert first(x=data) == pytest.approx(second(x=data), rel=1e-11)
    for name, expected in second.parameters.items():
        assert first.parameters[name] is held[name]
        np.testing.assert_allclose(held[name], expected, 1e-9, 1e-12)


def test_a_parameter_as_data_of_its_own_training() -> None:
    y, w = sg.vector("y", "n"), sg.parameter("w", ("n",))
    model = sg.Model(np.sum((w - 2 * y[::-1]) ** 2) / 2)
    train = model.compile(update=sg.optim.sgd(0.5), parameters={"w": [1.0, 2.0, 5.0]})
    train(y=train.parameters["w"])
    assert train.parameters["w"].tolist() == [5.5, 3, 3.5]
