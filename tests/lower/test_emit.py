"""Generated code: deterministic, readable, fused; and where compiling would take too long."""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.backends import numba
from symgrad.backends.kernel import HEADER, kernel_module
from symgrad.backends.lowered import lowered
from symgrad.backends.numba import NumbaProgram
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array
from symgrad.lower.scalars import OPTIONS, helper_names
from symgrad.lower.source import INTRINSICS, Source
from symgrad.tensor import Tensor


def source(inputs: list[Tensor], outputs: list[Any]) -> Source:
    return lowered(sg.optimize(Graph(inputs, outputs)))


def code(inputs: list[Tensor], outputs: list[Any]) -> str:
    """Return the source without the comments that hold this file's own lines."""
    return re.sub(r" *# test_emit\.py:.*\n", "", source(inputs, outputs).body)


def agrees(inputs: list[Tensor], outputs: list[Any], *values: Array) -> None:
    """Assert that the source, as it stands, computes in Python what the reference computes."""
    found = source(inputs, outputs)
    space: dict[str, Any] = {"np": np, "njit": lambda **_: lambda function: function}
    exec(OPTIONS, space)
    for text in (*found.helpers.values(), found.returning_tuple):
        exec(text, space)
    got = space["kernel"](*values, *found.constants)
    expected = sg.compile(inputs, outputs, backend="numpy")(*values)
    for a, b in zip(got, expected if len(outputs) > 1 else [expected], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def squares() -> tuple[list[Tensor], list[Any]]:
    x, y = sg.matrix("x", ("n", 4)), sg.matrix("y", ("n", 4))
    loss = sg.sum((x - y) ** 2)
    return [x, y], [loss, sg.grad(loss, x)]


def softmax_row() -> tuple[list[Tensor], list[Any]]:
    x = sg.vector("x", "n")
    return [x], [sg.nn.softmax(x)]


def product() -> tuple[list[Tensor], list[Any]]:
    x, W = sg.matrix("x", ("n", 30)), sg.matrix("W", (30, 20))
    y = x @ W
    return [x, W], [y, sg.vjp(sg.sum(y**2), W, sg.constant(1.0))]


def test_elementwise_and_reduction() -> None:
    assert code(*squares()) == dedent(
        """\
        def kernel(x, y):
            n = x.shape[0]

            grad_subtract = np.empty((n, 4), np.float64)
            loss = 0.0
            for i in range(n):
                for j in range(4):
                    t1 = x[i, j] - y[i, j]
                    loss = plus(loss, t1 * t1)
                    grad_subtract[i, j] = 2.0 * t1
            return loss, grad_subtract
        """
    )


def test_softmax() -> None:
    assert code(*softmax_row()) == dedent(
        """\
        def kernel(x):
            n = x.shape[0]

            largest = -np.inf
            for i in range(n):
                largest = np.maximum(largest, x[i])

            exp = np.empty((n,), np.float64)
            t2 = 0.0 if np.isinf(largest) else largest
            total = 0.0
            for i in range(n):
                t4 = exp_f64(x[i] - t2)
                total = plus(total, t4)
                exp[i] = t4

            divide = exp  # takes its place
            for i in range(n):
                divide[i] = exp[i] / total
            return divide
        """
    )


def test_matmul_with_a_transpose() -> None:
    assert code(*product()) == dedent(
        """\
        def kernel(x, W):
            n = x.shape[0]

            y = np.empty((n, 20), np.float64)
            np.dot(x, W, y)

            product = np.empty((30, 20), np.float64)
            np.dot(x.T, y, product)

            grad_W = product  # takes its place
            for i in range(30):
                for j in range(20):
                    grad_W[i, j] = 2.0 * product[i, j]
            return y, grad_W
        """
    )


@pytest.mark.parametrize("build", [squares, softmax_row, product])
def test_same_program_same_bytes(build: Callable[[], tuple[list[Tensor], list[Any]]]) -> None:
    (inputs, outputs), again = build(), build()
    first, second = source(inputs, outputs), source(*again)
    assert first == second
    graphs = sg.optimize(Graph(inputs, outputs)), sg.optimize(Graph(*again))
    assert kernel_module(graphs[0], first) == kernel_module(graphs[1], second)


def test_the_source_runs_without_a_compiler() -> None:
    rng = np.random.default_rng(0)
    agrees(*squares(), rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))
    agrees(*softmax_row(), rng.normal(size=5))
    agrees(*product(), rng.normal(size=(5, 30)), rng.normal(size=(30, 20)))


def test_each_step_has_the_users_own_line() -> None:
    x = sg.vector("x", "n")
    shifted = x - sg.mean(x)
    body = source([x], [shifted]).body
    lines = re.findall(r"# test_emit\.py:\d+  (.*)", body)
    assert lines
    assert set(lines) == {"shifted = x - sg.mean(x)"}


FUSION = [
    (lambda x, y: [sg.exp(x) * y + x], 1),
    (lambda x, y: [x + y, x - y, sg.sum(x * y), sg.max(x), sg.sum(x, axis=1)], 1),
    (lambda x, y: [sg.sum(x * y, axis=1) + 1], 2),
    (lambda x, y: [sg.sum(x, axis=0), sg.sum(x * x, axis=0)], 1),
    (lambda x, y: [x - sg.max(x)], 2),
    (lambda x, y: [x.T[::-1, 1:] + 1], 1),
    (lambda x, y: [sg.mean((x - y) ** 2), sg.grad(sg.mean((x - y) ** 2), x)], 2),
    (lambda x, y: [x @ y.T], 1),
    (lambda x, y: [sg.tanh(x @ y.T) * 2], 2),
    (lambda x, y: [sg.where(x > y, x, y), sg.nn.relu(x)], 1),
]  # type: list[tuple[Callable[[Tensor, Tensor], list[Any]], int]]


@pytest.mark.parametrize(("build", "most"), FUSION)
def test_fusion(build: Callable[[Tensor, Tensor], list[Any]], most: int) -> None:
    """Loops over one space are one loop; what a person would join is joined."""
    x, y = sg.matrix("x", ("n", "m")), sg.matrix("y", ("n", "m"))
    outputs = build(x, y)
    steps = source([x, y], outputs).steps
    assert len([step for step in steps if not step.text.startswith("scalars")]) <= most, steps
    rng = np.random.default_rng(0)
    agrees([x, y], outputs, rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))


def test_views_are_not_copied() -> None:
    x = sg.matrix("x", ("n", "m"))
    body = source([x], [sg.sum(sg.expand_dims(x.T[1:], 0) * 2)]).body
    assert "np.empty" not in body
    assert ".copy()" not in body


def test_one_value_used_twice_is_computed_once() -> None:
    x = sg.vector("x", "n")
    e = sg.exp(x)
    body = source([x], [e * e, sg.sum(e), e + 1]).body
    assert body.count("exp_f64(") == 1


def test_float32_sums_are_kept_in_float64() -> None:
    x = sg.vector("x", "n", "float32")
    f = sg.compile(x, [sg.sum(x), sg.mean(x)])
    given = np.full(3_000_000, 0.1, "float32")
    total, mean = f(given)
    assert total.dtype == mean.dtype == np.float32
    assert total == pytest.approx(3_000_000 * float(np.float32(0.1)), rel=1e-7)
    assert mean == pytest.approx(0.1, rel=1e-6)


def test_user_names_survive_next_to_each_other() -> None:
    n, t1, i = sg.vector("n", "n"), sg.vector("t1", "n"), sg.vector("i", "n")
    agrees([n, t1, i], [n * t1 + i], np.ones(3), np.full(3, 2.0), np.full(3, 3.0))


@pytest.mark.parametrize(
    ("first", "second"), [("m", "m_2"), ("m_2", "m"), ("nn", "n"), ("x", "x_2"), ("t1", "i")]
)
def test_sizes_whose_names_look_alike(first: str, second: str) -> None:
    """A tensor called m makes the size m another name in the source, perhaps one that is taken."""
    a = sg.tensor(first, (first, second))
    x = sg.tensor("x0", (first, second))
    agrees([a, x], [a[::-1, ::-1] + x[1:, :1].shape[0]], np.ones((2, 3)), np.zeros((2, 3)))


def chain(length: int) -> tuple[Tensor, Tensor]:
    x = y = sg.scalar("x")
    for _ in range(length):
        y = sg.sin(y)
    return x, y


def test_a_huge_program_of_numbers_is_compiled_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = chain(100)
    monkeypatch.setattr(numba, "LARGEST_SCALAR", 100)
    f = sg.compile(x, [y, sg.grad(y, x)])
    assert isinstance(f.program, NumbaProgram)
    assert f.program.in_steps
    value, gradient = 1.0, 1.0
    for _ in range(100):
        value, gradient = float(np.sin(value)), gradient * float(np.cos(value))
    for _ in range(2):
        assert f(1.0) == pytest.approx((value, gradient), rel=1e-12)
    assert len(f.program.steps.functions) < 10  # type: ignore[union-attr]
    assert f.source.count("sin_f64(") >= 100


def test_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = sg.optimize(Graph([(xy := chain(9))[0]], [xy[1]]))
    for limit, in_steps in ((10, False), (9, True)):
        monkeypatch.setattr(numba, "LARGEST_SCALAR", limit)
        assert NumbaProgram(graph).in_steps is in_steps


def test_a_deep_chain_in_a_loop_is_lowered_without_recursion() -> None:
    x = y = sg.vector("x", "n")
    for _ in range(2000):
        y = sg.sin(y)
    assert source([x], [y]).body.count("near_sin_f64(") == 2000


class TestNestsOfNearlyOneSpace:
    def rosenbrock(self) -> tuple[list[Tensor], list[Any]]:
        x = sg.vector("x", "n")
        loss = sg.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
        return [x], [loss, sg.grad(loss, x)]

    def test_a_sum_joins_the_loop_of_its_gradient(self) -> None:
        text = code(*self.rosenbrock())
        assert text.count("for i in range(n):") == text.count("for ") == 1
        assert re.search(r"        if i < n - 1:\n(            .*\n)+ +loss = plus\(loss, ", text)
        for n in (1, 2, 3, 100):
            agrees(*self.rosenbrock(), np.linspace(-1.0, 2.0, n))

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_compiled(self, dtype: str) -> None:
        u = sg.matrix("u", ("n", "m"), dtype)
        along, down = u[:, 1:] - u[:, :-1], u[1:] - u[:-1]
        loss = sg.sum(along**2) + sg.sum(sg.sin(down)) + sg.max(down)
        outputs = [loss, sg.grad(loss, u), sg.min(along)]
        f, reference = (sg.compile(u, outputs, backend=name) for name in ("numba", "numpy"))
        for shape in ((2, 2), (3, 700), (600, 3), (50, 60)):
            given = np.random.default_rng(0).normal(size=shape).astype(dtype)
            for got, expected in zip(f(given), reference(given), strict=True):
                np.testing.assert_allclose(
                    got, expected, rtol=1e-4 if dtype == "float32" else 1e-12
                )

    def test_not_over_fixed_sizes(self) -> None:
        """An axis of one element has no loop, and few columns beside many are no saving."""
        X, x = sg.matrix("X", ("n", 2)), sg.vector("x", 2)
        loss = sg.sum((X[:, 1:] - X[:, :-1]) ** 2)
        agrees([X], [loss, sg.grad(loss, X)], np.arange(10.0).reshape(5, 2) ** 2)
        agrees([X], [sg.sum(X[:, :1] ** 2), X * 2], np.arange(10.0).reshape(5, 2))
        f = sg.compile(X, [sg.sum(X[:, :1] ** 2), X * 2])
        assert f(np.arange(10.0).reshape(5, 2))[0] == 120
        rosenbrock = 100 * sg.sum((x[1:] - x[:-1] ** 2) ** 2) + sg.sum((1 - x[:-1]) ** 2)
        agrees([x], [rosenbrock, sg.grad(rosenbrock, x)], np.array([0.5, -1.5]))
        w = sg.vector("w", "n")
        outputs = [sg.sum(w[: w.shape[0] - 100] ** 2), w * 2]
        assert code([w], outputs).count("for ") == 2

    def test_not_where_the_loop_needs_the_sum(self) -> None:
        x = sg.vector("x", "n")
        total = sg.sum(x[1:] * x[:-1])
        assert code([x], [total, x * total]).count("for ") == 2
        agrees([x], [total, x * total], np.linspace(-1.0, 2.0, 20))

    def test_not_where_nothing_is_read_twice(self) -> None:
        x, y = sg.vector("x", "n"), sg.vector("y", "n")
        outputs = [sg.sum(x[1:]), sg.sum(y)]
        assert code([x, y], outputs).count("for ") == 2
        agrees([x, y], outputs, np.linspace(-1.0, 2.0, 20), np.linspace(3.0, 2.0, 20))


@pytest.mark.parametrize("name", ["fill", "gemv", "row", "wide", "min", "plus", "kernel", "types"])
def test_inputs_called_like_what_kernels_call(name: str) -> None:
    x = sg.matrix(name, ("n", 300), "float32")
    A = sg.matrix("A", (300, 400), "float32")
    f = sg.compile([x, A], [sg.sum(x, axis=0), x @ A @ sg.constant(np.ones(400, "float32"))])
    total, product = f(np.ones((3, 300), "float32"), np.ones((300, 400), "float32"))
    assert (total == 3).all()
    assert (product == 300 * 400).all()


def test_kernels_call_nothing_that_an_input_could_hide() -> None:
    imported = re.findall(r"import (?!njit)(.*)", HEADER)
    names = {name.split(" as ")[-1] for line in imported for name in line.split(", ")}
    functions = {name for name in names if name.islower()} - {"np", "types", "entered"}
    assert functions - helper_names() == {"min", "max"} | INTRINSICS


def test_lines_under_a_condition_stay_as_they_are() -> None:
    x = sg.vector("x", "n")
    y = x
    for _ in range(60):
        y = sg.tanh(y)
    loss = sg.sum(sg.exp(y[:-1]))
    agrees([x], [sg.grad(loss, y)], np.linspace(-1.0, 1.0, 9))
