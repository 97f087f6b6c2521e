"""Seed cases, section 4: the worked examples and quizzes of the decks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import sympy

import symgrad as sg
from tests.oracles import Dual, difference, sigmoid


def counts(inputs: list[sg.Tensor], outputs: list[sg.Tensor]) -> Counter[str]:
    """Return how often each op occurs in the optimised graph."""
    return Counter(node.op.name for node in sg.optimize(sg.Graph(inputs, outputs)).nodes)


# Calculus


def test_f_of_f_of_f_computes_each_part_once(backend: str) -> None:
    w = sg.scalar("w")
    z: Any = np.sin(np.sin(np.sin(w)))
    # Written out, ∂z/∂w = f'(f(f(w))) f'(f(w)) f'(w) has f(w) twice and f(f(w)) once more.
    written: Any = np.cos(np.sin(np.sin(w))) * np.cos(np.sin(w)) * np.cos(w)
    outputs = [z, sg.grad(z, w), written]
    assert counts([w], outputs)["sin"] == counts([w], outputs)["cos"] == 3
    value, gradient, by_hand = sg.compile([w], outputs, backend=backend)(0.5)
    assert value == pytest.approx(0.4450853368470909, rel=1e-14)
    assert gradient == pytest.approx(0.697266435850241, rel=1e-14)
    assert by_hand == pytest.approx(gradient, rel=1e-14)


def test_cos_of_sin_of_x_squared(backend: str) -> None:
    # u₂ = 3t with t = x² is 3x²; the deck's backward list omits dJ/du₂ += dJ/du · 1.
    x = sg.scalar("x")
    J = np.cos(np.sin(x**2) + 3 * x**2)
    gradient = sg.grad(J, x)
    assert counts([x], [J, gradient])["power"] == 1  # x² is shared
    run = sg.compile([x], [J, gradient], backend=backend)
    for at, value, slope in (
        (1.0, -0.764920562804486, 4.56079179067878),
        (2.0, 0.245100368170016, 9.09914854483238),
        (0.5, 0.542484975714032, -3.33414641414497),
    ):
        assert tuple(map(float, run(at))) == pytest.approx((value, slope), rel=1e-14)


def test_cos_of_sin_of_x_squared_has_the_deck_s_partial_results(backend: str) -> None:
    x = sg.scalar("x")
    t = x**2
    u1: Any = np.sin(t)
    u2 = 3 * t
    u = u1 + u2
    J: Any = np.cos(u)
    found = sg.compile([x], sg.grad(J, [u, u1, u2, t, x]), backend=backend)(1.5)
    by_u = -np.sin(np.sin(2.25) + 6.75)
    by_t = by_u * np.cos(2.25) + by_u * 3
    np.testing.assert_allclose(found, [by_u, by_u, by_u, by_t, by_t * 3.0], rtol=1e-13)


def quiz_1(x: Any, z: Any, m: Any) -> Any:
    return m.exp(x * z) + x * z / m.log(x) + m.sin(m.log(x)) / m.exp(x * z)


def test_quiz_1_both_partials(backend: str) -> None:
    x, z = sg.scalar("x"), sg.scalar("z")
    y = quiz_1(x, z, np)
    found = sg.compile([x, z], [y, *sg.grad(y, [x, z])], backend=backend)(2.0, 3.0)
    given = (412.08654756472337, 1208.3665605541926, 809.73980941393924)  # natural logarithm
    assert tuple(map(float, found)) == pytest.approx(given, rel=1e-14)
    with mpmath.workdps(30):
        exact = (
            quiz_1(mpmath.mpf(2), mpmath.mpf(3), mpmath),
            mpmath.diff(lambda v: quiz_1(v, mpmath.mpf(3), mpmath), 2),
            mpmath.diff(lambda v: quiz_1(mpmath.mpf(2), v, mpmath), 3),
        )
    assert given == pytest.approx(tuple(map(float, exact)), rel=1e-14)


def test_quiz_1_computes_exp_and_log_once() -> None:
    x, z = sg.scalar("x"), sg.scalar("z")
    y = quiz_1(x, z, np)
    found = counts([x, z], [y, *sg.grad(y, [x, z])])
    assert (found["exp"], found["log"], found["sin"], found["cos"]) == (1, 1, 1, 1)


def test_quiz_2_two_hidden_layers(backend: str) -> None:
    # α⁽ⁱ⁾ is D⁽ⁱ⁾×D⁽ⁱ⁻¹⁾ and must not be transposed as well. σ(a) = 1/(1 + exp(-a)).
    D0, D1, D2 = 4, 3, 2
    x, beta = sg.vector("x", D0), sg.vector("β", D2)
    first, second = sg.matrix("α1", (D1, D0)), sg.matrix("α2", (D2, D1))
    y = sg.nn.sigmoid(beta @ sg.nn.sigmoid(second @ sg.nn.sigmoid(first @ x)))
    wrt = [beta, second, first]
    rng = np.random.default_rng(0)
    at, b, A2, A1 = (rng.normal(size=t.shape) for t in (x, *wrt))
    outputs = [y, *sg.grad(y, wrt)]
    out, by_beta, by_second, by_first = sg.compile([x, *wrt], outputs, backend=backend)(
        at, b, A2, A1
    )
    h1 = sigmoid(A1 @ at)
    h2 = sigmoid(A2 @ h1)
    dy = out * (1 - out)
    assert out == pytest.approx(sigmoid(b @ h2), rel=1e-14)
    for j in range(D2):
        assert by_beta[j] == pytest.approx(dy * h2[j], rel=1e-13)
        for k in range(D1):
            expected = dy * b[j] * h2[j] * (1 - h2[j]) * h1[k]
            assert by_second[j, k] == pytest.approx(expected, rel=1e-13)
    for k in range(D1):
        into = sum(dy * b[j] * h2[j] * (1 - h2[j]) * A2[j, k] for j in range(D2))
        for m in range(D0):
            assert by_first[k, m] == pytest.approx(into * h1[k] * (1 - h1[k]) * at[m], rel=1e-12)


# The matching quiz: the answer is E, that is 1 = 8, 2 = 6, 3 = 5, 4 = 7


def same_gradients(
    first: sg.Tensor, second: sg.Tensor, factor: float, wrt: sg.Tensor, others: list[sg.Tensor],
    values: list[Any], backend: str,
) -> None:  # fmt: skip
    run = sg.compile([wrt, *others], [sg.grad(first, wrt), sg.grad(second, wrt)], backend=backend)
    a, b = run(*values)
    assert np.all(a != 0)
    np.testing.assert_allclose(a, factor * b, rtol=1e-12)


def test_matching_quiz_1_8_squared_error_is_gaussian_noise(backend: str) -> None:
    X, y, w = sg.matrix("X", ("n", 3)), sg.vector("y", "n"), sg.vector("w", 3)
    f = X @ w
    sse = np.sum((y - f) ** 2)
    nll = -np.sum(np.log(np.exp(-((y - f) ** 2) / 2) / np.sqrt(2 * np.pi)))  # σ = 1
    rng = np.random.default_rng(1)
    values = [rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=5)]
    same_gradients(sse, nll, 2.0, w, [X, y], values, backend)


def test_matching_quiz_2_6_weight_decay_is_a_gaussian_prior(backend: str) -> None:
    X, y, w, lam = sg.matrix("X", ("n", 3)), sg.vector("y", "n"), sg.vector("w", 3), sg.scalar("λ")
    f = X @ w
    penalised = np.sum((y - f) ** 2) + lam * np.sum(w**2)
    # Noise of variance 1 and a prior of variance 1/(2λ) · 2 = 1/λ: twice the negative log.
    likelihood = np.exp(-((y - f) ** 2) / 2) / np.sqrt(2 * np.pi)
    prior = np.exp(-lam * w**2 / 2) * np.sqrt(lam / (2 * np.pi))
    posterior = -np.sum(np.log(likelihood)) - np.sum(np.log(prior))
    rng = np.random.default_rng(2)
    values = [rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=5), 0.7]
    same_gradients(penalised, posterior, 2.0, w, [X, y, lam], values, backend)


def test_matching_quiz_3_5_cross_entropy_is_bernoulli(backend: str) -> None:
    X, y, w = sg.matrix("X", ("n", 3)), sg.vector("y", "n"), sg.vector("w", 3)
    z = X @ w
    cross_entropy = sg.nn.binary_cross_entropy_with_logits(z, y, reduction="sum")
    p = sg.nn.sigmoid(z)
    nll = -np.sum(np.log(np.where(y == 1, p, 1 - p)))
    rng = np.random.default_rng(3)
    values = [rng.normal(size=3), rng.normal(size=(5, 3)), rng.integers(0, 2, 5) * 1.0]
    same_gradients(cross_entropy, nll, 1.0, w, [X, y], values, backend)


def test_matching_quiz_4_7_hinge_is_a_large_margin(backend: str) -> None:
    # Only points inside the margin, or on its wrong side, push the weights.
    X, y, w = sg.matrix("X", ("n", 2)), sg.vector("y", "n"), sg.vector("w", 2)
    loss = sg.nn.hinge(X @ w, y, reduction="sum")
    data = np.array([[2.0, 1.0], [0.2, 0.1], [-3.0, 0.5], [0.5, -0.7]])
    label, weights = np.array([1.0, 1, -1, -1]), np.array([1.0, 0.5])
    margin = label * (data @ weights)
    expected = -(label * (margin < 1)) @ data
    assert list(margin < 1) == [False, True, False, True]
    got = sg.compile([X, y, w], sg.grad(loss, w), backend=backend)(data, label, weights)
    np.testing.assert_allclose(got, expected, rtol=1e-13)


# Figure 6.8 of the book, which the deck shows as a picture only


def test_figure_6_8_graphs(backend: str) -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    X, W, b = sg.matrix("X", ("n", 3)), sg.matrix("W", (3, 2)), sg.vector("b", 2)
    v, w, bias, lam = sg.vector("v", 3), sg.vector("w", 3), sg.scalar("bias"), sg.scalar("λ")
    z = x * y
    logistic = sg.nn.sigmoid(v @ w + bias)
    H = np.maximum(0, X @ W + b)
    linear, decay = v @ w, lam * np.sum(w**2)
    outputs = [
        *sg.grad(z, [x, y]),
        sg.grad(logistic, w),
        sg.grad(np.sum(H), W),
        *[sg.grad(linear, w), sg.grad(decay, w)],
    ]
    rng = np.random.default_rng(4)
    A, M, c = rng.normal(size=(5, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)
    at, weights = rng.normal(size=(2, 3))
    run = sg.compile([x, y, X, W, b, v, w, bias, lam], outputs, backend=backend)
    by_x, by_y, by_w, by_W, by_linear, by_decay = run(2.0, -3.0, A, M, c, at, weights, 0.4, 0.1)
    assert (by_x, by_y) == (-3, 2)
    s = sigmoid(at @ weights + 0.4)
    np.testing.assert_allclose(by_w, s * (1 - s) * at, rtol=1e-13)
    np.testing.assert_allclose(by_W, A.T @ (A @ M + c > 0), rtol=1e-13)
    np.testing.assert_array_equal(by_linear, at)
    np.testing.assert_allclose(by_decay, 0.2 * weights, rtol=1e-13)


# Approaches to differentiation


def test_four_approaches_agree(backend: str) -> None:
    x, z = sg.scalar("x"), sg.scalar("z")
    y = quiz_1(x, z, np)
    reverse = sg.grad(y, [x, z])
    forward = [sg.jvp(y, [x, z], [1.0, 0.0]), sg.jvp(y, [x, z], [0.0, 1.0])]
    found = sg.compile([x, z], [y, *reverse, *forward], backend=backend)(1.4, 0.6)
    finite = difference(lambda p: quiz_1(p[0], p[1], np), [1.4, 0.6])
    a, c = sympy.symbols("a c")
    expression = quiz_1(a, c, sympy)
    symbolic = [float(expression.diff(s).subs({a: 1.4, c: 0.6})) for s in (a, c)]
    duals = [quiz_1(Dual(1.4, d), Dual(0.6, 1 - d), np).tangent for d in (1.0, 0.0)]
    np.testing.assert_allclose(found[1:3], symbolic, rtol=1e-13)
    np.testing.assert_allclose(found[3:], symbolic, rtol=1e-13)
    np.testing.assert_allclose(duals, symbolic, rtol=1e-13)
    np.testing.assert_allclose(finite, symbolic, rtol=1e-9)


# The chain rule


def test_chain_rule_of_one_variable(backend: str) -> None:
    x = sg.scalar("x")
    y: Any = np.exp(np.sin(x))
    z: Any = np.log(1 + y**2)
    by_y, by_x = sg.compile([x], sg.grad(z, [y, x]), backend=backend)(0.9)
    assert by_x == pytest.approx(by_y * np.exp(np.sin(0.9)) * np.cos(0.9), rel=1e-14)
    assert by_x == pytest.approx(difference(lambda v: np.log(1 + np.exp(2 * np.sin(v))), 0.9))


CHAINS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "vector": (lambda x: np.tanh(x[:2] * x[1:]) ** 2, (3,)),
    "product": (lambda x: np.exp(x) @ x.T, (2, 3)),
    "broadcast": (lambda x: x * np.sum(x, axis=0) + x[:1], (3, 2)),
    "tensor": (lambda x: np.sum(np.sin(x), axis=1) * np.mean(x, axis=(0, 1)), (2, 3, 2)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chain_rule_of_vectors_and_tensors(name: str, backend: str) -> None:
    # ∇_x z = (∂y/∂x)ᵀ ∇_y z; for tensors Σ_j (∇_X Y_j) ∂z/∂Y_j with one index j in both factors.
    # tests/ops/test_registry.py holds every op to it.
    f, shape = CHAINS[name]
    x = sg.tensor("x", shape)
    y = f(x)
    z = np.sum(np.cos(y) * y)
    outputs = [*sg.grad(z, [y, x]), sg.jacobian(y, x)]
    at = np.random.default_rng(5).uniform(-1, 1, shape)
    by_y, by_x, jacobian = sg.compile([x], outputs, backend=backend)(at)
    J = difference(f, at)
    np.testing.assert_allclose(jacobian, J, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(by_x, np.tensordot(by_y, J, by_y.ndim), rtol=1e-9, atol=1e-10)


def test_chain_rule_along_multiple_paths(backend: str) -> None:
    # ∂p/∂z = Σ_m ∂p/∂q_m ∂q_m/∂z
    z = sg.scalar("z")
    q: list[Any] = [np.sin(z), z**2, np.exp(-z)]
    p = q[0] * q[1] + np.tanh(q[2]) / (1 + q[1])
    *by_q, by_z = sg.compile([z], sg.grad(p, [*q, z]), backend=backend)(0.6)
    slopes = [np.cos(0.6), 1.2, -np.exp(-0.6)]
    assert by_z == pytest.approx(sum(a * b for a, b in zip(by_q, slopes, strict=True)), rel=1e-14)
    assert by_q[0] == pytest.approx(0.36, rel=1e-14)
