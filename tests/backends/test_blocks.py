"""Programs run in blocks of rows: the values, the errors, and what cannot be run so."""

from __future__ import annotations

import os
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.backends import blocks, numba
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array
from symgrad.passes.split import split
from symgrad.tensor import Tensor
from tests.backends.in_blocks import ROWS, Build, agree, compiled, make_small, program, values
from tests.numeric import assert_close
from tests.process import python

pytestmark = pytest.mark.usefixtures("small_blocks")
small_blocks = pytest.fixture(make_small)


def logistic() -> tuple[list[Tensor], list[Tensor]]:
    X, y, w, b = sg.matrix("X", ("n", 5)), sg.vector("y", "n"), sg.vector("w", 5), sg.scalar("b")
    z = X @ w + b
    loss = sg.mean(np.log(1 + np.exp(z)) - y * z)
    return [X, y, w, b], [loss, *sg.grad(loss, [w, b])]


def least_squares() -> tuple[list[Tensor], list[Tensor]]:
    X, Y, W = sg.matrix("X", ("n", 4)), sg.matrix("Y", ("n", 3)), sg.matrix("W", (4, 3))
    loss = sg.mean((X @ W - Y) ** 2) + 0.1 * sg.sum(W**2)
    return [X, Y, W], [loss, sg.grad(loss, W), X @ W - Y]


def softmax_rows() -> tuple[list[Tensor], list[Tensor]]:
    X, t, W = sg.matrix("X", ("n", 4)), sg.tensor("t", ("n",), "int64"), sg.matrix("W", (4, 3))
    logits = X @ W
    loss = sg.nn.cross_entropy(logits, t)
    return [X, t, W], [sg.nn.softmax(logits), loss, sg.grad(loss, W), sg.nn.logsumexp(logits, 1)]


def reductions() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 3))
    near = 1 + X / 100
    outputs = [np.prod(near, axis=0), np.sum(X, axis=0), sg.mean(X), np.sum(X > 0), X.T]
    return [X], [*outputs, np.sum(X, axis=1), np.max(X, axis=1), np.prod(near) - np.sum(X)]


def sums_of_some_columns() -> tuple[list[Tensor], list[Tensor]]:
    """What blocks have in common has a size that nobody can declare: m - 1."""
    X = sg.matrix("X", ("n", "m"))
    return [X], [np.sum(X[:, 1:] ** 2, axis=0), np.log(np.sum(X[:, :-1] ** 2, axis=0))]


def extrema() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 3))
    outputs = [np.max(X, axis=0), np.min(X), np.max(X) - np.min(X), np.min(X, axis=1)]
    return [X], [*outputs, np.max(X[:, 0] * 2)]


def embedding() -> tuple[list[Tensor], list[Tensor]]:
    E, k, t = sg.matrix("E", (7, 3)), sg.tensor("k", ("n",), "int64"), sg.matrix("t", ("n", 3))
    loss = sg.sum((E[k] - t) ** 2)
    return [E, k, t], [loss, sg.grad(loss, E), E[k] * 2]


def standing_alone() -> tuple[list[Tensor], list[Tensor]]:
    """Only the rows, and a sum of them; no product."""
    x, y = sg.vector("x", "n"), sg.vector("y", "n")
    return [x, y], [np.sin(x) * y, x @ y, np.tanh(y), np.sum(x) / np.sum(y**2)]


def only_rows() -> tuple[list[Tensor], list[Tensor]]:
    """No reduction at all."""
    x, a = sg.vector("x", "n"), sg.scalar("a")
    return [x, a], [sg.sin(x), a * x]


def two_layers() -> tuple[list[Tensor], list[Tensor]]:
    X, t = sg.matrix("X", ("n", 20)), sg.tensor("t", ("n",), "int64")
    V, W, b = sg.matrix("V", (20, 32)), sg.matrix("W", (32, 17)), sg.vector("b", 32)
    logits = sg.tanh(X @ V + b) @ W
    loss = sg.nn.cross_entropy(logits, t)
    return [X, t, V, W, b], [loss, *sg.grad(loss, [V, W, b]), logits, (X @ V).T]


def attention() -> tuple[list[Tensor], list[Tensor]]:
    """Rows that lie along other axes on the way: heads, queries, keys and values."""
    x, W = sg.tensor("x", ("n", 5, 8)), sg.matrix("W", (8, 24))
    q, k, v = sg.transpose((x @ W).reshape(-1, 5, 3, 2, 4), (2, 0, 3, 1, 4))
    mixed = sg.nn.softmax(q @ sg.transpose(k, (0, 1, 3, 2)), axis=-1) @ v
    out = sg.transpose(mixed, (0, 2, 1, 3)).reshape(-1, 5, 8)
    loss = sg.mean((out - x) ** 2)
    return [x, W], [loss, sg.grad(loss, W)]


def stack_of_weights() -> tuple[list[Tensor], list[Tensor]]:
    X, B = sg.matrix("X", ("n", 4)), sg.tensor("B", (7, 4, 3))
    y = np.max(X @ B, axis=0)
    return [X, B], [np.sum(y), *sg.grad(np.sum(y * y), [X, B]), y]


def columns() -> tuple[list[Tensor], list[Tensor]]:
    X, W = sg.matrix("X", ("n", 18)), sg.matrix("W", (17, 18))
    turned = W @ X.T
    both = np.concatenate([turned, np.exp(-turned)], axis=0)
    return [X, W], [np.sum(both**2), sg.grad(np.sum(both**2), W), turned.max(axis=1)]


def stacks() -> tuple[list[Tensor], list[Tensor]]:
    A, B, c = sg.tensor("A", ("n", 3, 4)), sg.tensor("B", ("n", 4, 2)), sg.vector("c", 2)
    loss = np.sum(np.sin(A @ B @ c)) + np.sum(sg.nn.logsumexp(A @ B, axis=-1))
    return [A, B, c], [loss, *sg.grad(loss, [A, B, c])]


BUILDS = [logistic, least_squares, softmax_rows, reductions, embedding, standing_alone, only_rows]
BUILDS += [sums_of_some_columns]
WIDE = [two_layers, attention, stack_of_weights, columns, stacks]


class TestAgree:
    @pytest.mark.parametrize("threads", ["1", "2", "3"])
    @pytest.mark.parametrize("build", BUILDS)
    def test_with_the_reference(
        self, build: Build, threads: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SYMGRAD_NUM_THREADS", threads)
        f, reference = compiled(build)
        for n in (2 * ROWS, 2 * ROWS + 1, 5 * ROWS - 1, 333):
            agree(f, reference, values(f, n, n))

    @pytest.mark.parametrize("threads", ["2", "3"])
    @pytest.mark.parametrize("build", WIDE)
    def test_where_blas_is_needed(
        self, build: Build, threads: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SYMGRAD_NUM_THREADS", threads)
        f, reference = compiled(build)
        for n in (2, 7, 2 * ROWS, 333):
            agree(f, reference, values(f, n, n))
        assert program(f).blocks.parts.wide

    @pytest.mark.parametrize("rule", ["sgd", "adam"])
    @pytest.mark.parametrize("wide", [False, True])
    def test_training(self, wide: bool, rule: str) -> None:
        """Parameters, a number among them, are written over once everything is computed."""
        width = 20 if wide else 1
        X, y = sg.matrix("X", ("n", 6)), sg.vector("y", "n")
        V, v = sg.parameter("V", (6, width)), sg.parameter("v", (width,))
        b = sg.parameter("b", ())
        model = sg.Model(sg.mean((sg.tanh(X @ V) @ v + b - y) ** 2))
        rng = np.random.default_rng(0)
        start = {"V": rng.normal(size=(6, width)), "v": rng.normal(size=width), "b": 0.3}
        update = getattr(sg.optim, rule)(0.01)
        trained = [
            model.compile(update=update, parameters=start, backend=name)
            for name in ("numba", "numpy")
        ]
        for n in (200, 200, 3, 333, 333):
            given = {"X": rng.normal(size=(n, 6)), "y": rng.normal(size=n)}
            ours, reference = (step(**given) for step in trained)
            assert_close(np.asarray(ours), np.asarray(reference), 1e-11)
        assert trained[0].program.blocks is not None
        for name in start:
            a, c = (step.parameters[name] for step in trained)
            assert_close(np.asarray(a), np.asarray(c), 1e-10)

    def test_blas_has_its_threads_back(self) -> None:
        """Also when several callers overlap."""
        f, reference = compiled(two_layers)
        given = values(f, 300)
        expected = reference(*given)
        f(*given)
        blas = blocks._BLAS.controller
        before = [library["num_threads"] for library in blas.info()]
        found: list[Any] = []
        callers = [threading.Thread(target=lambda: found.append(f(*given))) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert [library["num_threads"] for library in blas.info()] == before
        assert blocks._BLAS.users == 0
        for results in found:
            for got, wanted in zip(results, expected, strict=True):
                assert_close(got, wanted, 1e-12)

    def test_one_core_leaves_products_to_blas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SYMGRAD_NUM_THREADS", "1")
        f, reference = compiled(two_layers)
        given = values(f, 300)
        for got, wanted in zip(f(*given), reference(*given), strict=True):
            assert_close(got, wanted, 1e-12)
        assert program(f).blocks is None

    @pytest.mark.parametrize("wrong", [np.float32, list])
    def test_arguments_are_bound_before_steps(
        self, wrong: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(numba, "MOST_STEPS", 0)
        f, reference = compiled(two_layers)
        f(*values(f, 1))
        X, *rest = values(f, 300)
        given = [X.astype(wrong) if wrong is np.float32 else X.tolist(), *rest]
        for got, wanted in zip(f(*given), reference(*given), strict=True):
            assert_close(got, wanted, 1e-12)

    def test_few_rows_after_many_step_by_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(numba, "MOST_STEPS", 0)
        monkeypatch.setattr(blocks, "MUCH", 10**6)
        monkeypatch.setattr(numba, "MUCH", 10**6)
        f, reference = compiled(two_layers)
        for n in (3, 3000, 7, 5):
            X, *rest = values(f, n)
            for given in ([X, *rest], [X.astype("float32"), *rest], [X.tolist(), *rest]):
                for got, wanted in zip(f(*given), reference(*given), strict=True):
                    assert_close(got, wanted, 1e-11)
        assert program(f).blocks is not None

    def test_two_parameters_with_one_new_value(self) -> None:
        """Both are written over, and the loss is all that is returned."""
        x = sg.vector("x", "n")
        a, b = sg.parameter("a", ()), sg.parameter("b", ())
        model = sg.Model(sg.mean((a + b - x) ** 2))
        start = {"a": 0.0, "b": 0.0}
        given = np.linspace(0.0, 1.0, 300)
        for backend in ("numba", "numpy"):
            step = model.compile(update=sg.optim.sgd(0.1), parameters=start, backend=backend)
            for _ in range(2):
                loss = step(x=given)
                assert np.shape(loss) == ()
            assert step.parameters["a"] == pytest.approx(float(step.parameters["b"]))
            assert float(step.parameters["a"]) != 0.0

    @pytest.mark.parametrize("build", [two_layers, attention])
    def test_step_by_step(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(numba, "MOST_STEPS", 0)
        f, reference = compiled(build)
        for n in (2 * ROWS, 333):
            agree(f, reference, values(f, n, n))
        assert program(f).blocks.part.in_steps

    @pytest.mark.parametrize("build", [logistic, softmax_rows])
    def test_when_there_are_few_rows(self, build: Build) -> None:
        f, reference = compiled(build)
        for n in (0, 1, ROWS, 2 * ROWS - 1, 300, 2):
            given = values(f, n)
            for got, expected in zip(f(*given), reference(*given), strict=True):
                assert_close(got, expected, 1e-12)

    def test_by_hand(self) -> None:
        f, _ = compiled(logistic)
        for n in (200, 130):
            X, y, w, b = values(f, n)
            share = 1 / (1 + np.exp(-(X @ w + b)))
            loss = -np.mean(y * np.log(share) + (1 - y) * np.log(1 - share))
            for _ in range(2):
                got, by_w, by_b = f(X, y, w, b)
                assert got == pytest.approx(loss, rel=1e-12)
                np.testing.assert_allclose(by_w, X.T @ (share - y) / n, rtol=1e-11)
                assert by_b == pytest.approx(np.mean(share - y), rel=1e-11)

    def test_sums_of_float32_are_kept_wide(self) -> None:
        """The rounding is that of the result, not of so many additions."""
        x, W = sg.matrix("x", ("n", 2), "float32"), sg.vector("W", 2, "float32")
        outputs = [np.sum(x), sg.mean(x), np.sum(x @ W), np.sum(x, axis=0), x.T @ (x @ W)]
        f = sg.compile([x, W], outputs)
        given = values(f, 5000)
        given[0] += np.float32(1000)
        wide, w = given[0].astype("float64"), given[1].astype("float64")
        exact = [wide.sum(), wide.mean(), (wide @ w).sum(), wide.sum(0), wide.T @ (wide @ w)]
        for _ in range(2):
            for i, (got, expected) in enumerate(zip(f(*given), exact, strict=True)):
                assert got.dtype == np.float32
                np.testing.assert_allclose(got, expected, rtol=1e-6 if i in (2, 4) else 1.2e-7)
        assert program(f).blocks is not None

    def test_integers_wrap_around(self) -> None:
        k = sg.vector("k", "n", "int32")
        outputs = [np.prod(k), k @ k, np.sum(k)]
        f, reference = (sg.compile(k, outputs, backend=b) for b in ("numba", "numpy"))
        given = np.random.default_rng(0).integers(-(2**31), 2**31, 300).astype("int32") | 1
        agree(f, reference, [given], 0)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("build", [reductions, extrema])
    def test_what_is_not_finite(self, build: Build, bad: float) -> None:
        f, reference = compiled(build)
        [x] = values(f, 300)
        x[:ROWS, 0], x[70, 1], x[290, 1], x[10, 2] = bad, bad, -bad, bad
        for _ in range(2):
            for got, expected in zip(f(x), reference(x), strict=True):
                assert_close(got, expected, 1e-12)

    @pytest.mark.parametrize("threads", ["1", "2"])
    def test_extrema(self, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A model with these must have rows; that there are many is known here."""
        monkeypatch.setenv("SYMGRAD_NUM_THREADS", threads)
        f, reference = compiled(extrema)
        found = blocks.blocks_for(f.graph, (), {"n": 300})
        assert found is not None
        for n in (2 * ROWS + 1, 300):
            given = values(f, n)
            for got, expected in zip(found(*given), reference(*given), strict=True):
                assert_close(got, expected, 0)

    def test_the_number_of_rows_is_that_of_the_whole(self) -> None:
        x = sg.vector("x", "n")
        n = sg.sum(sg.ones(x.shape))
        outputs = [x / n, sg.sum(x / n), sg.mean(x), sg.sum((x * n - 1) ** 2) / n]
        f, reference = (sg.compile(x, outputs, backend=b) for b in ("numba", "numpy"))
        for rows in (300, 129):
            given = values(f, rows)
            for _ in range(2):
                for got, expected in zip(f(*given), reference(*given), strict=True):
                    assert_close(got, expected, 1e-12)

    @pytest.mark.parametrize("number", [10**10, np.float32(0.1), 0.1, np.int32(2**30), True])
    def test_numbers_of_any_kind(self, number: Any) -> None:
        x, b, c = sg.vector("x", "n"), sg.scalar("b"), sg.scalar("c")
        outputs = [np.sum(x * b), np.sum(x) + b * c, c * b]
        f, given = sg.compile([x, b, c], outputs), np.linspace(0, 1, 300)
        exact = float(number)
        for _ in range(3):
            total, more, square = f(given, number, number)
            assert total == pytest.approx(150 * exact, rel=1e-12)
            assert more == pytest.approx(150 + exact**2, rel=1e-12)
            assert square == pytest.approx(exact**2, rel=1e-12)


class TestCalls:
    def test_results_are_owned_by_the_caller(self) -> None:
        x, c = sg.vector("x", "n"), sg.constant(np.arange(3.0))
        twice = 2 * x
        outputs = [twice, twice, np.sum(x), np.sum(x), c, c, np.sum(x) * c]
        f, given = sg.compile(x, outputs), np.arange(300.0)
        for _ in range(2):
            results = f(given)
            for i, a in enumerate(results):
                assert not any(np.shares_memory(a, b) for b in (*results[:i], given))
            assert np.array_equal(results[0], 2 * given)
            assert np.array_equal(results[1], 2 * given)
            assert results[2] == results[3] == given.sum()
        assert program(f).blocks is not None

    def test_much_after_little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whether blocks pay is asked again once there is twice as much as there was."""
        monkeypatch.setattr(numba, "LARGE", 1 << 16)
        x = sg.vector("x", "n")
        f = sg.compile(x, [np.sin(x), np.sum(x * x)])
        asked: list[int] = []
        run = program(f).run

        def counted(arrays: Any, sizes: Any) -> Any:
            asked.append(sizes["n"])
            return run(arrays, sizes)

        monkeypatch.setattr(f.program, "run", counted)
        for n in (5, 5, 7, 10, 11, 5, 22, 23, 1, 46, 20_000, 20_000, 30_000, 5):
            given = np.linspace(0, 1, n)
            for found, expected in zip(f(given), (np.sin(given), given @ given), strict=True):
                assert_close(found, expected, 1e-12)
            assert (program(f).blocks is None) == (20_000 not in asked)

        assert asked == [5, 11, 23, 20_000]

    def test_arguments_of_any_layout(self) -> None:
        f, reference = compiled(least_squares)
        X, Y, W = values(f, 300)
        expected = reference(X, Y, W)
        fixed = X.copy()
        fixed.flags.writeable = False
        for x in (X, fixed, np.asfortranarray(X), X[::-1][::-1], X.tolist()):
            for got, wanted in zip(f(x, Y, W), expected, strict=True):
                assert_close(got, wanted, 1e-12)

    def test_out(self) -> None:
        f, reference = compiled(least_squares)
        given = values(f, 300)
        targets = np.empty(()), np.empty((4, 3)), np.empty((300, 3))
        for _ in range(2):
            assert f(*given, out=targets)[2] is targets[2]
            for got, expected in zip(targets, reference(*given), strict=True):
                assert_close(got, expected, 1e-12)

    @pytest.mark.parametrize(
        ("position", "value"),
        [
            (0, np.ones((300, 4))),
            (0, np.ones((299, 5))),
            (1, np.ones((300, 1))),
            (2, np.ones(4)),
            (3, np.ones(2)),
        ],
    )
    def test_arguments_that_do_not_fit(self, position: int, value: Array) -> None:
        f, _ = compiled(logistic)
        given = values(f, 300)
        f(*given)
        given[position] = value
        with pytest.raises(errors.ShapeError):
            f(*given)

    @pytest.mark.parametrize("row", [0, 70, 299])
    @pytest.mark.parametrize("label", [-1, 3, 10**12])
    def test_a_wrong_label(self, row: int, label: int) -> None:
        f, reference = compiled(softmax_rows)
        X, t, W = values(f, 300)
        for _ in range(2):
            wrong = t.copy()
            wrong[row] = label
            with pytest.raises(errors.ValueRangeError, match=str(label)):
                f(X, wrong, W)
            for got, expected in zip(f(X, t, W), reference(X, t, W), strict=True):
                assert_close(got, expected, 1e-12)

    def test_a_wrong_index(self) -> None:
        f, reference = compiled(embedding)
        E, k, t = values(f, 300)
        k[::7] = -2
        agree(f, reference, [E, k, t])
        k[299] = 7
        with pytest.raises(errors.ValueRangeError, match="7"):
            f(E, k, t)


def centred() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [np.sum((x - sg.mean(x)) ** 2)]


def neighbours() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [np.sum((x[1:] - x[:-1]) ** 2)]


def from_behind() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [np.sum(x * x[::-1])]


def every_other_row() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 2))
    return [X], [np.sum(X[::2])]


def similarities() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 3))
    return [X], [np.sum(np.tanh(X @ X.T))]


def softmax_over_rows() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 3))
    return [X], [np.sum(sg.nn.softmax(X, 0) * X)]


def flattened() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 3))
    return [X], [np.sum(np.reshape(X, -1)[:4])]


def running_number() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [np.sum(x * sg.arange(x.shape[0]))]


def rows_and_columns() -> tuple[list[Tensor], list[Tensor]]:
    X, v = sg.matrix("X", ("n", "n")), sg.vector("v", "n")
    return [X, v], [np.sum(X * v), np.sum(X, axis=0)]


def scattered_over_rows() -> tuple[list[Tensor], list[Tensor]]:
    E, k, t = sg.matrix("E", ("n", 2)), sg.tensor("k", ("n",), "int64"), sg.matrix("t", ("n", 2))
    return [E, k, t], [sg.grad(np.sum(E[k] * t), E), np.sum(t)]


def sum_of_running_numbers() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [np.sum(x / np.sum(1 + sg.arange(x.shape[0])) ** 2), x * 2]


def number_of_pairs() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [np.sum(np.exp(x / np.sum(np.exp(sg.zeros((3, x.shape[0]))))))]


def from_where_the_rows_say() -> tuple[list[Tensor], list[Tensor]]:
    """A window of what all rows share, whose place depends on their number."""
    x, table = sg.vector("x", "n"), sg.vector("table", 1000)
    return [x, table], [np.sum(x) * table[x.shape[0]], x * 2]


def scattered_by_two() -> tuple[list[Tensor], list[Tensor]]:
    """Sizes that are equal at the call are not the same size."""
    E, k, j = (
        sg.matrix("E", (3, 3)),
        sg.tensor("k", ("n",), "int64"),
        sg.tensor("j", ("m",), "int64"),
    )
    w = sg.vector("w", "n")
    return [E, k, j, w], [sg.grad(np.sum(E[k, j] * w), E), np.sum(w)]


def product_of_float32() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n", "float32")
    return [x], [np.prod(x), np.sum(x)]


def another_view() -> tuple[list[Tensor], list[Tensor]]:
    """A block cannot be given an array for a result that is seen in another shape."""
    X, W = sg.tensor("X", ("n", 2, 20)), sg.matrix("W", (20, 20))
    return [X, W], [X @ W, np.sum(X @ W)]


WHOLE = [
    *(centred, neighbours, from_behind, every_other_row, similarities, softmax_over_rows),
    *(flattened, running_number, rows_and_columns),
    *(scattered_over_rows, sum_of_running_numbers, number_of_pairs),
    *(from_where_the_rows_say, scattered_by_two, product_of_float32),
]


@pytest.mark.parametrize("build", WHOLE)
def test_what_does_not_go_row_by_row_is_right_all_the_same(build: Build) -> None:
    f, reference = compiled(build)
    assert split(f.graph) is None
    given = values(f, 200)
    for _ in range(2):
        got, expected = f(*given), reference(*given)
        pairs = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
        for a, b in pairs:
            assert_close(a, b, 1e-4 if np.asarray(b).dtype == np.float32 else 1e-12)


def test_results_that_are_views_of_others() -> None:
    f, reference = compiled(another_view)
    given = values(f, 200)
    for _ in range(2):
        for got, expected in zip(f(*given), reference(*given), strict=True):
            assert_close(got, expected, 1e-12)
    assert program(f).blocks is None


def test_what_is_shared_is_left_to_the_kernel() -> None:
    """Maps of rows alone are not worth computing all else node by node."""
    x, W = sg.vector("x", "n"), sg.matrix("W", (3, 3))
    f = sg.compile([x, W], [x * 2, sg.sum(sg.exp(W))])
    f(np.ones(300), np.ones((3, 3)))
    assert program(f).blocks is None


def test_the_partition_follows_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    f, _ = compiled(two_layers)
    given = values(f, 300)
    for threads in (2, 3):
        monkeypatch.setenv("SYMGRAD_NUM_THREADS", str(threads))
        f(*given)
        assert len(program(f).blocks.plan.starts) == threads


def test_inputs_called_like_those_of_the_parts() -> None:
    x, y = sg.vector("part 0", "n"), sg.scalar("count n")
    f = sg.compile([x, y], [sg.mean(x) * y, sg.grad(sg.mean(sg.exp(x)) * y, x)])
    for _ in range(2):
        assert f(np.ones(300), 2.0)[0] == pytest.approx(2.0)
    assert program(f).blocks is not None


def test_two_sizes_that_must_be_equal() -> None:
    x, y = sg.vector("x", "n"), sg.vector("y", "m")
    f = sg.compile([x, y], np.sum(x * y))
    for _ in range(2):
        assert f(np.ones(200), np.full(200, 2.0)) == 400
    with pytest.raises(errors.ShapeError):
        f(np.ones(200), np.ones(199))


def test_parts_of_a_split() -> None:
    X, w = sg.matrix("X", ("n", 3)), sg.vector("w", 3)
    y = X @ w
    parts = split(sg.optimize(Graph([X, w], [sg.mean(y**2), y, np.max(y), w * 2])))
    assert parts is not None
    assert str(parts.size) == "n"
    assert parts.rows == (None, 0, None, None)
    assert sorted(parts.joined) == ["add", "maximum"]
    assert len(parts.part.outputs) == 3
    assert len(parts.rest.outputs) == 3


def test_small_arrays_are_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "LARGE", 1 << 23)
    f, reference = compiled(logistic)
    given = values(f, 300)
    assert f(*given)[0] == pytest.approx(reference(*given)[0])
    assert program(f).blocks is None


@pytest.mark.parametrize("chosen", ["0", "-1", "many", ""])
def test_a_number_of_threads_that_is_none(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMGRAD_NUM_THREADS", chosen)
    assert blocks.cores() >= 1
    monkeypatch.setenv("SYMGRAD_NUM_THREADS", "5")
    assert blocks.cores() == 5


def test_a_sum_that_overflows_says_nothing() -> None:
    x = sg.vector("x", "n", "float32")
    f = sg.compile(x, sg.sum(x))
    given = np.full(50 * ROWS, 3e38, np.float32)
    with np.errstate(all="raise"):
        assert [f(given), f(given)] == [np.inf, np.inf]


class TestWorkers:
    """The threads beside the caller's are kept: they must not get in anybody's way."""

    SCRIPT = """
        import atexit, os, warnings
        import numpy as np
        import symgrad as sg

        x = sg.vector("x", "n")
        f = sg.compile(x, sg.sum(sg.exp(x)))
        given = np.zeros(2_000_000)

        def call(where):
            # One piece, as another process may write at the same time.
            print(f"{where} {f(given)} {f.program.blocks is not None}\\n", end="", flush=True)

        call("here")
    """

    def run(self, folder: Path, *lines: str) -> list[str]:
        (folder / "use.py").write_text("\n".join([textwrap.dedent(self.SCRIPT), *lines]))
        done = python("use.py", cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def test_a_program_ends(self, tmp_path: Path) -> None:
        assert self.run(tmp_path) == ["here 2000000.0 True"]

    def test_a_call_at_exit(self, tmp_path: Path) -> None:
        lines = self.run(tmp_path, "atexit.register(call, 'exit')")
        assert lines == ["here 2000000.0 True", "exit 2000000.0 True"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_a_call_in_a_forked_process(self, tmp_path: Path) -> None:
        lines = self.run(
            tmp_path,
            "warnings.simplefilter('ignore')",
            "child = os.fork()",
            "call('parent' if child else 'child')",
            "assert not child or os.waitpid(child, 0)[1] == 0",
        )
        assert sorted(lines) == [
            "child 2000000.0 True",
            "here 2000000.0 True",
            "parent 2000000.0 True",
        ]

    def test_what_a_worker_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x = sg.vector("x", "n")
        f = sg.compile(x, sg.sum(sg.exp(x)))
        given = np.zeros(50 * ROWS)
        assert f(given) == len(given)
        begun = threading.Event()

        def fail(work: Any, part: Any, start: int, stop: int) -> None:
            if threading.current_thread() is threading.main_thread():
                assert begun.wait(10)
            else:
                begun.set()
                raise MemoryError("no more")

        monkeypatch.setattr(blocks._Work, "_block", fail)
        found = program(f).blocks
        assert found is not None
        with pytest.raises(MemoryError, match="no more"):
            found(given)

    @pytest.mark.parametrize("started", [0, 1])
    def test_threads_that_cannot_be_started(
        self, started: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those that were are waited for all the same."""
        monkeypatch.setenv("SYMGRAD_NUM_THREADS", "4")
        x = sg.vector("x", "n")
        f = sg.compile(x, [sg.sum(sg.exp(x)), sg.exp(x)])
        given = np.linspace(0, 1, 50 * ROWS)
        f(given)

        class Pool:
            count = 0

            def submit(self, run: Callable[[], None]) -> None:
                if self.count == started:
                    raise RuntimeError("can't start new thread")
                self.count += 1
                threading.Thread(target=run, daemon=True).start()

        pool = Pool()
        compute = blocks._Work._block

        def slow(work: Any, part: Any, start: int, stop: int) -> None:
            time.sleep(0.01 * (threading.current_thread() is not threading.main_thread()))
            compute(work, part, start, stop)

        monkeypatch.setattr(blocks, "_workers", lambda: pool)
        monkeypatch.setattr(blocks._Work, "_block", slow)
        total, each = f(given)
        assert_close(each, np.exp(given), 1e-14)
        assert_close(total, np.exp(given).sum(), 1e-13)

    def test_reductions_are_joined_in_order_whichever_block_is_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sum in another order would differ in its last digits from call to call."""
        x = sg.vector("x", "n")
        f = sg.compile(x, sg.sum(sg.exp(x)))
        given = np.random.default_rng(0).uniform(-20, 20, 50 * ROWS)
        first = f(given)
        taken: list[int] = []
        compute = blocks._Work._block

        def slow(work: Any, part: Any, start: int, stop: int) -> None:
            time.sleep(0.002 * (start // ROWS % 3 == 0))
            compute(work, part, start, stop)
            taken.append(start)

        monkeypatch.setattr(blocks._Work, "_block", slow)
        assert f(given) == first
        assert sorted(taken) == list(range(0, 50 * ROWS, ROWS))
        assert taken != sorted(taken)
