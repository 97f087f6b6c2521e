"""grad, vjp, jvp, jacobian, hessian and hvp: shapes, values, and lists in, lists out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import assert_close, evaluate, finite_difference, run, value

RNG = np.random.default_rng(3)
A, X, B = RNG.normal(size=(4, 3)), RNG.normal(size=3), RNG.normal(size=4)


def linear() -> tuple[Tensor, Tensor, Tensor]:
    m, x = sg.matrix("m", (4, 3)), sg.vector("x", 3)
    return m, x, m @ x


def test_jacobian_of_a_linear_map_is_its_matrix() -> None:
    m, x, y = linear()
    assert_close(value(sg.jacobian(y, x), [m, x], A, X), A, 1e-15)


def test_jacobian_by_a_matrix() -> None:
    m, x, y = linear()
    j = sg.jacobian(y, m)
    assert j.shape == (4, 4, 3)
    assert_close(value(j, [m, x], A, X), np.einsum("ij,k->ijk", np.eye(4), X), 1e-15)


def test_jacobian_of_an_elementwise_map_is_diagonal() -> None:
    x = sg.vector("x", 3)
    assert_close(value(sg.jacobian(sg.tanh(x), x), [x], X), np.diag(1 - np.tanh(X) ** 2), 1e-14)


def test_jacobian_of_a_scalar_is_the_gradient() -> None:
    x = sg.vector("x", 3)
    j = sg.jacobian(sg.sum(x**3), x)
    assert_close(value(j, [x], X), 3 * X**2, 1e-14)


def test_jacobian_of_softmax() -> None:
    x = sg.vector("x", 3)
    p = np.exp(X) / np.exp(X).sum()
    expected = np.diag(p) - np.outer(p, p)
    assert_close(value(sg.jacobian(sg.nn.softmax(x), x), [x], X), expected, 1e-14)


def test_hessian_of_a_quadratic_form() -> None:
    x, m = sg.vector("x", 3), sg.matrix("m", (3, 3))
    S = A[:3]
    h = sg.hessian(x @ m @ x, x)
    assert_close(value(h, [x, m], X, S), S + S.T, 1e-14)


def test_hessian_of_a_matrix_has_four_axes() -> None:
    w = sg.matrix("w", (2, 3))
    z = sg.sum(np.sin(w)) ** 2
    h = value(sg.hessian(z, w), [w], A[:2])
    s, c = np.sin(A[:2]), np.cos(A[:2])
    expected = 2 * np.multiply.outer(c, c)
    expected -= 2 * s.sum() * (np.eye(6).reshape(2, 3, 2, 3) * s)
    assert h.shape == (2, 3, 2, 3)
    assert_close(h, expected, 1e-13)


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_rosenbrock_agrees_with_scipy() -> None:
    from scipy.optimize import rosen, rosen_der, rosen_hess

    at = RNG.normal(size=6)
    x = sg.vector("x", 6)
    z = rosenbrock(x)
    f, g, h = evaluate([x], [z, sg.grad(z, x), sg.hessian(z, x)], at)
    assert_close(f, np.asarray(rosen(at)), 1e-13)
    assert_close(g, rosen_der(at), 1e-12)
    assert_close(h, rosen_hess(at), 1e-12)


def test_hvp_is_the_hessian_times_the_vector_for_named_sizes() -> None:
    x = sg.vector("x", "n")
    z = rosenbrock(x)
    v = sg.vector("v", "n")
    at, direction = RNG.normal(size=5), RNG.normal(size=5)
    from scipy.optimize import rosen_hess_prod

    found = value(sg.hvp(z, x, v), [x, v], at, direction)
    assert_close(found, rosen_hess_prod(at, direction), 1e-11)


def test_hvp_of_several_tensors_is_a_block_product() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    z = x * x * y
    hx, hy = evaluate([x, y], sg.hvp(z, [x, y], [1.0, 10.0]), 3.0, 5.0)
    assert hx == 2 * 5 * 1 + 2 * 3 * 10
    assert hy == 2 * 3 * 1


def test_vjp_and_jvp_agree_with_the_jacobian() -> None:
    m, x, y = linear()
    z = sg.tanh(y)
    u, v = RNG.normal(size=4), RNG.normal(size=3)
    j, pulled, pushed = evaluate(
        [m, x], [sg.jacobian(z, x), sg.vjp(z, x, u), sg.jvp(z, x, v)], A, X
    )
    assert_close(pulled, u @ j, 1e-14)
    assert_close(pushed, j @ v, 1e-14)


@pytest.mark.parametrize("function", [sg.grad, lambda z, w: sg.vjp(z, w, 1.0), sg.jacobian])
def test_one_in_one_out_and_lists_in_lists_out(function: Any) -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    z = x * y
    assert isinstance(function(z, x), Tensor)
    for wrt in ([x], (x, y), [x, y], [x, x], []):
        found = function(z, wrt)
        assert isinstance(found, list)
        assert len(found) == len(wrt)
    assert [float(v) for v in evaluate([x, y], function(z, [y, x, x]), 2.0, 3.0)] == [2, 3, 3]


def test_lists_in_lists_out_on_the_output_side() -> None:
    x = sg.scalar("x")
    y = [x * 2, x**2]
    assert isinstance(sg.jvp(y[0], x, 1.0), Tensor)
    assert [float(v) for v in evaluate([x], sg.jvp(y, x, 1.0), 3.0)] == [2, 6]
    assert value(sg.vjp(y, x, [10.0, 1.0]), [x], 3.0) == 26
    assert isinstance(sg.vjp(y, [x], [10.0, 1.0]), list)
    assert value(sg.vjp([y[0], y[0]], x, [1.0, 2.0]), [x], 3.0) == 6
    hv = sg.hvp(y[1], [x], [4.0])
    assert isinstance(hv, list)
    assert value(hv[0], [x], 3.0) == 8


def test_tangents_of_a_target_given_twice_are_added() -> None:
    """As the adjoint identity demands, since grad gives the whole derivative for each."""
    x = sg.scalar("x")
    assert value(sg.jvp(x * x, [x, x], [1.0, 2.0]), [x], 3.0) == 6 * (1 + 2)


def test_results_have_the_type_of_their_target() -> None:
    x, y = sg.tensor("x", ("n", 3), "float32"), sg.tensor("y", (3,), "float64")
    z = sg.sum(x * y)
    assert [g.type for g in sg.grad(z, [x, y])] == [x.type, y.type]


def test_equal_subexpressions_have_one_gradient() -> None:
    """A target that was written twice stands for both; the derivative is that by the value."""
    x = sg.scalar("x")
    h, same = sg.sin(x), sg.sin(x)
    z = h * same
    assert_close(value(sg.grad(z, x), [x], 0.3), np.asarray(np.sin(0.6)), 1e-14)


def test_gradients_of_stable_forms_do_not_overflow() -> None:
    x = sg.vector("x", 3)
    big = np.array([1000.0, 0.0, -1000.0])
    softplus = np.log(1 + np.exp(x))
    sigmoid = 1 / (1 + np.exp(-x))
    cross = -np.log(np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True))[0]
    for z, expected in (
        (sg.sum(softplus), [1, 0.5, 0]),
        (sg.sum(sigmoid), [0, 0.25, 0]),
        (cross, [0, 0, 0]),
        (-sg.sum(np.log(sigmoid)), [0, -0.5, -1]),
    ):
        assert_close(value(sg.grad(z, x), [x], big), np.array(expected), 1e-15)


def test_gradient_by_an_intermediate_of_a_stable_form() -> None:
    """exp(x) is inside log(1 + exp(x)), yet it can be asked for."""
    x = sg.scalar("x")
    e = sg.exp(x)
    z = sg.log(1 + e)
    ge, gx = evaluate([x], sg.grad(z, [e, x]), 0.7)
    assert_close(ge, np.asarray(1 / (1 + math.exp(0.7))), 1e-14)
    assert_close(gx, np.asarray(math.exp(0.7) / (1 + math.exp(0.7))), 1e-14)


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "squared": lambda p, t: sg.nn.squared_error(p, t),
    "cross": lambda p, t: sg.nn.cross_entropy(p, sg.nn.softmax(t)),
    "binary": lambda p, t: sg.nn.binary_cross_entropy_with_logits(p, sg.nn.sigmoid(t)),
    "plain": lambda p, t: sg.nn.binary_cross_entropy(sg.nn.sigmoid(p), sg.nn.sigmoid(t)),
    "hinge": lambda p, t: sg.nn.hinge(p, np.sign(t)),
    "leaky": lambda p, t: sg.nn.leaky_relu(p - t).sum(),
    "std": lambda p, t: np.std(p, axis=0).sum() + np.var(p * t),
    "norm": lambda p, t: np.linalg.norm(p - t) + sg.special.erf(p).sum() + np.trace(p[:3]),
    "prelu": lambda p, t: sg.nn.prelu(p, t[0, 0]).sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_agree_with_finite_differences(name: str) -> None:
    p, t = sg.matrix("p", (4, 3)), sg.matrix("t", (4, 3))
    z = LOSSES[name](p, t)
    graph = sg.Graph([p, t], [z])
    target = RNG.normal(size=(4, 3))

    def loss(at: Array) -> float:
        return float(run(graph, at, target)[0])

    found = value(sg.grad(z, p), [p, t], A, target)
    assert_close(found, finite_difference(loss, A), 1e-8)


def test_cross_entropy_with_labels() -> None:
    p, t = sg.matrix("p", ("n", 3)), sg.tensor("t", ("n",), "int64")
    z = sg.nn.cross_entropy(p, t)
    labels = np.array([0, 2, 1, 1])
    e = np.exp(A) / np.exp(A).sum(1, keepdims=True)
    f, g = evaluate([p, t], [z, sg.grad(z, p)], A, labels)
    assert_close(f, -np.log(e[range(4), labels]).mean(), 1e-14)
    assert_close(g, (e - np.eye(3)[labels]) / 4, 1e-14)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_reductions_of_losses(reduction: str) -> None:
    p, t = sg.vector("p", 3), sg.vector("t", 3)
    z = sg.nn.squared_error(p, t, reduction)
    expected = (X - X[::-1]) ** 2
    assert_close(
        value(z, [p, t], X, X[::-1]), expected.sum() if reduction == "sum" else expected, 1e-15
    )


def test_derivatives_know_what_they_are_of() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    z = x**3 * y
    g = sg.grad(z, x)
    assert g.derivative is not None and g.derivative.of is z.node
    assert g.derivative.wrt == (x.node,)
    second = sg.grad(g, y)
    assert second.derivative is not None and second.derivative.of is z.node
    assert second.derivative.wrt == (x.node, y.node)
