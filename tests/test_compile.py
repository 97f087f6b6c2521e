"""Compiled functions: what a call takes, what it returns, and that the results are fresh."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize

import symgrad as sg
from symgrad import errors
from symgrad.compile import Compiled
from symgrad.ir.types import Array

Build = Callable[[str], Compiled]


def doubled(backend: str) -> Compiled:
    x = sg.vector("x", "n")
    return sg.compile(x, 2 * x, backend=backend)


def affine(backend: str) -> Compiled:
    x, W, b = sg.matrix("x", ("n", 3)), sg.matrix("W", (3, 2)), sg.vector("b", 2)
    y = x @ W + b
    return sg.compile([x, W, b], [y, sg.sum(y, axis=0), x.T @ y], backend=backend)


def test_one_output_is_bare_and_several_are_a_tuple(backend: str) -> None:
    x = sg.scalar("x")
    assert sg.compile(x, x + 1, backend=backend)(2.0) == 3
    assert sg.compile([x], [x + 1], backend=backend)([2.0][0]) == 3
    assert sg.compile([x], (x + 1, x - 1), backend=backend)(2.0) == (3, 1)


@pytest.mark.parametrize("inputs", [[], None])
def test_no_inputs(inputs: list[Any] | None, backend: str) -> None:
    f = sg.compile(inputs or [], sg.constant([1.0, 2.0]) * 3, backend=backend)
    assert f().tolist() == [3, 6]


@pytest.mark.parametrize(
    ("backend", "message"), [("fortran", "numba, numpy"), ("", "numba, numpy")]
)
def test_unknown_backend(backend: str, message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        doubled(backend)


def test_an_input_that_is_missing_or_no_input() -> None:
    x, y = sg.vector("x", "n"), sg.vector("y", "n")
    with pytest.raises(errors.GraphError, match="y"):
        sg.compile(x, x + y)
    with pytest.raises(errors.SymgradError):
        sg.compile(x + 1, x)
    with pytest.raises(errors.GraphError, match="no input has the size n"):
        sg.compile([], sg.ones(("n",)))


class TestFresh:
    """Whatever a caller does to a result or an argument, no other call sees it."""

    @staticmethod
    def outputs(backend: str) -> tuple[Compiled, Array]:
        x = sg.vector("x", "n")
        c = np.arange(3.0)
        twice = 2 * x
        listed = [
            x, x, x[::-1], x.reshape((-1, 1)), sg.constant(c), sg.constant(c), sg.ones((2,)),
            twice, twice, twice.reshape((1, -1)), sg.expand_dims(twice, 0), sg.stop_gradient(x),
            x.astype("int64"), x > 0, x[0], sg.sum(x), sg.constant(4.0),
        ]  # fmt: skip
        return sg.compile(x, listed, backend=backend), c

    def test_results_are_owned_by_the_caller(self, backend: str) -> None:
        f, c = self.outputs(backend)
        at = np.arange(3.0)
        results = f(at)
        for a, b in itertools.combinations([*results, at, c], 2):
            assert not np.shares_memory(a, b)
        for result in results:
            if result.ndim:
                assert result.flags.writeable
                assert result.flags.c_contiguous
            else:
                assert isinstance(result, np.generic)

    def test_writing_to_results_and_arguments_changes_nothing(self, backend: str) -> None:
        f, _ = self.outputs(backend)
        at = np.arange(3.0)
        first = f(at)
        kept = [np.copy(result) for result in first]
        for result in first:
            if result.ndim:
                result[...] = 1
        at[...] = 7
        assert np.array_equal(f(np.arange(3.0))[4], kept[4])
        for got, expected in zip(f(np.arange(3.0)), kept, strict=True):
            assert np.array_equal(got, expected)
        assert f(at)[0].tolist() == [7, 7, 7]

    def test_arguments_are_not_written_to(self, backend: str) -> None:
        f = affine(backend)
        given = [np.ones((4, 3)), np.ones((3, 2)), np.ones(2)]
        f(*given)
        assert all(np.all(array == 1) for array in given)

    def test_bfgs_finds_the_minimum(self, backend: str) -> None:
        x = sg.vector("x", 4)
        rosenbrock = sg.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
        f = sg.compile(x, [rosenbrock, sg.grad(rosenbrock, x)], backend=backend)
        found = optimize.minimize(f, np.full(4, -1.0), jac=True, method="BFGS")
        np.testing.assert_allclose(found.x, np.ones(4), atol=1e-5)


class TestOut:
    def test_is_filled_and_returned(self, backend: str) -> None:
        target = np.empty(3)
        assert doubled(backend)([1.0, 2.0, 3.0], out=target) is target
        assert target.tolist() == [2, 4, 6]

    def test_may_be_an_argument_or_any_layout(self, backend: str) -> None:
        x = np.array([1.0, 2.0, 3.0])
        doubled(backend)(x, out=x)
        assert x.tolist() == [2, 4, 6]
        wide = np.zeros(6)
        doubled(backend)(x, out=wide[::2])
        assert wide.tolist() == [4, 0, 8, 0, 12, 0]

    def test_of_several(self, backend: str) -> None:
        f = affine(backend)
        given = np.ones((4, 3)), np.ones((3, 2)), np.ones(2)
        targets = np.empty((4, 2)), np.empty(2), np.empty((3, 2))
        assert f(*given, out=targets)[1] is targets[1]
        for target, expected in zip(targets, f(*given), strict=True):
            assert np.array_equal(target, expected)

    def test_of_a_scalar(self, backend: str) -> None:
        x, target = sg.scalar("x"), np.empty(())
        sg.compile(x, x + 1, backend=backend)(2.0, out=target)
        assert target == 3

    @pytest.mark.parametrize(
        ("out", "message"),
        [
            (np.empty(4), r"shape \(3,\) and dtype float64, got .*\(4,\)"),
            (np.empty(3, "float32"), "float32"),
            ([np.empty(3)] * 2, "1 arrays are needed, got 2"),
            ([1.0], "1.0"),
            (3, "3"),
        ],
    )
    def test_that_does_not_fit(self, out: Any, message: str) -> None:
        with pytest.raises(errors.SymgradError, match=message):
            doubled("numpy")([1.0, 2.0, 3.0], out=out)


class TestArguments:
    @pytest.mark.parametrize(
        "given",
        [
            [0, 1, 2],
            (0.0, 1.0, 2.0),
            range(3),
            np.arange(3, dtype="int32"),
            np.arange(3, dtype="float32"),
            np.arange(3, dtype=">f8"),
            np.arange(3, dtype="float16"),
            np.arange(6.0)[::2] / 2,
            np.arange(3.0)[::-1][::-1],
            np.broadcast_to(np.arange(3.0), (2, 3))[1],
            np.frombuffer(np.arange(3.0).tobytes()),
            np.frombuffer(b"\0" + np.arange(3.0).tobytes(), offset=1),
        ],
        ids=itertools.count(),
    )
    def test_whatever_becomes_an_array(self, given: Any, backend: str) -> None:
        result = doubled(backend)(given)
        assert result.tolist() == [0, 2, 4]
        assert result.dtype == np.float64

    def test_any_layout_and_read_only(self, backend: str) -> None:
        f = affine(backend)
        rng = np.random.default_rng(0)
        x, W, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)
        expected = f(x, W, b)
        np.testing.assert_allclose(expected[0], x @ W + b, rtol=1e-14)
        fixed = [x.copy(), W.copy(), b.copy()]
        for array in fixed:
            array.flags.writeable = False
        strided = np.zeros((8, 6))
        strided[::2, ::2] = x
        for given in (fixed, [np.asfortranarray(x), np.asfortranarray(W), b],
                      [strided[::2, ::2], W[::-1][::-1], b]):  # fmt: skip
            for got, wanted in zip(f(*given), expected, strict=True):
                assert np.array_equal(got, wanted)

    @pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "bool"])
    def test_read_only_and_empty(self, dtype: str) -> None:
        x = sg.tensor("x", ("n", 2), dtype)
        empty = np.zeros((0, 2), dtype)
        empty.flags.writeable = False
        result = sg.compile(x, x)(empty)
        assert (result.shape, result.dtype) == ((0, 2), dtype)

    def test_python_numbers(self, backend: str) -> None:
        a, k, c = sg.scalar("a", "float32"), sg.scalar("k", "int64"), sg.scalar("c", "bool")
        f = sg.compile([a, k, c], [a * 2, k * 2, sg.where(c, a, -a)], backend=backend)
        results = f(1.5, 3, False)
        assert results == (3, 6, -1.5)
        assert [r.dtype.name for r in results] == ["float32", "int64", "float32"]
        assert f(np.float64(1.5), np.array(3), np.True_)[2] == 1.5

    @pytest.mark.parametrize("count", [0, 2, 4])
    def test_wrong_count(self, count: int) -> None:
        with pytest.raises(errors.ArgumentError, match=rf"3 .*\(x, W, b\), got {count}"):
            affine("numpy")(*[np.ones(2)] * count)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (np.ones(()), r"x: expected 1 axes, got .*\(\); it is float64\[n\]"),
            (np.ones((2, 2)), r"x: expected 1 axes, got .*\(2, 2\)"),
        ],
    )
    def test_wrong_rank(self, given: Array, message: str) -> None:
        with pytest.raises(errors.ShapeError, match=message) as raised:
            doubled("numpy")(given)
        assert "x was made at test_compile.py:" in str(raised.value)

    def test_wrong_known_size(self) -> None:
        with pytest.raises(errors.ShapeError, match=r"W: expected size 3 for axis 0.*\(4, 2\)"):
            affine("numpy")(np.ones((5, 3)), np.ones((4, 2)), np.ones(2))

    def test_one_name_is_one_size(self) -> None:
        x, y = sg.vector("x", "n"), sg.matrix("y", (2, "n"))
        f = sg.compile([x, y], x + y, backend="numpy")
        assert f(np.ones(3), np.ones((2, 3))).shape == (2, 3)
        with pytest.raises(errors.ShapeError, match="size n is 3 in x but 4 in y"):
            f(np.ones(3), np.ones((2, 4)))
        with pytest.raises(errors.ShapeError, match="size n is 3 in x but 1 in y"):
            f(np.ones(3), np.ones((2, 1)))

    def test_two_names_that_must_be_equal(self, backend: str) -> None:
        x, y = sg.vector("x", "n"), sg.vector("y", "m")
        f = sg.compile([x, y], sg.sum(x * y), backend=backend)
        assert f([1.0, 2], [3.0, 4]) == 11
        with pytest.raises(errors.ShapeError, match="n == m does not hold"):
            f([1.0, 2], [3.0])

    def test_an_unused_input_is_checked_all_the_same(self, backend: str) -> None:
        x, unused = sg.vector("x", "n"), sg.vector("unused", "n")
        f = sg.compile([x, unused], x + 1, backend=backend)
        assert f([1.0], [5.0]).tolist() == [2]
        with pytest.raises(errors.ShapeError, match="unused"):
            f([1.0], [5.0, 6.0])

    @pytest.mark.parametrize(
        ("dtype", "given", "message"),
        [
            ("float64", np.ones(2) * 1j, "complex128"),
            ("float64", ["a", "b"], "<U1"),
            ("float64", [None, 1], "object"),
            ("float64", [[1], [1, 2]], "v"),
            ("int64", [1.0, 2.0], "expected int64, got float64"),
            ("int32", [1, 2**40], "1099511627776 does not fit"),
            ("int64", np.array([2**63], "uint64"), "9223372036854775808 does not fit"),
            ("float32", [1e39], r"1e\+39 does not fit"),
            ("bool", [0, 1], "expected bool, got int64"),
        ],
    )
    def test_dtypes_that_lose_something(self, dtype: str, given: Any, message: str) -> None:
        v = sg.vector("v", "n", dtype)
        with pytest.raises(errors.SymgradError, match=message):
            sg.compile(v, v, backend="numpy")(given)

    def test_infinities_fit_into_float32(self, backend: str) -> None:
        v = sg.vector("v", "n", "float32")
        result = sg.compile(v, -v, backend=backend)(np.array([np.inf, np.nan]))
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, [-np.inf, np.nan])

    def test_a_tensor_is_no_argument(self) -> None:
        with pytest.raises(errors.ArgumentError, match="takes arrays"):
            doubled("numpy")(sg.vector("v", "n"))

    def test_by_name(self) -> None:
        f = affine("numpy")
        given = {"b": np.ones(2), "x": np.ones((4, 3)), "W": np.ones((3, 2))}
        assert f.by_name(given)[0].shape == (4, 2)
        with pytest.raises(errors.ArgumentError, match="missing: b; unknown: c"):
            f.by_name({"x": 0, "W": 0, "c": 0})


class TestValues:
    @pytest.mark.parametrize("n", [0, 1, 5])
    def test_any_batch(self, n: int, backend: str) -> None:
        x = np.random.default_rng(n).normal(size=(n, 3))
        W, b = np.ones((3, 2)), np.arange(2.0)
        y = x @ W + b
        for got, expected in zip(affine(backend)(x, W, b), (y, y.sum(0), x.T @ y), strict=True):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-14)

    def test_reductions_of_nothing(self, backend: str) -> None:
        x = sg.vector("x", "n")
        f = sg.compile(x, [sg.sum(x), sg.prod(x), sg.mean(x), sg.all(x > 0)], backend=backend)
        total, product, mean, every = f([])
        assert (total, product, bool(every)) == (0, 1, True)
        assert np.isnan(mean)

    @pytest.mark.parametrize("reduce", [sg.max, sg.min, sg.argmax, sg.argmin])
    def test_extrema_of_nothing_are_refused(
        self, reduce: Callable[..., sg.Tensor], backend: str
    ) -> None:
        x = sg.vector("x", "n")
        with pytest.raises(errors.ShapeError, match="n >= 1 does not hold for n = 0"):
            sg.compile(x, reduce(x), backend=backend)([])

    def test_integers_and_truth_values(self, backend: str) -> None:
        i, k = sg.vector("i", "n", "int32"), sg.vector("k", "n", "int64")
        b = sg.vector("b", "n", "bool")
        cases = [
            (lambda i, k, b: i + i, "int32"),
            (lambda i, k, b: i + k, "int64"),
            (lambda i, k, b: i // 3, "int32"),
            (lambda i, k, b: k % -4, "int64"),
            (lambda i, k, b: np.sum(i), "int64"),
            (lambda i, k, b: k @ k, "int64"),
            (lambda i, k, b: i @ i, "int32"),
            (lambda i, k, b: np.argmax(k), "int64"),
            (lambda i, k, b: np.logical_not(b), "bool"),
            (lambda i, k, b: (i > 0) == b, "bool"),
            (lambda i, k, b: np.sum(b), "int64"),
            (lambda i, k, b: np.where(b, i, k), "int64"),
            (lambda i, k, b: i / 2, "float64"),
        ]  # type: list[tuple[Callable[..., Any], str]]
        given = (
            np.array([2**31 - 1, -7, 5], "int32"),
            np.array([-(2**62), 7, -5]),
            np.array([True, False, True]),
        )
        f = sg.compile([i, k, b], [case(i, k, b) for case, _ in cases], backend=backend)
        with np.errstate(all="ignore"):
            for got, (case, dtype) in zip(f(*given), cases, strict=True):
                expected = np.asarray(case(*given))
                assert got.dtype == expected.dtype == dtype
                assert np.array_equal(got, expected)

    def test_backends_agree_on_a_network_and_its_second_derivatives(self) -> None:
        x, t = sg.matrix("x", ("n", 3)), sg.tensor("t", ("n",), "int64")
        W, v = sg.matrix("W", (3, 4)), sg.matrix("v", (3, 4))
        loss = sg.nn.cross_entropy(sg.tanh(x @ W), t) + 0.1 * sg.mean(W**2)
        outputs = [loss, sg.grad(loss, W), sg.hvp(loss, W, v)]
        rng = np.random.default_rng(0)
        given = (
            rng.normal(size=(6, 3)), rng.integers(0, 4, 6), rng.normal(size=(3, 4)),
            rng.normal(size=(3, 4)),
        )  # fmt: skip
        results = [sg.compile([x, t, W, v], outputs, backend=b)(*given) for b in ("numba", "numpy")]
        for ours, reference in zip(*results, strict=True):
            np.testing.assert_allclose(ours, reference, rtol=1e-12, atol=1e-15)

    def test_without_a_pass_the_values_are_the_same(self) -> None:
        x = sg.vector("x", "n")
        y = sg.sum(sg.log(1 + sg.exp(x)) * x / x)
        at = np.linspace(0.5, 2, 4)
        expected = sg.compile(x, y, backend="numpy")(at)
        for name in ("cse", "simplify", "stabilize", "fold_constants"):
            got = sg.compile(x, y, backend="numpy", without=[name])(at)
            assert got == pytest.approx(expected, rel=1e-14)
        with pytest.raises(errors.SymgradError, match="thinking"):
            sg.compile(x, y, without=["thinking"])

    def test_labels_out_of_range(self, backend: str) -> None:
        x, t = sg.matrix("x", ("n", 3)), sg.tensor("t", ("n",), "int64")
        f = sg.compile([x, t], sg.nn.cross_entropy(x, t), backend=backend)
        for bad in (-1, 3):
            with pytest.raises(errors.ValueRangeError, match=r"test_compile\.py"):
                f(np.ones((2, 3)), [0, bad])


def test_the_first_call_may_come_from_several_threads_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path))
    x = sg.vector("x", "n")
    f = sg.compile(x, sg.sum(sg.cosh(x) * 0.4321))
    failed: list[BaseException] = []
    results: list[float] = []

    def call() -> None:
        try:
            results.append(f([0.0, 0.0]))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert results == [pytest.approx(0.8642)] * 4


def test_repr_and_attributes() -> None:
    f = affine("numpy")
    assert repr(f).startswith("<Compiled: (x, W, b) -> 3 outputs")
    assert f.backend == "numpy"
    assert len(f.original.outputs) == len(f.graph.outputs) == 3
