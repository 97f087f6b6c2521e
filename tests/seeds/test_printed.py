"""Seed cases whose row asks for a printed formula: the parts that a reader must find in it.

Spacing and the names of shared parts are left open here; each test names the textbook's own form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symgrad as sg


def printed(tensor: sg.Tensor) -> str:
    return " ".join(str(tensor).split())


# Section 1


def test_algorithm_6_4_prints_as_in_the_book() -> None:
    # g ⊙ f'(a), g hᵀ and Wᵀ g
    x, y = sg.vector("x", 3), sg.vector("y", 2)
    W1, b1 = sg.parameter("W1", (4, 3)), sg.parameter("b1", (4,))
    W2, b2 = sg.parameter("W2", (2, 4)), sg.parameter("b2", (2,))
    h1: Any = np.tanh(W1 @ x + b1)
    h2 = np.tanh(W2 @ h1 + b2)
    J = np.sum((h2 - y) ** 2) / 2
    by_W1, by_W2, by_h1 = map(printed, sg.grad(J, [W1, W2, h1]))
    assert by_W1.startswith("∂J/∂W₁ = ") and " xᵀ where" in by_W1
    assert "⊙ (1 − h₁²)" in by_W1 and "⊙ (1 − h₂²)" in by_W1
    assert "W₂ᵀ " in by_W1 and "h₂ − y" in by_W1
    assert by_W2.startswith("∂J/∂W₂ = ") and "h₁ᵀ where" in by_W2
    assert by_h1.startswith("∂J/∂h₁ = W₂ᵀ ")


def test_algorithm_6_4_prints_the_regularizer() -> None:
    x, y, lam = sg.vector("x", 3), sg.vector("y", 2), sg.scalar("λ")
    W, b = sg.parameter("W", (2, 3)), sg.parameter("b", (2,))
    h = np.tanh(W @ x + b)
    J = np.sum((h - y) ** 2) / 2 + lam * (np.sum(W**2) + np.sum(b**2)) / 2
    by_W, by_b = map(printed, sg.grad(J, [W, b]))
    assert "λ W" in by_W and "xᵀ" in by_W
    assert "λ b" in by_b and "⊙ (1 − h²)" in by_b


def test_design_example_of_two_layers() -> None:
    x, t = sg.matrix("x", ("n", 4)), sg.tensor("t", ("n",), "int64")
    W1, b1 = sg.parameter("W1", (4, 5)), sg.parameter("b1", (5,))
    W2, b2 = sg.parameter("W2", (5, 3)), sg.parameter("b2", (3,))
    h1 = np.tanh(x @ W1 + b1)
    loss = sg.nn.cross_entropy(h1 @ W2 + b2, t)
    by_W1, by_b2 = map(printed, sg.grad(loss, [W1, b2]))
    assert by_W1.startswith("∂loss/∂W₁ = xᵀ δ₁ where")
    for part in (
        "δ₂ = (softmax(h₁ W₂ + b₂) − onehot(t)) / n",
        "δ₁ = (δ₂ W₂ᵀ) ⊙ (1 − h₁²)",
        "h₁ = tanh(x W₁ + b₁)",
    ):
        assert part in by_W1
    assert by_b2.startswith(("∂loss/∂b₂ = Σₙ", "∂loss/∂b₂ = 1ᵀ"))


# Section 2


def test_radial_basis_gradient() -> None:
    # ∂φ/∂x = −2 ε² (x − x_i) φ
    x, centre, eps = sg.vector("x", 3), sg.vector("x_i", 3), sg.scalar("ε")
    phi: Any = np.exp(-(eps**2 * np.sum((x - centre) ** 2)))
    answer, _, lets = printed(sg.grad(phi, x)).partition(" where ")
    assert answer.startswith("∂φ/∂x = ")
    assert "−2" in answer and "ε²" in answer and "φ" in answer
    assert "x − x_i" in answer + lets and "φ = exp(−" in lets


def test_radial_basis_gradient_with_the_norm_of_the_deck() -> None:
    x, centre, eps = sg.vector("x", 3), sg.vector("x_i", 3), sg.scalar("ε")
    phi: Any = np.exp(-((eps * np.linalg.norm(x - centre)) ** 2))
    answer, _, lets = printed(sg.grad(phi, x)).partition(" where ")
    assert "ε²" in answer and "x − x_i" in answer + lets
    assert "√" not in answer + lets and "^(" not in answer + lets


def test_thin_deep_chain_prints_its_seven_factors() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    W111, W211, WL11 = sg.scalar("W_111"), sg.scalar("W_211"), sg.scalar("W_L11")
    h11 = np.tanh(W111 * x)
    h21 = np.tanh(W211 * h11)
    ŷ = sg.nn.sigmoid(WL11 * h21)
    loss = (ŷ - y) ** 2 / 2
    text = printed(sg.grad(loss, W111))
    for factor in ("(ŷ − y)", "= ŷ ", "(1 − ŷ)", "W_L₁₁", "(1 − h₂₁²)", "W₂₁₁", "(1 − h₁₁²)", " x"):
        assert factor in text
    assert text.startswith("∂loss/∂W₁₁₁ = ")


def test_both_conventions_print_the_right_transpose() -> None:
    x, c = sg.vector("x", 3), sg.vector("c", 2)
    W, V = sg.matrix("W", (3, 2)), sg.matrix("V", (2, 3))
    h: Any = np.tanh(W.T @ x + c)
    k: Any = np.tanh(V @ x + c)
    J = np.sum(k)
    assert printed(h) == "h = tanh(Wᵀ x + c)"
    assert printed(k) == "k = tanh(V x + c)"
    assert printed(sg.grad(J, V)).startswith("∂J/∂V = (1 − k²) xᵀ")


def test_gradient_by_a_transposed_weight_matrix_has_no_double_transpose() -> None:
    x, c, W = sg.vector("x", 3), sg.vector("c", 2), sg.matrix("W", (3, 2))
    h = np.tanh(W.T @ x + c)
    J = np.sum(h)
    assert printed(sg.grad(J, W)).startswith("∂J/∂W = x (1 − h²)ᵀ")


# Section 3


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ("half", "∂loss/∂w = Xᵀ (X w − y)"),
        ("sum", "∂loss/∂w = 2 Xᵀ (X w − y)"),
        ("mean", "∂loss/∂w = 2 Xᵀ (X w − y) / n"),
        ("half mean", "∂loss/∂w = Xᵀ (X w − y) / n"),
    ],
)
def test_least_squares_constants(factor: str, expected: str) -> None:
    X, w, y = sg.matrix("X", ("n", 3)), sg.parameter("w", (3,)), sg.vector("y", "n")
    squares = (X @ w - y) ** 2
    choices: dict[str, Any] = {
        "half": np.sum(squares) / 2,
        "sum": np.sum(squares),
        "mean": np.mean(squares),
        "half mean": np.mean(squares) / 2,
    }
    loss = choices[factor] * 1
    assert printed(sg.grad(loss, w)) == expected


def test_least_squares_with_the_residual_the_other_way_round() -> None:
    X, w, y = sg.matrix("X", ("n", 3)), sg.parameter("w", (3,)), sg.vector("y", "n")
    E = np.sum((y - X @ w) ** 2)
    text = printed(sg.grad(E, w))
    assert text in ("∂E/∂w = −2 Xᵀ (y − X w)", "∂E/∂w = 2 Xᵀ (X w − y)")


def test_logistic_regression() -> None:
    X, w, y = sg.matrix("X", ("n", 3)), sg.parameter("w", (3,)), sg.vector("y", "n")
    loss = sg.nn.binary_cross_entropy_with_logits(X @ w, y)
    assert printed(sg.grad(loss, w)) == "∂loss/∂w = Xᵀ (σ(X w) − y) / n"


def test_bernoulli_loss() -> None:
    # J = −y log σ(z) − (1 − y) log(1 − σ(z)) prints as σ(z) − y; ζ((1 − 2y) z) as
    # (1 − 2y) σ((1 − 2y) z), which is the same for y = 0 and y = 1 only.
    y, z = sg.scalar("y"), sg.scalar("z")
    p = sg.nn.sigmoid(z)
    J = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert printed(sg.grad(J, z)) == "∂J/∂z = σ(z) − y"
    J = sg.nn.softplus((1 - 2 * y) * z)
    text = printed(sg.grad(J, z))
    assert "1 − 2 y" in text and "σ(" in text and "−σ(" not in text


def test_softmax_cross_entropy() -> None:
    a, t = sg.vector("a", 3), sg.scalar("ℓ", "int64")
    loss = sg.nn.cross_entropy(a, t)
    assert printed(sg.grad(loss, a)) == "∂loss/∂a = softmax(a) − onehot(ℓ)"


def test_prelu_slope() -> None:
    z, alpha = sg.vector("z", 4), sg.scalar("α")
    J = np.sum(np.maximum(0, z) + alpha * np.minimum(0, z))
    assert printed(sg.grad(J, alpha)) == "∂J/∂α = Σ min(0, z)"


# Section 4


def test_f_of_f_of_f_prints_the_chain_rule() -> None:
    w = sg.scalar("w")
    z: Any = np.sin(np.sin(np.sin(w)))
    assert printed(sg.grad(z, w)) == "∂z/∂w = cos(sin(sin(w))) cos(sin(w)) cos(w)"


def test_cos_of_sin_of_x_squared_prints_its_shared_part() -> None:
    x = sg.scalar("x")
    J = np.cos(np.sin(x**2) + 3 * x**2)
    text = printed(sg.grad(J, x))
    for part in ("x²", "cos(", "sin(", "3", "2"):
        assert part in text


def test_quiz_2_prints_sigma_prime_as_y_one_minus_y() -> None:
    x, beta, alpha = sg.vector("x", 4), sg.vector("β", 3), sg.matrix("α", (3, 4))
    h = sg.nn.sigmoid(alpha @ x)
    y = sg.nn.sigmoid(beta @ h)
    by_beta, by_alpha = map(printed, sg.grad(y, [beta, alpha]))
    assert "y (1 − y) h" in by_beta
    assert "h ⊙ (1 − h)" in by_alpha and "xᵀ" in by_alpha
