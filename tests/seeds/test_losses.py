"""Seed cases, section 3: losses, outputs and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

import symgrad as sg
from symgrad.autodiff.reverse import build_grad, ones
from symgrad.ir.sweep import Sweep
from tests.oracles import Array, sigmoid, softmax

INF = float("inf")


# Squared errors and likelihoods


@pytest.mark.parametrize(
    ("loss", "factor"),
    [
        (lambda y, f: np.sum((y - f) ** 2), 2.0),
        (lambda y, f: np.sum((y - f) ** 2) / 2, 1.0),
        (lambda y, f: np.sum((f - y) ** 2) / f.shape[0], 2 / 5),
        (lambda y, f: np.mean(np.sum((f - y) ** 2, axis=1)), 2 / 5),
        (lambda y, f: sg.nn.squared_error(f, y), 2 / 15),
    ],
    ids=["sum", "half", "one over N", "mean over N", "mean over all"],
)
def test_squared_error_constants(
    loss: Callable[[Any, Any], Any], factor: float, backend: str
) -> None:
    y, f = sg.matrix("y", ("N", 3)), sg.matrix("f", ("N", 3))
    at, target = np.random.default_rng(0).normal(size=(2, 5, 3))
    got = sg.compile([y, f], sg.grad(loss(y, f), f), backend=backend)(target, at)
    np.testing.assert_allclose(got, factor * (at - target), rtol=1e-13)


def test_gaussian_likelihood_is_squared_error_plus_a_constant(backend: str) -> None:
    y, f = sg.vector("y", 3), sg.vector("f", 3)
    density = np.exp(-np.sum((y - f) ** 2) / 2) / (2 * np.pi) ** 1.5
    nll, half = -np.log(density), np.sum((y - f) ** 2) / 2
    outputs = [nll, half, sg.grad(nll, f), sg.grad(half, f)]
    run = sg.compile([y, f], outputs, backend=backend)
    for at in ([0.0, 0, 0], [1.0, -2, 0.5]):
        target = np.array([0.3, -1.0, 2.0])
        a, b, by_nll, by_half = run(target, at)
        assert a - b == pytest.approx(1.5 * np.log(2 * np.pi), rel=1e-14)
        np.testing.assert_allclose(by_nll, at - target, rtol=1e-13)
        np.testing.assert_allclose(by_half, at - target, rtol=1e-13)


# Bernoulli outputs


@pytest.mark.parametrize(
    "loss",
    [
        lambda y, z: -np.log(sg.nn.sigmoid((2 * y - 1) * z)),
        lambda y, z: -np.log(1 / (1 + np.exp(-((2 * y - 1) * z)))),
        lambda y, z: sg.nn.softplus((1 - 2 * y) * z),
        lambda y, z: np.log(1 + np.exp((1 - 2 * y) * z)),
        lambda y, z: -(y * np.log(sg.nn.sigmoid(z)) + (1 - y) * np.log(1 - sg.nn.sigmoid(z))),
        lambda y, z: sg.nn.binary_cross_entropy_with_logits(z, y),
    ],
    ids=["log sigma", "log sigma written out", "zeta", "zeta written out", "J of 003", "logits"],
)
def test_bernoulli_loss_saturates_only_when_right(
    loss: Callable[[Any, Any], Any], backend: str
) -> None:
    y, z = sg.scalar("y"), sg.scalar("z")
    value = loss(y, z)
    run = sg.compile([y, z], [value, sg.grad(value, z)], backend=backend)
    for label in (0.0, 1.0):
        for at in (-3.0, -0.1, 0.0, 2.5):
            J, slope = run(label, at)
            assert pytest.approx(np.log(1 + np.exp((1 - 2 * label) * at)), rel=1e-13) == J
            assert slope == pytest.approx(sigmoid(at) - label, rel=1e-13)
            assert slope == pytest.approx(
                (1 - 2 * label) * sigmoid((1 - 2 * label) * at), rel=1e-13
            )
    # Wrong at |z| = 1000: the loss is |z|, the slope ±1. Right: both vanish.
    assert [tuple(map(float, run(*p))) for p in ((0, 1000), (1, -1000), (1, 1000), (0, -1000))] == [
        (1000, 1), (1000, -1), (0, 0), (0, 0)
    ]  # fmt: skip


def test_clipped_linear_output_has_no_gradient_outside(backend: str) -> None:
    z = sg.vector("z", 5)
    p: Any = np.maximum(0, np.minimum(1, z))
    outputs = [p, sg.grad(np.sum(p), z), sg.grad(np.sum(np.clip(z, 0, 1)), z)]
    value, by_max_min, by_clip = sg.compile([z], outputs, backend=backend)([-2, 0.25, 0.75, 1.5, 9])
    np.testing.assert_array_equal(value, [0, 0.25, 0.75, 1, 1])
    np.testing.assert_array_equal(by_max_min, [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(by_clip, [0, 1, 1, 0, 0])


def test_binary_cross_entropy_with_either_sign(backend: str) -> None:
    # J = y* log y + (1 - y*) log(1 - y) is the log-likelihood, and its printed backward
    # y*/y + (1 - y*)/(y - 1) is right for it. What is minimised is -J, with d(-J)/da = y - y*.
    a, target = sg.scalar("a"), sg.scalar("y*")
    y = sg.nn.sigmoid(a)
    J = target * np.log(y) + (1 - target) * np.log(1 - y)
    outputs = [J, sg.nn.binary_cross_entropy(y, target), sg.grad(J, y), sg.grad(-J, a)]
    run = sg.compile([a, target], outputs, backend=backend)
    for label in (0.0, 0.3, 1.0):
        p = sigmoid(0.7)
        likelihood, loss, by_y, by_a = run(0.7, label)
        assert likelihood == pytest.approx(label * np.log(p) + (1 - label) * np.log(1 - p))
        assert loss == pytest.approx(-likelihood, rel=1e-14)
        assert by_y == pytest.approx(label / p + (1 - label) / (p - 1), rel=1e-13)
        assert by_a == pytest.approx(p - label, rel=1e-13)


def test_hinge_loss_subgradient(backend: str) -> None:
    f, y = sg.vector("f", 5), sg.vector("y", 5)
    written, ours = np.sum(np.maximum(0, 1 - y * f)), sg.nn.hinge(f, y, reduction="sum")
    outputs = [written, ours, sg.grad(written, f), sg.grad(ours, f)]
    at, label = np.array([0.3, 2.0, -0.5, -3.0, 0.9]), np.array([1.0, 1, -1, -1, -1])
    a, b, by_written, by_ours = sg.compile([f, y], outputs, backend=backend)(at, label)
    assert (a, b) == pytest.approx((3.1, 3.1), rel=1e-14)
    np.testing.assert_array_equal(by_written, [-1, 0, 1, 0, 1])
    np.testing.assert_array_equal(by_ours, by_written)


# Softmax and cross-entropy


def test_softmax_is_invariant_to_shifts_and_never_overflows(backend: str) -> None:
    z = sg.matrix("z", ("n", 3))
    written = np.exp(z) / np.sum(np.exp(z), axis=1, keepdims=True)
    outputs = [sg.nn.softmax(z), sg.nn.softmax(z - np.max(z, axis=1, keepdims=True)), written]
    run = sg.compile([z], outputs, backend=backend)
    at = np.array([[1.0, 2, 3], [-4, 0, 7]])
    exact = [[float(mpmath.exp(v) / sum(map(mpmath.exp, row))) for v in row] for row in at]
    for found in run(at):
        np.testing.assert_allclose(found, exact, rtol=1e-13)
    for shift in (1.0, -64.0, 1000.0):  # integers: z + c is exact, so the result is the same
        for found, shifted in zip(run(at), run(at + shift), strict=True):
            np.testing.assert_array_equal(shifted, found)
    for found in run([[1000.0, 0, -1000]]):
        np.testing.assert_array_equal(found, [[1, 0, 0]])


def test_softmax_of_one_vector_written_as_in_the_deck(backend: str) -> None:
    z = sg.vector("z", 3)
    p = np.exp(z) / np.sum(np.exp(z))
    run = sg.compile([z], [p, *sg.grad(p[0], [z])], backend=backend)
    value, gradient = run([1.0, 2, 3])
    q = softmax(np.array([1.0, 2, 3]))
    np.testing.assert_allclose(value, q, rtol=1e-13)
    np.testing.assert_allclose(gradient, q[0] * (np.array([1, 0, 0]) - q), rtol=1e-13)
    value, gradient = run([1000.0, 0, -1000])
    np.testing.assert_array_equal(value, [1, 0, 0])
    np.testing.assert_array_equal(gradient, [0, 0, 0])


@pytest.mark.parametrize(
    "log_softmax",
    [
        sg.nn.log_softmax,
        # The deck's sum runs over i = 1 ... ∞; it is over j = 1 ... n.
        lambda z: z - np.log(np.sum(np.exp(z))),
        lambda z: z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True)),
        lambda z: np.log(sg.nn.softmax(z)),
    ],
    ids=["log_softmax", "written out", "written out, keepdims", "log of softmax"],
)
def test_log_softmax_never_overflows(log_softmax: Callable[[Any], Any], backend: str) -> None:
    z = sg.vector("z", 3)
    value = log_softmax(z)
    run = sg.compile([z], [value, sg.grad(value[1], z)], backend=backend)
    at = np.array([0.3, -1.0, 2.0])
    found, gradient = run(at)
    np.testing.assert_allclose(found, np.log(softmax(at)), rtol=1e-13)
    np.testing.assert_allclose(gradient, [0, 1, 0] - softmax(at), rtol=1e-13)
    found, gradient = run([1000.0, 0, -1000])
    np.testing.assert_array_equal(found, [0, -1000, -2000])
    np.testing.assert_array_equal(gradient, [-1, 1, 0])


def test_softmax_cross_entropy_gradient(backend: str) -> None:
    # The derivation has a wrong index, a square too many and a lost 1/Σ; -(e(ℓ) - ŷ) is right.
    a, label = sg.vector("a", 3), sg.scalar("ℓ", "int64")
    losses = [
        sg.nn.cross_entropy(a, label),
        sg.nn.cross_entropy(a, np.eye(3)[0]),
        -np.log(sg.nn.softmax(a)[label]),
        -np.log(np.exp(a)[label] / np.sum(np.exp(a))),
    ]
    outputs = [sg.nn.softmax(a), *losses, *[sg.grad(loss, a) for loss in losses]]
    y_hat, *found = sg.compile([a, label], outputs, backend=backend)([1.0, 2, 3], 0)
    np.testing.assert_allclose(y_hat, [0.09003057, 0.24472847, 0.66524096], atol=5e-9)
    for value in found[:4]:
        assert value == pytest.approx(-np.log(0.09003057317038046), rel=1e-13)
    for gradient in found[4:]:
        np.testing.assert_allclose(gradient, [-0.90996943, 0.24472847, 0.66524096], atol=5e-9)


def test_softmax_cross_entropy_of_a_hopeless_class(backend: str) -> None:
    a = sg.vector("a", 2)
    loss: Any = -np.log(sg.nn.softmax(a)[0])
    value, gradient = sg.compile([a], [loss, sg.grad(loss, a)], backend=backend)([0.0, 1000])
    assert value == 1000
    np.testing.assert_array_equal(gradient, [-1, 1])


def test_cross_entropy_by_the_probabilities_is_a_node_of_its_own(backend: str) -> None:
    # ∂(-log ŷ_ℓ)/∂ŷ = -e_ℓ / ŷ_ℓ; e_ℓ and e(ℓ) are the same vector.
    a, label = sg.vector("a", 3), sg.scalar("ℓ", "int64")
    y_hat = sg.nn.softmax(a)
    loss: Any = -np.log(y_hat[label])
    run = sg.compile([a, label], [y_hat, *sg.grad(loss, [y_hat, a])], backend=backend)
    for true in range(3):
        p, by_y_hat, by_a = run([1.0, 2, 3], true)
        np.testing.assert_allclose(by_y_hat, -np.eye(3)[true] / p[true], rtol=1e-13)
        np.testing.assert_allclose(by_a, -(np.eye(3)[true] - p), rtol=1e-13)


def test_multiclass_cross_entropy_with_l2(backend: str) -> None:
    X, Y = sg.matrix("X", ("n", 4)), sg.matrix("Y", ("n", 3))
    W, lam = sg.parameter("W", (4, 3)), sg.scalar("λ")
    probabilities = sg.nn.softmax(X @ W)
    F = np.mean(-np.sum(Y * np.log(probabilities), axis=1)) + lam / 2 * np.sum(W**2)
    run = sg.compile([X, Y, W, lam], sg.grad(F, W), backend=backend)
    rng = np.random.default_rng(1)
    data, labels, weights = (
        rng.normal(size=(7, 4)),
        np.eye(3)[rng.integers(0, 3, 7)],
        rng.normal(size=(4, 3)),
    )
    got = run(data, labels, weights, 0.1)
    for k in range(3):
        terms = [(softmax(x @ weights)[k] - y[k]) * x for x, y in zip(data, labels, strict=True)]
        expected = sum(terms) / 7 + 0.1 * weights[:, k]
        np.testing.assert_allclose(got[:, k], expected, rtol=1e-12, atol=1e-14)


# Activations

POINTS = np.array([-2.0, -0.5, 0.0, 0.5, 3.0])


def of_mpmath(f: Callable[[Any], Any]) -> Callable[[Array], Array]:
    return lambda x: np.array([float(f(mpmath.mpf(v))) for v in x])


def pieces(below: float, at_zero: float, above: float) -> Callable[[Array], Array]:
    return lambda x: np.where(x < 0, below, np.where(x > 0, above, at_zero))


@pytest.mark.parametrize(
    ("f", "value", "derivative"),
    [
        pytest.param(sg.nn.sigmoid, of_mpmath(lambda x: 1 / (1 + mpmath.exp(-x))),
                     lambda x: sigmoid(x) * (1 - sigmoid(x)), id="sigmoid"),
        pytest.param(np.tanh, of_mpmath(mpmath.tanh), lambda x: 1 - np.tanh(x) ** 2, id="tanh"),
        pytest.param(sg.nn.softplus, of_mpmath(lambda x: mpmath.log(1 + mpmath.exp(x))),
                     sigmoid, id="softplus"),
        pytest.param(lambda x: np.log(1 + np.exp(x)),
                     of_mpmath(lambda x: mpmath.log(1 + mpmath.exp(x))), sigmoid,
                     id="softplus written out"),
        # "Clip the gradient when you pass zero": relu'(0) = 0.
        pytest.param(sg.nn.relu, lambda x: np.maximum(x, 0), pieces(0, 0, 1), id="relu"),
        pytest.param(np.abs, np.abs, pieces(-1, 0, 1), id="absolute"),
        pytest.param(sg.nn.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x),
                     pieces(0.01, 0.01, 1), id="leaky relu"),
        # α = -1 makes it |x|.
        pytest.param(lambda x: sg.nn.leaky_relu(x, -1.0), np.abs, pieces(-1, -1, 1), id="slope -1"),
        pytest.param(sg.nn.step, lambda x: (x >= 0) * 1.0, pieces(0, 0, 0), id="step"),
        pytest.param(lambda x: 2 * x + 1, lambda x: 2 * x + 1, pieces(2, 2, 2), id="linear"),
    ],
)  # fmt: skip
def test_activation(
    f: Callable[[Any], Any],
    value: Callable[[Array], Array],
    derivative: Callable[[Array], Array],
    backend: str,
) -> None:
    z = sg.vector("z", "n")
    y = f(z)
    found, slope = sg.compile([z], [y, sg.grad(np.sum(y), z)], backend=backend)(POINTS)
    np.testing.assert_allclose(found, value(POINTS), rtol=1e-13)
    np.testing.assert_allclose(slope, derivative(POINTS), rtol=1e-13)


def test_prelu_learns_its_slope(backend: str) -> None:
    z, alpha, shared = sg.matrix("z", ("n", 2)), sg.parameter("α", (2,)), sg.parameter("a", ())
    written: Any = np.maximum(0, z) + alpha * np.minimum(0, z)
    h, one = sg.nn.prelu(z, alpha), sg.nn.prelu(z, shared)
    outputs = [h, written, sg.grad(np.sum(h), alpha), sg.grad(np.sum(written), alpha)]
    run = sg.compile([z, alpha, shared], [*outputs, sg.grad(np.sum(one), shared)], backend=backend)
    at = np.array([[1.0, -2.0], [-3.0, 4.0], [-0.5, -0.25]])
    value, by_hand, by_alpha, by_written, by_shared = run(at, [0.25, 0.5], 0.1)
    np.testing.assert_array_equal(value, [[1, -1], [-0.75, 4], [-0.125, -0.125]])
    np.testing.assert_array_equal(by_hand, value)
    np.testing.assert_array_equal(by_alpha, [-3.5, -2.25])  # min(0, z), summed
    np.testing.assert_array_equal(by_written, [-3.5, -2.25])
    assert by_shared == -5.75


def test_log_of_one_plus_exp_of_minus_x(backend: str) -> None:
    x = sg.scalar("x")
    h = np.log(1 + np.exp(-x))
    run = sg.compile([x], [h, sg.grad(h, x)], backend=backend)
    assert tuple(map(float, run(1.0))) == pytest.approx(
        (0.31326168751822286, -0.2689414213699951), rel=1e-14
    )
    assert tuple(map(float, run(-1000.0))) == (1000, -1)
    assert tuple(map(float, run(1000.0))) == (0, 0)
    for at in (-30.0, -1.0, 0.0, 20.0, 100.0):
        e = mpmath.exp(-mpmath.mpf(at))
        expected = (float(mpmath.log1p(e)), float(-e / (1 + e)))
        assert tuple(map(float, run(at))) == pytest.approx(expected, rel=1e-14)


# Depth


def test_derivatives_by_every_layer_from_one_sweep(backend: str) -> None:
    x = sg.scalar("x")
    layers: list[Any] = [x]
    for f in (np.sin, np.exp, np.tanh, sg.nn.sigmoid, np.cos):
        layers.append(f(layers[-1]))
    record = Sweep()
    build_grad({layers[-1].node: ones(layers[-1].node)}, [u.node for u in layers], record)
    assert len(record.contributions) == 5  # one step for each layer serves all dx_n/dx_i
    run = sg.compile([x], [*layers, *sg.grad(layers[-1], layers)], backend=backend)
    found = run(0.7)
    u, table = found[:6], found[6:]
    steps = [np.cos(u[0]), np.exp(u[1]), 1 - np.tanh(u[2]) ** 2, u[4] * (1 - u[4]), -np.sin(u[4])]
    np.testing.assert_allclose(table, [*np.cumprod(steps[::-1])[::-1], 1], rtol=1e-13)


@pytest.mark.parametrize(
    ("layer", "depth", "expected"),
    [
        (lambda x: 0.01 * x, 10, 1e-20),
        (lambda x: sg.nn.sigmoid(x) - 0.5, 10, 9.5367431640625e-07),
        # 13781 is 13780.61 rounded; the slide keeps "gradients → 0.01" from the one before.
        (lambda x: 1.1 * x, 100, 13780.61233982238),
    ],
    ids=["0.01^n", "sigmoid: 0.25^10", "1.1^100"],
)
def test_gradients_vanish_and_explode(
    layer: Callable[[Any], Any], depth: int, expected: float, backend: str
) -> None:
    x = sg.scalar("x")
    u = x
    for _ in range(depth):
        u = layer(u)
    got = sg.compile([x], sg.grad(u, x), backend=backend)(0.0)
    assert got == pytest.approx(expected, rel=1e-13)


def test_slope_of_sigmoid_is_at_most_a_quarter(backend: str) -> None:
    x = sg.vector("x", "n")
    slope = sg.compile([x], sg.grad(np.sum(sg.nn.sigmoid(x)), x), backend=backend)
    at = np.linspace(-40, 40, 801)
    assert np.all(slope(at) <= 0.25) and np.argmax(slope(at)) == 400
    assert slope([0.0]) == 0.25


def test_goldman_equation(backend: str) -> None:
    # The deck's "log" is log₁₀; the natural logarithm would give -150.1 mV.
    K_out, Na_out = sg.scalar("K_o"), sg.scalar("Na_o")
    ratio = (40 * K_out + 1 * Na_out) / (40 * 100 + 1 * 15)
    V: Any = 61.54 * np.log10(ratio)
    outputs = [V, sg.grad(V, K_out), 61.54 * np.log(ratio)]
    value, slope, natural = sg.compile([K_out, Na_out], outputs, backend=backend)(5.0, 150.0)
    assert value == pytest.approx(-65.20886, abs=5e-6)
    assert slope == pytest.approx(61.54 / np.log(10) * 40 / 350, rel=1e-14)
    assert natural == pytest.approx(-150.1, abs=0.05)
