"""Where values live: no store may write over what is still read, and results are arrays apart."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import symgrad as sg
from symgrad.backends.lowered import lowered
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array
from symgrad.lower.scalars import OPTIONS
from symgrad.tensor import Tensor
from tests.dags import ROUGH, SMOOTH, Dag, Step, dags, steady
from tests.numeric import assert_close, evaluate

MATRICES: list[Step] = [
    lambda a, b: a.T if a.ndim == 2 and a.shape[0] == a.shape[1] else -a,
    lambda a, b: np.reshape(np.reshape(a, -1), a.shape) * 2 if a.ndim else a / 3,
    lambda a, b: np.reshape(np.tanh(a), (1, *a.shape))[0] + a if a.ndim else a,
    lambda a, b: a[::-1] - b if a.ndim == b.ndim == 1 else a + 1,
    lambda a, b: np.tanh(np.reshape(np.tanh(a), -1))[::-1] @ np.reshape(a, -1) / 9,
    lambda a, b: a - np.sum(np.tanh(a), axis=0) / 5 if a.ndim else a,
    lambda a, b: np.tanh(a) - np.max(np.tanh(a), axis=-1, keepdims=True) if a.ndim else a,
]


def python_kernel(graph: Graph, fuse: bool = True, updates: Any = None) -> Any:
    """Return the source as it stands, executed without a compiler."""
    found = lowered(graph, fuse=fuse, updates=updates)
    space: dict[str, Any] = {"np": np, "njit": lambda **_: lambda function: function}
    exec(OPTIONS, space)
    for text in (*found.helpers.values(), found.returning_tuple):
        exec(text, space)
    return lambda *values: space["kernel"](*values, *found.constants)


def agree(inputs: list[Tensor], outputs: list[Any], *values: Any, rtol: float = 1e-12) -> None:
    """Assert that fused and unfused source agree with the unoptimised graph, and share nothing."""
    values = tuple(np.asarray(value) for value in values)
    expected = evaluate(inputs, outputs, *values)
    graph = sg.optimize(Graph(inputs, outputs))
    for fuse in (True, False):
        given_ = [value.copy()[()] for value in values]
        with np.errstate(all="ignore"):
            results = python_kernel(graph, fuse)(*given_)
        for got, wanted in zip(results, expected, strict=True):
            assert_close(got, wanted, rtol)
        arrays = [a for a in (*results, *given_) if isinstance(a, np.ndarray)]
        assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))
        assert all(np.array_equal(a, b) for a, b in zip(given_, values, strict=True))


@given(dags([*SMOOTH, *ROUGH, *MATRICES], max_size=12))
@settings(steady, max_examples=60)
def test_random_graphs(dag: Dag) -> None:
    agree(dag.inputs, [dag.loss, *sg.grad(dag.loss, dag.inputs)], *dag.arrays, rtol=1e-9)


@given(dags([*SMOOTH, *MATRICES], max_size=8))
@settings(steady, max_examples=30)
def test_random_graphs_with_every_value_as_a_result(dag: Dag) -> None:
    agree(dag.inputs, dag.values, *dag.arrays, rtol=1e-9)


def agree_in_place(
    inputs: list[Tensor], outputs: list[Any], *values: Any, rtol: float = 1e-12
) -> None:
    """Assert the same where each output replaces the input at its place; others are returned."""
    values = tuple(np.asarray(value) for value in values)
    expected = evaluate(inputs, outputs, *values)
    graph = sg.optimize(Graph(inputs, outputs))
    updates = dict(zip(graph.inputs, graph.outputs, strict=False))
    for fuse in (True, False):
        given_ = [np.atleast_1d(value.copy()) for value in values]
        with np.errstate(all="ignore"):
            results = python_kernel(graph, fuse, updates)(*given_)
        kept = [array.reshape(x.shape) for array, x in zip(given_, values, strict=True)]
        for got, wanted in zip([*kept, *results], expected, strict=True):
            assert_close(got, wanted, rtol)


@given(dags([*SMOOTH, *MATRICES], max_size=8))
@settings(steady, max_examples=60)
def test_random_graphs_whose_inputs_are_replaced(dag: Dag) -> None:
    gradients = sg.grad(dag.loss, dag.inputs)
    replaced = [x - 0.1 * g for x, g in zip(dag.inputs, gradients, strict=True)]
    agree_in_place(dag.inputs, [*replaced, dag.loss], *dag.arrays, rtol=1e-9)


def square(n: int = 4, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, n))


X = sg.matrix("X", ("n", "n"))


class TestOneNest:
    def test_several_stores_over_what_the_others_read(self) -> None:
        a, b = sg.matrix("a", ("n", 3)), sg.matrix("b", ("n", 3))
        p, q = sg.nn.softmax(a * b), sg.nn.softmax(a - b)
        s, d = np.sin(p) + q, np.sin(q) - p
        u, v = s @ sg.constant(np.eye(3)[::-1]) + d, d * s
        agree([a, b], [np.sum(u * v), u - v, v / (1 + u**2)], *np.ones((2, 4, 3)) / [[[3]], [[2]]])

    def test_values_that_change_places(self) -> None:
        a = sg.matrix("a", ("n", "n"))
        p: Any
        q: Any
        p, q = a @ a, a @ a.T
        for _ in range(3):
            p, q = np.tanh(q) + 0.1 * p, np.tanh(p) - 0.2 * q
            p, q = p @ a, q @ a
        agree([a], [p, q], square(3) / 2)

    def test_a_transpose_is_read_beside(self) -> None:
        y = X @ X
        agree([X], [y - y.T, np.sum((y - y.T) ** 2, axis=0)], square())
        agree([X], [np.exp((y - y.T) @ X) - np.exp((y + 2 * y.T) @ X)], square() / 3)

    def test_a_row_is_read_after_it_is_written(self) -> None:
        x = sg.vector("x", "n")
        e = sg.nn.softmax(x)
        agree([x], [e - e[::-1], np.sum(e * e[::-1])], np.arange(5.0))
        agree([x], [(e / 2)[1:] - (e / 2)[:-1] * np.max(e)], np.arange(5.0))

    def test_a_sum_is_read_after_its_values_are_gone(self) -> None:
        y = np.exp(X @ X)
        z = y / np.sum(y, axis=0)
        w = z / np.sum(z, axis=1, keepdims=True)
        agree([X], [w / np.sum(w**2), np.sum(y)], square() / 3)

    def test_float32_sums_beside_their_rows(self) -> None:
        x = sg.matrix("x", ("n", 3), "float32")
        y = np.exp(x @ x.T) @ x
        outputs = [np.sum(y, axis=0), y / np.sum(y, axis=0), np.sum(y, axis=0) * 2]
        agree([x], outputs, np.ones((4, 3), "float32") / 3, rtol=1e-5)


class TestInPlace:
    """Inputs that are replaced: by values that read them elsewhere, also by one another."""

    at = np.arange(4.0), np.arange(4.0) * 10 + 1

    @pytest.mark.parametrize(
        "replaced",
        [
            lambda v, w: [v[::-1] + 1, w],
            lambda v, w: [v + v[::-1], w * 2],
            lambda v, w: [v - 0.5 * np.concatenate([v[1:], v[:1]]), w + v],
            lambda v, w: [w, v],
            lambda v, w: [w * 2, v * 3],
            lambda v, w: [v + w, v - w],
            lambda v, w: [v[::-1] + w, w[::-1] + v],
            lambda v, w: [v / np.sum(v + w), w / np.sum(v * w)],
            lambda v, w: [w[::-1], v[::-1]],
            lambda v, w: [v + w, v + w],
            lambda v, w: [v, v],
            lambda v, w: [w, w + 1],
            lambda v, w: [w + 1, w],
            lambda v, w: [np.tanh(v) @ np.tanh(w) * v, np.tanh(v) * 2],
            lambda v, w: [np.reshape(np.reshape(v, (2, 2)).T, -1), np.reshape(w, (2, 2))[1, 0] + w],
            lambda v, w: [sg.constant(np.arange(4.0)), sg.zeros(4) + 1],
            lambda v, w: [v.astype("int64")[::-1] + 0.5, np.where(w > v[::-1], v, w)],
            lambda v, w: [v[sg.constant([3, 1, 0, 2])], w + v[sg.constant([1, 1, 0, 0])]],
        ],
    )
    def test_vectors(self, replaced: Any) -> None:
        v, w = sg.vector("v", 4), sg.vector("w", 4)
        outputs = replaced(v, w)
        agree_in_place([v, w], [*outputs, np.sum(v * w), v - w[::-1]], *self.at)
        agree_in_place([v, w], outputs, *self.at)

    @pytest.mark.parametrize(
        "replaced",
        [
            lambda X, Y: [X.T + 1, Y],
            lambda X, Y: [X - 0.1 * X.T, Y + X],
            lambda X, Y: [X - 0.1 * (X @ Y), Y - 0.1 * (X.T @ Y)],
            lambda X, Y: [X - 0.1 * (Y @ Y.T), Y - 0.1 * (X @ X)],
            lambda X, Y: [X @ Y, Y @ X],
            lambda X, Y: [2 * X + X @ X, Y - (Y @ Y).T],
            lambda X, Y: [X - np.sum(X, axis=0), Y - np.sum(X, axis=1, keepdims=True)],
            lambda X, Y: [sg.nn.softmax(X), sg.nn.softmax(Y, 0) + X],
        ],
    )
    def test_matrices(self, replaced: Any) -> None:
        A, B = sg.matrix("A", (6, 6)), sg.matrix("B", (6, 6))
        outputs = replaced(A, B)
        agree_in_place([A, B], [*outputs, np.sum(A * B)], square(6), square(6, 1))
        agree_in_place([A, B], [*outputs, 3 * (A @ B) + 1], square(6), square(6, 1))


class TestViews:
    def test_of_an_array_that_is_used_again(self) -> None:
        y = X @ X
        flat = np.reshape(y, -1)
        z = np.tanh(y @ X)
        agree([X], [np.sum(flat * flat[::-1]), z @ X, np.exp(flat)], square() / 2)

    def test_that_lives_longer_than_its_array(self) -> None:
        """The reshape is read late, after others could take the place of what it views."""
        y = X @ X
        view = np.reshape(y, (-1,))
        other: Any = X
        for _ in range(4):
            other = np.tanh(other @ X)
        agree([X], [np.sum(other), np.reshape(view * 2, y.shape) @ other, view @ view], square())

    def test_of_a_view(self) -> None:
        x = sg.matrix("x", (4, 4))
        y = np.reshape(np.reshape(x @ x, -1), (2, -1))
        z = np.reshape(np.reshape(y * 2, -1), (4, 4)) @ x
        agree([x], [y, z, np.reshape(z, -1)], square())

    def test_of_inputs_and_constants(self) -> None:
        c = sg.constant(np.arange(16.0).reshape(4, 4))
        outputs = [np.reshape(X, -1), np.reshape(c, -1), np.reshape(X, -1) @ np.reshape(X.T, -1)]
        agree([X], outputs, square())

    def test_written_over_through_a_view(self) -> None:
        y = X @ X
        up = np.exp(np.reshape(y, -1))
        agree([X], [np.reshape(up, X.shape) @ X + up[0], np.sum(up)], square() / 3)


class TestResults:
    def test_reshapes_of_one_another(self) -> None:
        y = np.tanh(X)
        flat = np.reshape(y, -1)
        outputs = [y, flat, np.reshape(flat, (1, -1)), y.T, np.reshape(y, X.shape), y]
        agree([X], outputs, square())
        agree([X], outputs[::-1], square())

    def test_one_value_twice(self) -> None:
        y, total = X @ X, np.sum(X)
        agree([X], [y, y, total, total, y * 2, y * 2], square())

    def test_inputs_and_constants(self) -> None:
        c = sg.constant(np.arange(3.0))
        s = sg.scalar("s")
        outputs = [X, X, c, c, sg.ones((2, 3)), sg.constant(2.5), sg.zeros(X.shape), X.T, s, s * 1]
        agree([X, s], outputs, square(), 1.5)

    def test_a_result_that_is_used_further(self) -> None:
        y = X @ X
        z = np.tanh(y)
        agree([X], [y, z, z @ X, np.sum(z - y, axis=1)], square())

    @pytest.mark.parametrize("shape", [(0, 3), (1, 3), (1, 0)])
    def test_empty_and_single_rows(self, shape: tuple[int, int]) -> None:
        x = sg.matrix("x", ("n", "m"))
        e = np.exp(x)
        outputs = [e / 2, np.sum(e, axis=0), np.sum(e, axis=1), np.reshape(e, -1), np.sum(e @ e.T)]
        agree([x], outputs, np.ones(shape))


def test_memory_of_a_deep_chain_does_not_grow() -> None:
    def temporaries(depth: int) -> int:
        y: Any = X
        for _ in range(depth):
            y = np.tanh(y @ X)
        found = lowered(sg.optimize(Graph([X], [np.sum(y)])))
        return sum(not allocation.returned for allocation in found.allocations)

    assert temporaries(4) == temporaries(12) <= 3
