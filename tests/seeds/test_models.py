"""Seed cases, section 2: the models of the decks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from tests.oracles import Array, difference, sigmoid, softmax

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)
TARGET = np.array([0, 1, 1, 0], dtype=np.float64)


def test_perceptron_steps_and_has_no_gradient(backend: str) -> None:
    x, w = sg.vector("x", 3), sg.parameter("w", (3,))
    output = sg.nn.step(x @ w)
    run = sg.compile([x, w], [output, sg.grad(output, w)], backend=backend)
    for at, expected in (([1, 1, 1], 1), ([1, -2, 1], 1), ([0, -2, 1], 0)):  # f(0) = 1
        y, gradient = run(at, [1.0, 1.0, 1.0])
        assert y == expected
        np.testing.assert_array_equal(gradient, np.zeros(3))
    with pytest.raises(sg.errors.GradientError) as caught:
        sg.grad(output, w, disconnected="raise")
    assert "with respect to w is zero" in str(caught.value)
    assert "greater_equal: a comparison is piecewise constant" in str(caught.value)


def test_linear_model_cannot_represent_xor(backend: str) -> None:
    X, y = sg.matrix("X", ("n", 2)), sg.vector("y", "n")
    theta = sg.parameter("θ", (3,))
    J = np.sum((y - (X @ theta[:2] + theta[2])) ** 2) / 4
    outputs = [J, sg.grad(J, theta), sg.hessian(J, theta)]
    loss, gradient, H = sg.compile([X, y, theta], outputs, backend=backend)(
        XOR, TARGET, [0, 0, 0.5]
    )
    assert loss == 0.25
    np.testing.assert_allclose(gradient, np.zeros(3), atol=1e-15)
    assert np.all(np.linalg.eigvalsh(H) > 0)  # so w = 0, b = 1/2 is the optimum
    design = np.column_stack([XOR, np.ones(4)])
    np.testing.assert_allclose(H, 2 / 4 * design.T @ design, rtol=1e-13)


def test_xor_network_of_the_deck(backend: str) -> None:
    # Wᵀx + c for one x, as here, is X W + c for rows; Alg 6.3 in the same deck has W h instead.
    X, y = sg.matrix("X", ("n", 2)), sg.vector("y", "n")
    W, c, w, b = sg.matrix("W", (2, 2)), sg.vector("c", 2), sg.vector("w", 2), sg.scalar("b")
    a = X @ W + c
    h = np.maximum(0, a)
    prediction = h @ w + b
    J: Any = np.mean((y - prediction) ** 2)
    values = XOR, TARGET, [[1, 1], [1, 1]], [0, -1], [1, -2], 0
    outputs = [a, h, prediction, J, *sg.grad(J, [W, c, w, b])]
    run = sg.compile([X, y, W, c, w, b], outputs, backend=backend)
    got_a, got_h, got_y, loss, *gradients = run(*values)
    np.testing.assert_array_equal(got_a, [[0, -1], [1, 0], [1, 0], [2, 1]])
    np.testing.assert_array_equal(got_h, [[0, 0], [1, 0], [1, 0], [2, 1]])
    np.testing.assert_array_equal(got_y, [0, 1, 1, 0])
    assert loss == 0
    for gradient in gradients:  # the residual is 0, so the kinks at a = 0 do not matter
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def trained_on_xor(units: int, seeds: int, backend: str) -> Array:
    """Return the final MSE for each seed: all seeds train at once, side by side."""
    X = sg.matrix("X", (4, 2))
    W, c = sg.parameter("W", ("s", 2, units)), sg.parameter("c", ("s", 1, units))
    w, b = sg.parameter("w", ("s", units, 1)), sg.parameter("b", ("s", 1, 1))
    prediction = sg.nn.relu(X @ W + c) @ w + b
    mse = np.mean((prediction[:, :, 0] - TARGET) ** 2, axis=1)
    theta = [W, c, w, b]
    run = sg.compile([X, *theta], [mse, *sg.grad(np.sum(mse), theta)], backend=backend)

    draws = [np.random.default_rng(seed) for seed in range(seeds)]
    values = [
        np.stack([rng.normal(0, 0.3, (2, units)) for rng in draws]),
        np.full((seeds, 1, units), 0.1),
        np.stack([rng.normal(0, 0.3, (units, 1)) for rng in draws]),
        np.full((seeds, 1, 1), 0.1),
    ]
    speeds = [np.zeros_like(p) for p in values]
    for _ in range(1000):
        _, *gradients = run(XOR, *values)
        speeds = [0.9 * v - 0.1 * g for v, g in zip(speeds, gradients, strict=True)]
        values = [p + v for p, v in zip(values, speeds, strict=True)]
    result: Array = run(XOR, *values)[0]
    return result


def test_training_xor_needs_more_units_than_representing_it(backend: str) -> None:
    # Two units suffice to represent XOR, but units that die never come back.
    assert np.sum(trained_on_xor(8, 20, backend) < 1e-3) >= 18
    assert 2 <= np.sum(trained_on_xor(2, 20, backend) < 1e-3) <= 9


def test_radial_basis_features(backend: str) -> None:
    x, centre, eps = sg.vector("x", 3), sg.vector("x_i", 3), sg.scalar("ε")
    phi: Any = np.exp(-((eps * np.linalg.norm(x - centre)) ** 2))
    run = sg.compile([x, centre, eps], [phi, sg.grad(phi, x)], backend=backend)
    at, middle, e = np.array([1.0, 0.5, -0.3]), np.array([0.2, 0.7, 0.1]), 1.5
    value, gradient = run(at, middle, e)
    expected = np.exp(-(e**2) * ((at - middle) ** 2).sum())
    assert value == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(gradient, -2 * e**2 * (at - middle) * expected, rtol=1e-13)


def test_radial_basis_feature_is_smooth_at_its_centre(backend: str) -> None:
    x, centre = sg.vector("x", 2), sg.vector("x_i", 2)
    phi = np.exp(-np.sum((x - centre) ** 2))
    gradient = sg.compile([x, centre], sg.grad(phi, x), backend=backend)([1.0, 2.0], [1.0, 2.0])
    np.testing.assert_array_equal(gradient, np.zeros(2))


def test_three_layer_mlp_all_six_gradients(backend: str) -> None:
    n, k = 4, 3
    shapes = [(n, n), (n, n), (k, n), (n,), (n,), (k,)]  # W₃ is k×n: the deck's n×k is a slip
    names = ["W1", "W2", "W3", "b1", "b2", "b3"]
    theta = [sg.parameter(name, shape) for name, shape in zip(names, shapes, strict=True)]
    x, y = sg.vector("x", n), sg.vector("y", k)

    def loss(theta: list[Any], x: Any, y: Any, output: Callable[[Any], Any]) -> Any:
        W1, W2, W3, b1, b2, b3 = theta
        return -np.sum(y * np.log(output(W3 @ np.tanh(W2 @ np.tanh(W1 @ x + b1) + b2) + b3)))

    gradients = sg.grad(loss(theta, x, y, sg.nn.softmax), theta)
    assert [g.shape for g in gradients] == shapes
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in shapes]
    at, target = rng.normal(size=n), np.array([0.2, 0.5, 0.3])
    found = sg.compile([x, y, *theta], gradients, backend=backend)(at, target, *values)
    for i, (got, value) in enumerate(zip(found, values, strict=True)):

        def moved(p: Array, i: int = i) -> Any:
            return loss([*values[:i], p, *values[i + 1 :]], at, target, softmax)

        np.testing.assert_allclose(got, difference(moved, value), rtol=1e-9, atol=1e-10)


def test_thin_deep_chain_is_a_product_of_seven_factors(backend: str) -> None:
    # The deck's line is garbled; the order is ŷ, a_L11, h_21, a_21, h_11, a_11, W_111.
    x, y = sg.scalar("x"), sg.scalar("y")
    W111, W211, WL11 = sg.scalar("W_111"), sg.scalar("W_211"), sg.scalar("W_L11")
    a11 = W111 * x
    h11 = np.tanh(a11)
    a21 = W211 * h11
    h21 = np.tanh(a21)
    aL11 = WL11 * h21
    prediction = sg.nn.sigmoid(aL11)
    loss = (prediction - y) ** 2 / 2
    chain: list[Any] = [prediction, aL11, h21, a21, h11, a11]
    declared = [x, y, W111, W211, WL11]
    outputs = [*chain, sg.grad(loss, W111), *sg.grad(loss, chain)]
    *values, gradient, by_y, by_aL, by_h2, by_a2, by_h1, by_a1 = sg.compile(
        declared, outputs, backend=backend
    )(0.7, 1.0, 0.5, -1.2, 2.0)
    y_hat, _, h2, _, h1, _ = values
    factors = [y_hat - 1.0, y_hat * (1 - y_hat), 2.0, 1 - h2**2, -1.2, 1 - h1**2, 0.7]
    assert len(factors) == 7
    assert gradient == pytest.approx(np.prod(factors), rel=1e-14)
    partial_products = np.cumprod(factors)[:6]
    np.testing.assert_allclose([by_y, by_aL, by_h2, by_a2, by_h1, by_a1], partial_products, 1e-13)


def test_case_1_logistic_regression(backend: str) -> None:
    # The deck's J is the log-likelihood, to be maximised; the loss is its negative.
    x, theta, target = sg.vector("x", 3), sg.vector("θ", 3), sg.scalar("y*")
    y: Any = 1 / (1 + np.exp(-(theta @ x)))
    J = target * np.log(y) + (1 - target) * np.log(1 - y)
    outputs = [y, J, *sg.grad(J, [theta, x]), sg.grad(-J, theta)]
    run = sg.compile([x, theta, target], outputs, backend=backend)
    at, weights = np.array([1, 2, 0.5]), np.array([0.5, -1, 2])
    value, log_likelihood, by_theta, by_x, by_loss = run(at, weights, 1.0)
    assert value == pytest.approx(0.3775406687981454, rel=1e-14)
    assert log_likelihood == pytest.approx(-0.9740769841801068, rel=1e-14)
    np.testing.assert_allclose(by_theta, [0.62245933, 1.24491866, 0.31122967], atol=5e-9)
    np.testing.assert_allclose(by_x, (1 - value) * weights, rtol=1e-13)
    np.testing.assert_allclose(by_loss, -by_theta, rtol=1e-13)
    np.testing.assert_allclose(run(at, weights, 0.0)[2], -value * at, rtol=1e-13)


def test_case_2_modules_1_to_5(backend: str) -> None:
    x, alpha, beta = sg.vector("x", 3), sg.matrix("α", (4, 3)), sg.vector("β", 4)
    target = sg.scalar("y*")
    a = alpha @ x
    z = sg.nn.sigmoid(a)
    b = beta @ z
    y: Any = 1 / (1 + np.exp(-b))
    J = target * np.log(y) + (1 - target) * np.log(1 - y)
    wrt = [y, b, beta, z, a, alpha, x]
    run = sg.compile([x, alpha, beta, target], sg.grad(J, wrt), backend=backend)
    rng = np.random.default_rng(1)
    at, A, B = rng.normal(size=3), rng.normal(size=(4, 3)), rng.normal(size=4)
    for label in (0.0, 1.0):
        found = run(at, A, B, label)
        hidden = sigmoid(A @ at)
        output = sigmoid(B @ hidden)
        by_y = label / output + (1 - label) / (output - 1)  # module 5
        e = np.exp(-(B @ hidden))
        by_b = by_y * e / (e + 1) ** 2  # module 4
        by_beta, by_z = by_b * hidden, by_b * B  # module 3
        e = np.exp(-(A @ at))
        by_a = by_z * e / (e + 1) ** 2  # module 2
        by_alpha = np.outer(by_a, at)  # module 1
        by_x = A.T @ by_a  # Σ_j (dJ/da_j) α_ji, not dJ/da_j Σ_j α_ji
        by_hand = [by_y, by_b, by_beta, by_z, by_a, by_alpha, by_x]
        for got, expected in zip(found, by_hand, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_sigmoid_network_a_to_f_with_quadratic_loss(backend: str) -> None:
    # b = Σ β_j z_j from j = 0 needs z_0 = 1 for a bias; z_j as defined is a sigmoid for all j.
    x, alpha, beta = sg.vector("x", 3), sg.matrix("α", (4, 3)), sg.vector("β", 4)
    target = sg.scalar("y*")

    def loss(x: Any, alpha: Any, beta: Any, target: Any) -> Any:
        z = 1 / (1 + np.exp(-(alpha @ x)))
        y = 1 / (1 + np.exp(-(beta @ z)))
        return (y - target) ** 2 / 2

    wrt = [x, alpha, beta]
    gradients = sg.grad(loss(x, alpha, beta, target), wrt)
    rng = np.random.default_rng(2)
    values = [rng.normal(size=t.shape) for t in wrt]
    found = sg.compile([*wrt, target], gradients, backend=backend)(*values, 0.8)
    for i, (got, value) in enumerate(zip(found, values, strict=True)):

        def moved(p: Array, i: int = i) -> Any:
            moved = [*values[:i], p, *values[i + 1 :]]
            return loss(moved[0], moved[1], moved[2], 0.8)

        np.testing.assert_allclose(got, difference(moved, value), rtol=1e-9, atol=1e-11)


def test_theta_network_of_5_3_3_units_without_bias(backend: str) -> None:
    # "h_Θ(x) = g(Θ⁽²⁾ a)": a is h¹ = g(Θ⁽¹⁾ x).
    x, first, second = sg.vector("x", 5), sg.matrix("Θ1", (3, 5)), sg.matrix("Θ2", (3, 3))
    h1 = sg.nn.sigmoid(first @ x)
    h = sg.nn.sigmoid(second @ h1)
    gradients = sg.grad(np.sum(h), [first, second])
    assert (h1.shape, h.shape) == ((3,), (3,))
    assert [g.shape for g in gradients] == [(3, 5), (3, 3)]
    rng = np.random.default_rng(3)
    at, A, B = rng.normal(size=5), rng.normal(size=(3, 5)), rng.normal(size=(3, 3))
    value, by_A, by_B = sg.compile([x, first, second], [h, *gradients], backend=backend)(at, A, B)
    hidden = sigmoid(A @ at)
    out = sigmoid(B @ hidden)
    delta = out * (1 - out)
    np.testing.assert_allclose(value, out, rtol=1e-13)
    np.testing.assert_allclose(by_B, np.outer(delta, hidden), rtol=1e-13)
    below = (B.T @ delta) * hidden * (1 - hidden)
    np.testing.assert_allclose(by_A, np.outer(below, at), rtol=1e-12)


def test_maxout_takes_the_largest_of_k_pieces(backend: str) -> None:
    x, W, b = sg.vector("x", 4), sg.tensor("W", (3, 5, 4)), sg.matrix("b", (3, 5))
    h = np.max(W @ x + b, axis=1)  # g(z)_i = max_j z_ij for 3 units of k = 5 pieces
    rng = np.random.default_rng(4)
    at, weights, bias = rng.normal(size=4), rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 5))
    u = np.array([1.0, -2.0, 0.5])
    outputs = [h, *sg.vjp(h, [W, b], u)]
    value, by_W, by_b = sg.compile([x, W, b], outputs, backend=backend)(at, weights, bias)
    pieces = weights @ at + bias
    chosen = np.eye(5)[pieces.argmax(axis=1)] * u[:, None]
    np.testing.assert_allclose(value, pieces.max(axis=1), rtol=1e-13)
    np.testing.assert_array_equal(by_b, chosen)
    np.testing.assert_allclose(by_W, chosen[:, :, None] * at, rtol=1e-13)


def test_maxout_of_two_pieces_is_relu(backend: str) -> None:
    x, w, b = sg.matrix("x", ("n", 3)), sg.vector("w", 3), sg.scalar("b")
    z = x @ w + b
    maxout, relu = np.max(np.stack([0 * z, z], axis=-1), axis=-1), sg.nn.relu(z)
    outputs = [maxout, relu, *sg.grad(np.sum(maxout), [w, b]), *sg.grad(np.sum(relu), [w, b])]
    rng = np.random.default_rng(5)
    at, weights = rng.normal(size=(6, 3)), rng.normal(size=3)
    f, g, f_w, f_b, g_w, g_b = sg.compile([x, w, b], outputs, backend=backend)(at, weights, 0.3)
    active = (at @ weights + 0.3 > 0) * 1.0
    assert 0 < active.sum() < 6
    np.testing.assert_array_equal(f, g)
    for got in (f_w, g_w):
        np.testing.assert_allclose(got, at.T @ active, rtol=1e-13)
    assert f_b == g_b == active.sum()


def test_absolute_value_network_creates_mirror_images(backend: str) -> None:
    # Folding along x₁ = 0 and x₂ = 0: the function, and its gradient, are mirrored.
    x, W = sg.vector("x", 2), sg.matrix("W", (3, 2))
    y = np.sum(np.tanh(W @ np.abs(x)))
    run = sg.compile([x, W], [y, sg.grad(y, x)], backend=backend)
    rng = np.random.default_rng(6)
    at, weights = rng.uniform(0.2, 2, 2), rng.normal(size=(3, 2))
    expected = difference(lambda p: np.sum(np.tanh(weights @ np.abs(p))), at)
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        value, gradient = run(at * signs, weights)
        assert value == pytest.approx(np.sum(np.tanh(weights @ at)), rel=1e-14)
        np.testing.assert_allclose(gradient, expected * signs, rtol=1e-9)


def test_both_conventions_for_weights(backend: str) -> None:
    # h = g(Wᵀx + c) with W inputs×outputs, and h = g(Wx + b) with W outputs×inputs.
    x, c = sg.vector("x", 3), sg.vector("c", 2)
    tall, wide = sg.matrix("W", (3, 2)), sg.matrix("V", (2, 3))
    first, second = np.tanh(tall.T @ x + c), np.tanh(wide @ x + c)
    u = np.array([1.0, -0.5])
    outputs = [first, second, sg.vjp(first, tall, u), sg.vjp(second, wide, u)]
    rng = np.random.default_rng(7)
    at, weights, bias = rng.normal(size=3), rng.normal(size=(3, 2)), rng.normal(size=2)
    run = sg.compile([x, c, tall, wide], outputs, backend=backend)
    h, k, by_tall, by_wide = run(at, bias, weights, weights.T)
    delta = u * (1 - np.tanh(weights.T @ at + bias) ** 2)
    np.testing.assert_allclose(h, np.tanh(weights.T @ at + bias), rtol=1e-13)
    np.testing.assert_allclose(k, h, rtol=1e-13)
    np.testing.assert_allclose(by_tall, np.outer(at, delta), rtol=1e-13)
    np.testing.assert_allclose(by_wide, np.outer(delta, at), rtol=1e-13)
