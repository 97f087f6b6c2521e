"""Linear algebra: closed forms, NumPy's own results, stacks, and what has no answer."""

from __future__ import annotations

import runpy
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors, linalg
from symgrad.ir.graph import graph_of
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import assert_close, finite_difference

BACKENDS = ["numba", "numpy"]


def near_identity(*shape: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return 0.3 * rng.normal(size=shape) + np.eye(shape[-1])


def square(name: str = "A", *stack: Any) -> Tensor:
    return sg.tensor(name, (*stack, "n", "n"))


A0, B0, b0 = near_identity(4, 4), near_identity(4, 4, seed=1), np.arange(4.0)


@pytest.mark.parametrize("backend", BACKENDS)
class TestClosedForms:
    def gradient(self, backend: str, loss: Tensor, wrt: Tensor, *values: Array) -> Array:
        inputs = graph_of([loss]).inputs
        f = sg.compile([Tensor(x) for x in inputs], sg.grad(loss, wrt), backend=backend)
        return np.asarray(f(*values))

    def test_determinant(self, backend: str) -> None:
        A = square()
        found = self.gradient(backend, linalg.det(A), A, A0)
        assert_close(found, np.linalg.det(A0) * np.linalg.inv(A0).T, 1e-12)

    def test_logarithm_of_the_determinant(self, backend: str) -> None:
        A = square()
        for loss in (sg.log(linalg.det(A)), linalg.slogdet(A).logabsdet):
            assert_close(self.gradient(backend, loss, A, A0), np.linalg.inv(A0).T, 1e-12)

    def test_inverse(self, backend: str) -> None:
        A, B = square(), square("B")
        found = self.gradient(backend, sg.sum(linalg.inv(A) * B), A, A0, B0)
        inverse = np.linalg.inv(A0)
        assert_close(found, -inverse.T @ B0 @ inverse.T, 1e-12)

    def test_solution(self, backend: str) -> None:
        A, b = square(), sg.vector("b", "n")
        loss = sg.sum(linalg.solve(A, b) ** 2)
        x = np.linalg.solve(A0, b0)
        by_b = np.linalg.solve(A0.T, 2 * x)
        assert_close(self.gradient(backend, loss, b, A0, b0), by_b, 1e-12)
        assert_close(self.gradient(backend, loss, A, A0, b0), -np.outer(by_b, x), 1e-12)

    def test_normal_density(self, backend: str) -> None:
        """The gradient of a normal log-density by its covariance."""
        S, x = square("S"), sg.vector("x", "n")
        loss = 0.5 * (sg.log(linalg.det(S)) + x @ linalg.solve(S, x))
        S0 = A0 @ A0.T
        z = np.linalg.solve(S0, b0)
        found = self.gradient(backend, loss, S, S0, b0)
        assert_close(found, 0.5 * (np.linalg.inv(S0) - np.outer(z, z)), 1e-10)

    def test_cholesky_of_a_symmetric_matrix(self, backend: str) -> None:
        """Where a matrix is symmetric by how it is made, reading one triangle is no loss."""
        B, C = square("B"), square("C")
        loss = sg.sum(C * linalg.cholesky(B @ B.T))

        def value(given: Array) -> float:
            return float(np.sum(A0 * np.linalg.cholesky(given @ given.T)))

        found = self.gradient(backend, loss, B, B0, A0)
        assert_close(found, finite_difference(value, B0), 1e-7)

    def test_log_determinant_by_cholesky(self, backend: str) -> None:
        """Twice the sum of the logarithms on the factor's diagonal; folded below the diagonal."""
        A = square()
        loss = 2 * sg.sum(sg.log(sg.diagonal(linalg.cholesky(A))))
        S = A0 @ A0.T
        inverse = np.linalg.inv(S)
        folded = np.tril(2 * inverse) - np.diag(np.diag(inverse))
        assert_close(self.gradient(backend, loss, A, S), folded, 1e-10)


FUNCTIONS: list[tuple[Any, Any]] = [
    (linalg.inv, np.linalg.inv), (linalg.det, np.linalg.det),
    (lambda a: linalg.slogdet(a).logabsdet, lambda a: np.linalg.slogdet(a)[1]),
    (lambda a: linalg.slogdet(a).sign, lambda a: np.linalg.slogdet(a)[0]),
    (lambda a: linalg.matrix_power(a, 5), lambda a: np.linalg.matrix_power(a, 5)),
    (lambda a: linalg.matrix_power(a, -2), lambda a: np.linalg.matrix_power(a, -2)),
    (lambda a: linalg.matrix_power(a, 0), lambda a: np.linalg.matrix_power(a, 0)),
    (sg.tril, np.tril), (lambda a: sg.triu(a, 1), lambda a: np.triu(a, 1)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("stack", [(), (3,), (2, 3)])
@pytest.mark.parametrize("number", range(len(FUNCTIONS)))
def test_as_numpy_on_stacks(number: int, stack: tuple[int, ...], dtype: str) -> None:
    function, reference = FUNCTIONS[number]
    A = sg.tensor("A", (*stack, "n", "n"), dtype)
    f = sg.compile(A, function(A))
    for n in (1, 3, 2):
        given = near_identity(*stack, n, n).astype(dtype)
        found, expected = np.asarray(f(given)), np.asarray(reference(given))
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert_close(found, expected, 1e-12 if dtype == "float64" else 1e-4)


def test_through_numpys_names() -> None:
    A, b = sg.matrix("A", (3, 3)), sg.vector("b", 3)
    a = near_identity(3, 3)
    outputs: list[Any] = [
        np.linalg.solve(A, b), np.linalg.inv(A), np.linalg.det(A), np.linalg.slogdet(A)[1],
        np.linalg.cholesky(A @ A.T), np.kron(A, A), np.kron(b, b), np.diag(b), np.diag(A),
        np.tril(A), np.linalg.multi_dot([A, A, b]), np.linalg.matrix_power(A, 3),
    ]  # fmt: skip
    f = sg.compile([A, b], outputs)
    v = np.arange(3.0)
    expected = [
        np.linalg.solve(a, v), np.linalg.inv(a), np.linalg.det(a), np.linalg.slogdet(a)[1],
        np.linalg.cholesky(a @ a.T), np.kron(a, a), np.kron(v, v), np.diag(v), np.diag(a),
        np.tril(a), np.linalg.multi_dot([a, a, v]), np.linalg.matrix_power(a, 3),
    ]  # fmt: skip
    for got, wanted in zip(f(a, v), expected, strict=True):
        assert_close(got, np.asarray(wanted), 1e-12)


def test_whole_numbers_become_floats() -> None:
    K = sg.tensor("K", (2, 2), "int64")
    f = sg.compile(K, [linalg.inv(K), linalg.det(K)])
    k = np.array([[2, 1], [1, 1]])
    for got, wanted in zip(f(k), [np.linalg.inv(k), np.linalg.det(k)], strict=True):
        assert_close(got, np.asarray(wanted), 1e-12)


def test_the_logarithm_of_a_large_determinant_does_not_overflow() -> None:
    A = square()
    f = sg.compile(A, [sg.log(linalg.det(A)), sg.log(abs(linalg.det(A)))])
    large = 10.0 * np.eye(400)
    large[0, 0] = 1.0
    for got in f(large):
        assert got == pytest.approx(399 * np.log(10), rel=1e-12)
    large[0, 0] = -1.0
    first, second = f(large)
    assert np.isnan(first)
    assert second == pytest.approx(399 * np.log(10), rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
class TestNoAnswer:
    SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])

    @pytest.mark.parametrize("function", ["inv", "solve", "gradient of det"])
    def test_singular(self, backend: str, function: str) -> None:
        A = square("A")
        outputs = {
            "inv": linalg.inv(A),
            "solve": linalg.solve(A, A),
            "gradient of det": sg.grad(linalg.det(A), A),
        }
        f = sg.compile(A, outputs[function], backend=backend)
        assert_close(f(np.eye(2)), np.eye(2), 1e-15)
        with pytest.raises(errors.ValueRangeError, match=r"(inv|solve)\(A.*[Ss]ingular") as caught:
            f(self.SINGULAR)
        assert "test_linalg.py" in str(caught.value)

    def test_not_positive_definite(self, backend: str) -> None:
        A = square("A")
        f = sg.compile(A, linalg.cholesky(A), backend=backend)
        with pytest.raises(errors.ValueRangeError, match=r"cholesky\(A\).*positive definite"):
            f(-np.eye(2))

    def test_determinant_of_a_singular_matrix(self, backend: str) -> None:
        A = square()
        f = sg.compile(A, [linalg.det(A), *linalg.slogdet(A)], backend=backend)
        determinant, sign, size = f(np.zeros((2, 2)))
        assert (determinant, sign, size) == (0.0, 0.0, -np.inf)

    def test_not_finite(self, backend: str) -> None:
        A = square()
        f = sg.compile(A, linalg.inv(A), backend=backend)
        assert np.isnan(f(np.full((2, 2), np.nan))).all()

    def test_no_rows(self, backend: str) -> None:
        A = square()
        f = sg.compile(A, [linalg.inv(A), linalg.det(A)], backend=backend)
        inverse, determinant = f(np.zeros((0, 0)))
        assert inverse.shape == (0, 0)
        assert determinant == 1.0


def test_misuse() -> None:
    x = sg.vector("x", 3)
    with pytest.raises(errors.ShapeError, match=r"inv: .*square.*x is float64\[3\]"):
        linalg.inv(x)
    with pytest.raises(errors.ShapeError, match="the numbers of rows and columns differ"):
        linalg.det(sg.matrix("M", (2, 3)))
    with pytest.raises(errors.ShapeError, match="the numbers of rows differ"):
        linalg.solve(sg.matrix("M", (2, 2)), x)
    f = sg.compile([M := sg.matrix("M", ("n", "m"))], linalg.det(M))
    with pytest.raises(errors.ShapeError, match="n"):
        f(np.ones((2, 3)))


def test_an_update_is_left_undone_where_a_matrix_is_singular() -> None:
    A, w = square(), sg.parameter("w", ("n",), init=np.ones(2))
    model = sg.Model(sg.sum(linalg.solve(A, w) ** 2))
    step = model.compile(update=sg.optim.sgd(0.1))
    before = {name: value.copy() for name, value in step.parameters.items()}
    with pytest.raises(errors.ValueRangeError, match=r"[Ss]ingular"):
        step(A=np.zeros((2, 2)))
    for name, value in step.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_the_written_module_computes_the_same(tmp_path: Any) -> None:
    A, b = sg.parameter("A", (3, 3)), sg.vector("b", 3)
    loss = sg.log(linalg.det(A @ A.T)) + b @ linalg.solve(A, b) + sg.sum(linalg.cholesky(A @ A.T))
    f = sg.compile([A, b], [loss, sg.grad(loss, A)])
    space = runpy.run_path(str(f.save(tmp_path / "written.py")), run_name="written")
    a, v = near_identity(3, 3), np.arange(3.0)
    for got, wanted in zip(space["value_and_grad"](a, v), f(a, v), strict=True):
        assert_close(got, np.asarray(wanted), 1e-10)


ORDERS: list[tuple[Any, Any, Any]] = [
    ((5,), None, None), ((5,), 1, None), ((5,), 2, None), ((5,), np.inf, None),
    ((5,), -np.inf, None), ((5,), 3, None), ((5,), 0.5, None), ((5,), 0, None),
    ((3, 4), None, None), ((3, 4), "fro", None), ((3, 4), 1, None), ((3, 4), -1, None),
    ((3, 4), np.inf, None), ((3, 4), -np.inf, None), ((3, 4), None, 0), ((3, 4), 1, 1),
    ((2, 3, 4), None, None), ((2, 3, 4), "fro", (0, 2)), ((2, 3, 4), 1, (2, 1)),
    ((2, 3, 4), np.inf, (-1, 0)), ((2, 3, 4), 3, -1),
]  # fmt: skip


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape, order, axis", ORDERS)
def test_norms(shape: tuple[int, ...], order: Any, axis: Any, keepdims: bool) -> None:
    x, given = sg.tensor("x", shape), np.random.default_rng(0).normal(size=shape)
    f = sg.compile(x, linalg.norm(x, order, axis, keepdims))
    expected = np.linalg.norm(given, order, axis, keepdims)
    assert np.shape(f(given)) == np.shape(expected)
    assert_close(f(given), np.asarray(expected), 1e-12)


def test_norms_under_other_names() -> None:
    x, given = sg.tensor("x", (2, 3, 4)), np.random.default_rng(0).normal(size=(2, 3, 4))
    found = sg.compile(
        x, [linalg.vector_norm(x), linalg.vector_norm(x, axis=1, ord=1), linalg.matrix_norm(x)]
    )(given)
    vectors = np.linalg.vector_norm(given), np.linalg.vector_norm(given, axis=1, ord=1)
    for got, wanted in zip(found, [*vectors, np.linalg.matrix_norm(given)], strict=True):
        assert_close(got, np.asarray(wanted), 1e-12)


@pytest.mark.parametrize("axis", [None, 1, (0, 2)])
@pytest.mark.parametrize("order", [1, 2, np.inf, 3])
def test_norms_of_vectors_over_axes(axis: Any, order: Any) -> None:
    x, given = sg.tensor("x", (2, 3, 4)), np.random.default_rng(0).normal(size=(2, 3, 4))
    for keepdims in (False, True):
        found = sg.compile(x, linalg.vector_norm(x, axis=axis, ord=order, keepdims=keepdims))(given)
        wanted = np.linalg.vector_norm(given, axis=axis, ord=order, keepdims=keepdims)
        assert np.shape(found) == np.shape(wanted)
        assert_close(np.asarray(found), np.asarray(wanted), 1e-12)


def test_a_power_of_zero_of_whole_numbers() -> None:
    K = sg.tensor("K", (2, 2), "int64")
    found = sg.compile(K, linalg.matrix_power(K, 0))(np.array([[1, 2], [3, 4]]))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.eye(2))


def test_norms_that_are_not_there() -> None:
    with pytest.raises(errors.UnsupportedError, match="order 'nuc' of <Tensor M"):
        linalg.norm(sg.matrix("M", (2, 2)), "nuc")
    with pytest.raises(errors.UnsupportedError, match="order 2 of <Tensor M"):
        linalg.norm(sg.matrix("M", (2, 2)), 2)
