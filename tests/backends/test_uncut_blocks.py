"""Programs that read neighbouring rows: blocks see all of them, and compute some."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

import symgrad as sg
from symgrad.backends import numba
from symgrad.backends.lowered import lowered
from symgrad.ir.graph import Graph
from symgrad.ir.size import Size
from symgrad.lower.rows import can_be_parted
from symgrad.lower.schedule import schedule
from symgrad.passes.expand import expand
from symgrad.passes.split import split, split_uncut
from symgrad.tensor import Tensor
from tests.backends.in_blocks import ROWS, Build, agree, compiled, make_small, program, values
from tests.numeric import assert_close

pytestmark = pytest.mark.usefixtures("small_blocks")
small_blocks = pytest.fixture(make_small)


def rosenbrock() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    loss = np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    return [x], [loss, sg.grad(loss, x)]


def in_single_precision() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n", "float32")
    loss = np.sum((x[2:] - 2 * x[1:-1] + x[:-2]) ** 2)
    return [x], [loss, sg.grad(loss, x)]


def only_the_gradient() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [sg.grad(np.sum((x[3:] * x[:-3]) ** 2), x)]


def differences_both_ways() -> tuple[list[Tensor], list[Tensor]]:
    """The size of the other axis has a name as well."""
    u, v = sg.matrix("u", ("n", "m")), sg.vector("v", "m")
    smooth = np.sum((u[1:] - u[:-1]) ** 2) + np.sum((u[:, 1:] - u[:, :-1]) ** 2 * v[1:])
    return [u, v], [smooth, *sg.grad(smooth, [u, v]), u[1:] * v]


def edges() -> tuple[list[Tensor], list[Tensor]]:
    """Single rows, which every block reads."""
    x = sg.vector("x", "n")
    loss = np.sum((x[1:] - x[:-1]) ** 2) + (x[0] - 1) ** 2 + (x[-1] + 1) ** 2
    return [x], [loss, sg.grad(loss, x), x[0] * x[-1]]


def from_behind() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    loss = np.sum(x * np.cos(x[::-1]))
    return [x], [loss, sg.grad(loss, x), x - x[::-1]]


def every_third_row() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 2))
    loss = np.sum(X[::3] ** 2)
    return [X], [loss, sg.grad(loss, X), X[1::3] * 2]


def numbered() -> tuple[list[Tensor], list[Tensor]]:
    x, b = sg.vector("x", "n"), sg.vector("b", 1)
    weighted = x[1:] * sg.arange(x.shape[0])[1:] / x.shape[0] + b
    return [x, b], [sg.sum(weighted), weighted, sg.grad(sg.sum(weighted**2), b)]


def extrema() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 3))
    step = X[1:] - X[:-1]
    return [X], [np.max(step), np.min(step, axis=0), np.prod(1 + step / 100), np.max(step, axis=1)]


def looked_up() -> tuple[list[Tensor], list[Tensor]]:
    x, k = sg.vector("x", "n"), sg.tensor("k", ("n",), "int64")
    return [x, k], [np.sum(x[k] * x), x[k] - 1]


def joined_rest() -> tuple[list[Tensor], list[Tensor]]:
    """What follows from reductions is computed once."""
    x, s = sg.vector("x", "n"), sg.scalar("s")
    step = x[1:] - x[:-1]
    likelihood = np.sum(step**2) / (2 * s**2) + step.shape[0] * np.log(s)
    return [x, s], [likelihood, *sg.grad(likelihood, [x, s]), np.sqrt(np.sum(step**2))]


def computed_again() -> tuple[list[Tensor], list[Tensor]]:
    """What is less dear is computed for each row that reads it."""
    x = sg.vector("x", "n")
    loss = np.sum(np.exp(x[1:] * x[:-1]) * np.sin(x[1:]))
    return [x], [loss, sg.grad(loss, x)]


BUILDS = [
    *(rosenbrock, in_single_precision, only_the_gradient, differences_both_ways, edges),
    *(from_behind, every_third_row, numbered, extrema, looked_up, joined_rest),
    computed_again,
]


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("build", BUILDS)
def test_with_the_reference(build: Build, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMGRAD_NUM_THREADS", threads)
    f, reference = compiled(build)
    single = any(x.type.dtype == np.float32 for x in f.original.inputs)
    for n in (3 * ROWS, 3 * ROWS + 1, 5 * ROWS - 1, 333):
        agree(f, reference, values(f, n, n), 1e-5 if single else 1e-12)
    assert not program(f).blocks.parts.cut


@pytest.mark.parametrize("build", BUILDS)
def test_when_there_are_few_rows(build: Build) -> None:
    f, reference = compiled(build)
    for n in (300, 3, 4, ROWS, 301):
        given = values(f, n)
        for got, expected in zip(f(*given), reference(*given), strict=True):
            assert_close(got, expected, 1e-5 if expected.dtype == np.float32 else 1e-12)


def stored_and_read_beside() -> tuple[list[Tensor], list[Tensor]]:
    """What is dear to compute is stored, and its neighbour may be another block's."""
    x = sg.vector("x", "n")
    loss = np.sum(sg.exp(sg.sin(x[1:] * x[:-1])) * sg.tanh(x[1:] - x[:-1]))
    return [x], [loss, sg.grad(loss, x)]


def a_result_read_beside() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    y = sg.exp(np.sin(x) / (1 + x**2))
    return [x], [y, y[1:] - y[:-1]]


def sums_along_rows() -> tuple[list[Tensor], list[Tensor]]:
    """The rows lie along the second axis of what is summed over the first."""
    X = sg.tensor("X", ("n", 3, 2))
    step = X[1:] - X[:-1]
    return [X], [np.sum(step, axis=1), np.sum(step)]


def products_of_rows() -> tuple[list[Tensor], list[Tensor]]:
    X, A = sg.matrix("X", ("n", 20)), sg.matrix("A", (20, 20))
    return [X, A], [np.sum((X[1:] @ A) * X[:-1]), A @ A]


def products_of_what_is_shared() -> tuple[list[Tensor], list[Tensor]]:
    """NumPy would get them written out as well."""
    x, A = sg.vector("x", "n"), sg.matrix("A", (5, 5))
    return [x, A], [np.sum((x[1:] - x[:-1]) ** 2), A @ A]


def a_row_of_what_is_computed() -> tuple[list[Tensor], list[Tensor]]:
    """NumPy would compute all rows, to take one."""
    x = sg.vector("x", "n")
    r = np.sin(x) * x
    return [x], [np.sum((r[1:] - r[:-1]) ** 2) + r[0] ** 2, x[1:] * 2]


def after_reductions() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    step = x[1:] - x[:-1]
    return [x], [step - sg.mean(step)]


def positions() -> tuple[list[Tensor], list[Tensor]]:
    X = sg.matrix("X", ("n", 4))
    return [X], [np.argmax(X[1:] - X[:-1], axis=1), np.sum(X[1:])]


def put_together() -> tuple[list[Tensor], list[Tensor]]:
    x = sg.vector("x", "n")
    return [x], [np.concatenate([x[1:], x[:1]]), np.sum(x[1:])]


WHOLE = [
    *(stored_and_read_beside, a_result_read_beside, sums_along_rows, products_of_rows),
    *(after_reductions, positions, put_together),
    *(products_of_what_is_shared, a_row_of_what_is_computed),
]


@pytest.mark.parametrize("build", WHOLE)
def test_what_is_not_done_so_is_right_all_the_same(build: Build) -> None:
    f, reference = compiled(build)
    for _ in range(2):
        given = values(f, 333)
        for got, expected in zip(f(*given), reference(*given), strict=True):
            assert_close(got, expected, 1e-12)
    assert program(f).blocks is None


@pytest.mark.parametrize("name", ["first", "last"])
def test_inputs_called_like_the_bounds(name: str) -> None:
    x = sg.vector(name, "n")
    f = sg.compile(x, [sg.sum((x[1:] - x[:-1]) ** 2), x[1:] * 2])
    for _ in range(2):
        assert f(np.arange(300.0))[0] == 299
    assert program(f).blocks is not None


def test_programs_in_steps_are_not_done_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """They store more, and their steps know nothing of rows."""
    monkeypatch.setattr(numba, "LARGEST", 5)
    f, reference = compiled(rosenbrock)
    given = values(f, 333)
    for got, expected in zip(f(*given), reference(*given), strict=True):
        assert_close(got, expected, 1e-12)
    assert program(f).blocks is None


def test_what_cannot_be_done_so_is_never_lowered() -> None:
    x = sg.vector("x", "n")
    y = sg.exp(sg.sin(x) / (1 + x**2))
    first, last = (sg.tensor(name, (), "int64") for name in ("first", "last"))
    graph = sg.optimize(Graph([x, first, last], [y, y[1:] - y[:-1]]))
    lowered(graph)
    size = x.shape[0]
    assert isinstance(size, Size)
    with pytest.raises(ValueError, match="rows"):
        lowered(graph, rows=size)


@settings(max_examples=40, deadline=None)
@drawn(
    windows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=3),
    n=st.integers(3 * ROWS, 5 * ROWS),
    turned=st.booleans(),
)
def test_sums_of_any_windows(windows: list[tuple[int, int]], n: int, turned: bool) -> None:
    """Each term is a product of two windows of one width, and every row has its gradient."""
    x = sg.vector("x", "n")
    terms = []
    for low, high in windows:
        there = x[low : x.shape[0] - high]
        other = x[high : x.shape[0] - low]
        terms.append(np.sum(there * (other[::-1] if turned else other) ** 2))
    loss = sum(terms[1:], terms[0])
    f = sg.compile(x, [loss, sg.grad(loss, x)])
    given = np.random.default_rng(n).normal(size=n)
    expected = sg.compile(x, [loss, sg.grad(loss, x)], backend="numpy")(given)
    for _ in range(2):
        for got, wanted in zip(f(given), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)


def test_parts_of_a_split() -> None:
    x = sg.vector("x", "n")
    step = x[1:] - x[:-1]
    graph = expand(sg.optimize(Graph([x], [np.sum(step**2), step, np.sqrt(np.sum(step**2))])))
    assert split(graph) is None
    parts = split_uncut(graph)
    assert parts is not None
    assert parts.rows == (None, 0, None)
    assert [node.attrs["name"] for node in parts.part.inputs] == ["x", "first", "last"]
    assert {str(dim) for dim in parts.extents} == {"n", "n - 1"}
    assert parts.with_rows == parts.part.outputs[:1]
    assert can_be_parted(schedule(parts.part, by_row=True), parts.size)
