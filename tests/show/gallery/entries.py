"""The gallery: a model, the gradient as its source prints it, in our notation.

Sources: GBC is Goodfellow, Bengio & Courville, Deep Learning (2016); MC is Petersen & Pedersen, The
Matrix Cookbook (2012), by equation; Giles is Collected matrix derivative results (2008); B is
Bishop, Pattern Recognition and Machine Learning (2006); S0 to S4 are five lecture decks on
back-propagation; C is any table of derivatives.

A printed gradient scores if it has the same form, or one that is shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import symgrad as sg
from symgrad import linalg, nn, special
from symgrad.tensor import Tensor


@dataclass(frozen=True)
class Entry:
    """A gradient: its source, what builds the value and the target, and the textbook's form."""

    source: str
    build: Callable[[], tuple[Any, Tensor]]
    expected: str


def scalar(f: Callable[[Any], Any]) -> Callable[[], tuple[Any, Tensor]]:
    """Return f of a number x, by x."""

    def build() -> tuple[Any, Tensor]:
        x = sg.scalar("x")
        return f(x), x

    return build


def vector(f: Callable[..., Any]) -> Callable[[], tuple[Any, Tensor]]:
    """Return f of vectors x, a, b and a matrix A, by x."""

    def build() -> tuple[Any, Tensor]:
        x, a, b = (sg.vector(name, "n") for name in "xab")
        return f(x, a, b, sg.matrix("A", ("n", "n"))), x

    return build


def matrix(f: Callable[..., Any]) -> Callable[[], tuple[Any, Tensor]]:
    """Return f of square matrices X, A, B and vectors a, b, by X."""

    def build() -> tuple[Any, Tensor]:
        X, A, B = (sg.matrix(name, ("n", "n")) for name in "XAB")
        return f(X, A, B, sg.vector("a", "n"), sg.vector("b", "n")), X

    return build


def batch(wrt: str, f: Callable[..., Any]) -> Callable[[], tuple[Any, Tensor]]:
    """Return f of samples X, targets y, labels t and parameters w, b, W, by one of these."""

    def build() -> tuple[Any, Tensor]:
        given = {
            "X": sg.matrix("X", ("n", "d")),
            "y": sg.vector("y", "n"),
            "t": sg.tensor("t", ("n",), "int64"),
            "w": sg.parameter("w", ("d",)),
            "b": sg.parameter("b"),
            "W": sg.parameter("W", ("d", "k")),
        }
        return f(**given), given[wrt]

    return build


def layer(wrt: str, f: Callable[..., Any]) -> Callable[[], tuple[Any, Tensor]]:
    """Return f of one sample x, targets y and parameters W, c, w, by one of these."""

    def build() -> tuple[Any, Tensor]:
        given = {
            "x": sg.vector("x", "d"),
            "y": sg.vector("y", "k"),
            "W": sg.parameter("W", ("k", "d")),
            "c": sg.parameter("c", ("k",)),
            "w": sg.parameter("w", ("k",)),
            "z": sg.vector("z", "k"),
        }
        return f(**given), given[wrt]

    return build


def log_det(x: Any) -> Any:
    return sg.log(linalg.det(x))


def norm2(x: Any) -> Any:
    return sg.sum(x**2)


CALCULUS = [
    Entry("C", scalar(lambda x: x**3), "3 x²"),
    Entry("C", scalar(lambda x: 1 / x), "−1 / x²"),
    Entry("C", scalar(lambda x: sg.sqrt(x)), "1 / (2 √x)"),
    Entry("C", scalar(lambda x: sg.exp(2 * x)), "2 exp(2 x)"),
    Entry("C", scalar(lambda x: sg.log(x)), "1 / x"),
    Entry("C", scalar(lambda x: sg.sin(x)), "cos(x)"),
    Entry("C", scalar(lambda x: sg.cos(x)), "−sin(x)"),
    Entry("C", scalar(lambda x: sg.tan(x)), "1 + tan(x)²"),
    Entry("C", scalar(lambda x: sg.arcsin(x)), "1 / √(1 − x²)"),
    Entry("C", scalar(lambda x: sg.arccos(x)), "−1 / √(1 − x²)"),
    Entry("C", scalar(lambda x: sg.arctan(x)), "1 / (1 + x²)"),
    Entry("C", scalar(lambda x: sg.sinh(x)), "cosh(x)"),
    Entry("C", scalar(lambda x: sg.cosh(x)), "sinh(x)"),
    Entry("C", scalar(lambda x: sg.tanh(x)), "1 − tanh(x)²"),
    Entry("C", scalar(lambda x: sg.exp(-(x**2))), "−2 x exp(−x²)"),
    Entry("C", scalar(lambda x: x * sg.log(x)), "log(x) + 1"),
    Entry("C", scalar(lambda x: x * sg.exp(x)), "exp(x) + x exp(x)"),
    Entry("C", scalar(lambda x: sg.sin(x) / x), "cos(x) / x − sin(x) / x²"),
    Entry("C", scalar(lambda x: sg.log(1 + x**2)), "2 x / (1 + x²)"),
    Entry("C", scalar(lambda x: sg.sqrt(1 + x**2)), "x / √(1 + x²)"),
    Entry("C", scalar(lambda x: sg.exp(sg.sin(x))), "cos(x) exp(sin(x))"),
    Entry("C", scalar(lambda x: sg.sin(x) ** 2), "2 sin(x) cos(x)"),
    Entry("C", scalar(lambda x: sg.sin(x**2)), "2 x cos(x²)"),
    Entry("C", scalar(lambda x: (2 * x + 1) ** 5), "10 (2 x + 1)⁴"),
    Entry("C", scalar(lambda x: 2**x), "2^x log(2)"),
    Entry("C", scalar(lambda x: special.erf(x)), "2 exp(−x²) / √π"),
    Entry("S1", scalar(lambda x: sg.log(1 + sg.exp(-x))), "−exp(−x) / (1 + exp(−x))"),
    Entry("S0", scalar(lambda x: sg.sin(sg.sin(sg.sin(x)))), "cos(sin(sin(x))) cos(sin(x)) cos(x)"),
]

ACTIVATIONS = [
    Entry("S0", scalar(lambda x: nn.sigmoid(x)), "σ(x) (1 − σ(x))"),
    Entry("S0", scalar(lambda x: nn.softplus(x)), "σ(x)"),
    Entry("S0", scalar(lambda x: nn.relu(x)), "1[x > 0]"),
    Entry("S2", scalar(lambda x: sg.tanh(x) ** 2), "2 tanh(x) (1 − tanh(x)²)"),
    Entry("S0", scalar(lambda x: sg.abs(x)), "sign(x)"),
    Entry("GBC 6.3", scalar(lambda x: nn.sigmoid(2 * x) * 2 - 1), "4 σ(2 x) (1 − σ(2 x))"),
    Entry("GBC 3.10", scalar(lambda x: sg.log(nn.sigmoid(x))), "1 − σ(x)"),
    Entry("GBC 3.10", scalar(lambda x: nn.softplus(x) - nn.softplus(-x)), "1"),
]

VECTORS = [
    Entry("MC 69", vector(lambda x, a, b, A: a @ x), "a"),
    Entry("MC 69", vector(lambda x, a, b, A: x @ a), "a"),
    Entry("C", vector(lambda x, a, b, A: sg.sum(x)), "1"),
    Entry("C", vector(lambda x, a, b, A: sg.mean(x)), "1 / n"),
    Entry("C", vector(lambda x, a, b, A: x @ x), "2 x"),
    Entry("C", vector(lambda x, a, b, A: norm2(x)), "2 x"),
    Entry("C", vector(lambda x, a, b, A: norm2(x - a)), "2 (x − a)"),
    Entry("C", vector(lambda x, a, b, A: norm2(x - a) / 2), "x − a"),
    Entry("MC 129", vector(lambda x, a, b, A: sg.norm(x - a)), "(x − a) / ‖x − a‖"),
    Entry("MC 81", vector(lambda x, a, b, A: x @ A @ x), "(A + Aᵀ) x"),
    Entry("MC 81", vector(lambda x, a, b, A: x @ A @ x + b @ x), "(A + Aᵀ) x + b"),
    Entry("MC 84", vector(lambda x, a, b, A: norm2(A @ x - b)), "2 Aᵀ (A x − b)"),
    Entry("MC 84", vector(lambda x, a, b, A: norm2(A @ x - b) / 2), "Aᵀ (A x − b)"),
    Entry("GBC 4.22", vector(lambda x, a, b, A: 0.5 * norm2(A @ x - b)), "Aᵀ A x − Aᵀ b"),
    Entry("C", vector(lambda x, a, b, A: a @ A @ x), "Aᵀ a"),
    Entry("C", vector(lambda x, a, b, A: sg.exp(a @ x)), "exp(aᵀ x) a"),
    Entry("C", vector(lambda x, a, b, A: sg.log(a @ x)), "a / (aᵀ x)"),
    Entry("B 4.88", vector(lambda x, a, b, A: nn.sigmoid(a @ x)), "σ(aᵀ x) (1 − σ(aᵀ x)) a"),
    Entry("C", vector(lambda x, a, b, A: sg.log(1 + sg.exp(a @ x))), "σ(aᵀ x) a"),
    Entry("C", vector(lambda x, a, b, A: sg.tanh(a @ x)), "(1 − tanh(aᵀ x)²) a"),
    Entry("GBC 6.2", vector(lambda x, a, b, A: special.logsumexp(x)), "softmax(x)"),
    Entry("C", vector(lambda x, a, b, A: -sg.sum(x * sg.log(x))), "−(log(x) + 1)"),
    Entry("C", vector(lambda x, a, b, A: sg.sum(a * sg.log(a / x))), "−a / x"),
    Entry("C", vector(lambda x, a, b, A: sg.sum(x * sg.log(x / a))), "log(x / a) + 1"),
    Entry("C", vector(lambda x, a, b, A: sg.sum(sg.exp(x))), "exp(x)"),
    Entry("C", vector(lambda x, a, b, A: sg.sum(x**3) / 3), "x²"),
    Entry("C", vector(lambda x, a, b, A: sg.sum(sg.abs(x))), "sign(x)"),
    Entry("C", vector(lambda x, a, b, A: (a @ x) ** 2), "2 aᵀ x a"),
    Entry("C", vector(lambda x, a, b, A: sg.sum(a * x**2)), "2 a ⊙ x"),
    Entry("GBC 6.29", vector(lambda x, a, b, A: a @ nn.softmax(x)),
          "softmax(x) ⊙ (a − aᵀ softmax(x))"),
    Entry("C", vector(lambda x, a, b, A: sg.exp(-norm2(x - a) / 2)), "−exp(−‖x − a‖² / 2) (x − a)"),
    Entry("C", vector(lambda x, a, b, A: sg.log(norm2(x))), "2 x / ‖x‖²"),
    Entry("S0", vector(lambda x, a, b, A: norm2(x - sg.mean(x)) / 2), "x − Σ x / n"),
    Entry("B 1.46", vector(lambda x, a, b, A: sg.sum((x - a) ** 2 / b)), "2 (x − a) / b"),
]  # fmt: skip

MATRICES = [
    Entry("MC 70", matrix(lambda X, A, B, a, b: a @ X @ b), "a bᵀ"),
    Entry("MC 71", matrix(lambda X, A, B, a, b: a @ X.T @ b), "b aᵀ"),
    Entry("MC 72", matrix(lambda X, A, B, a, b: a @ X @ a), "a aᵀ"),
    Entry("MC 99", matrix(lambda X, A, B, a, b: sg.trace(X)), "I"),
    Entry("MC 100", matrix(lambda X, A, B, a, b: sg.trace(X @ A)), "Aᵀ"),
    Entry("MC 101", matrix(lambda X, A, B, a, b: sg.trace(A @ X @ B)), "Aᵀ Bᵀ"),
    Entry("MC 102", matrix(lambda X, A, B, a, b: sg.trace(A @ X.T @ B)), "B A"),
    Entry("MC 103", matrix(lambda X, A, B, a, b: sg.trace(X.T @ A)), "A"),
    Entry("MC 106", matrix(lambda X, A, B, a, b: sg.trace(X @ X)), "2 Xᵀ"),
    Entry("MC 108", matrix(lambda X, A, B, a, b: sg.trace(X.T @ B @ X)), "B X + Bᵀ X"),
    Entry("MC 115", matrix(lambda X, A, B, a, b: sg.trace(X.T @ X)), "2 X"),
    Entry("MC 115", matrix(lambda X, A, B, a, b: norm2(X)), "2 X"),
    Entry("MC 119", matrix(lambda X, A, B, a, b: norm2(A @ X - B)), "2 Aᵀ (A X − B)"),
    Entry("MC 119", matrix(lambda X, A, B, a, b: norm2(A @ X @ B)), "2 Aᵀ A X B Bᵀ"),
    Entry("MC 77", matrix(lambda X, A, B, a, b: b @ X.T @ X @ a), "X (a bᵀ + b aᵀ)"),
    Entry("MC 76", matrix(lambda X, A, B, a, b: norm2(X @ a)), "2 X a aᵀ"),
    Entry("MC 88", matrix(lambda X, A, B, a, b: norm2(X @ a - b)), "2 (X a − b) aᵀ"),
    Entry("C", matrix(lambda X, A, B, a, b: sg.sum(X)), "1"),
    Entry("C", matrix(lambda X, A, B, a, b: sg.sum(A * X)), "A"),
    Entry("C", matrix(lambda X, A, B, a, b: sg.sum(sg.exp(X))), "exp(X)"),
    Entry("C", matrix(lambda X, A, B, a, b: sg.norm(X)), "X / ‖X‖"),
]

INVERSES = [
    Entry("MC 49", matrix(lambda X, A, B, a, b: linalg.det(X)), "det(X) X⁻ᵀ"),
    Entry("MC 51", matrix(lambda X, A, B, a, b: linalg.det(A @ X @ B)), "det(A X B) X⁻ᵀ"),
    Entry("MC 55", matrix(lambda X, A, B, a, b: log_det(X.T @ X)), "2 X (Xᵀ X)⁻¹"),
    Entry("MC 57", matrix(lambda X, A, B, a, b: linalg.slogdet(X).logabsdet), "X⁻ᵀ"),
    Entry("MC 57", matrix(lambda X, A, B, a, b: log_det(X)), "X⁻ᵀ"),
    Entry("MC 61", matrix(lambda X, A, B, a, b: a @ linalg.inv(X) @ b), "−X⁻ᵀ a bᵀ X⁻ᵀ"),
    Entry("MC 61", matrix(lambda X, A, B, a, b: a @ linalg.solve(X, b)), "−X⁻ᵀ a (X⁻¹ b)ᵀ"),
    Entry("MC 63", matrix(lambda X, A, B, a, b: sg.trace(A @ linalg.inv(X) @ B)),
          "−X⁻ᵀ Aᵀ Bᵀ X⁻ᵀ"),
    Entry("MC 64", matrix(lambda X, A, B, a, b: sg.trace(linalg.inv(X + A))),
          "−(X + A)⁻ᵀ (X + A)⁻ᵀ"),
    Entry("MC 64", matrix(lambda X, A, B, a, b: sg.trace(linalg.inv(X))), "−X⁻ᵀ X⁻ᵀ"),
    Entry("Giles 2.2.3", matrix(lambda X, A, B, a, b: sg.sum(A * linalg.inv(X))), "−X⁻ᵀ A X⁻ᵀ"),
    Entry("Giles 2.2.4", matrix(lambda X, A, B, a, b: linalg.det(X) ** 2), "2 det(X)² X⁻ᵀ"),
    Entry("Giles 2.3.1", matrix(lambda X, A, B, a, b: sg.sum(B * linalg.solve(A, X))), "A⁻ᵀ B"),
    Entry("Giles 2.3.1", matrix(lambda X, A, B, a, b: sg.sum(B * linalg.solve(X, A))),
          "−X⁻ᵀ B (X⁻¹ A)ᵀ"),
    Entry("Giles 2.3.1", vector(lambda x, a, b, A: a @ linalg.solve(A, x)), "A⁻ᵀ a"),
    Entry("MC 81", vector(lambda x, a, b, A: x @ linalg.solve(A, x)), "(A⁻¹ + A⁻ᵀ) x"),
    Entry("B 2.122", matrix(lambda X, A, B, a, b: log_det(X) + a @ linalg.solve(X, a)),
          "X⁻ᵀ − X⁻ᵀ a (X⁻¹ a)ᵀ"),
]  # fmt: skip

MODELS = [
    Entry("B 3.13", batch("w", lambda X, y, w, **_: norm2(X @ w - y) / 2), "Xᵀ (X w − y)"),
    Entry("S1", batch("w", lambda X, y, w, **_: sg.mean((X @ w - y) ** 2) / 2), "Xᵀ (X w − y) / n"),
    Entry("GBC 5.12", batch("w", lambda X, y, w, **_: sg.mean((X @ w - y) ** 2)),
          "2 Xᵀ (X w − y) / n"),
    Entry("B 3.27", batch("w", lambda X, y, w, **_: norm2(X @ w - y) / 2 + 0.05 * norm2(w)),
          "Xᵀ (X w − y) + 0.1 w"),
    Entry("S1", batch("b", lambda X, y, w, b, **_: sg.mean((X @ w + b - y) ** 2)),
          "2 Σ (X w + b − y) / n"),
    Entry("B 4.91", batch("w", lambda X, y, w, **_: nn.binary_cross_entropy_with_logits(
        X @ w, y, reduction="sum")), "Xᵀ (σ(X w) − y)"),
    Entry("S3", batch("w", lambda X, y, w, b, **_: nn.binary_cross_entropy_with_logits(
        X @ w + b, y)), "Xᵀ (σ(X w + b) − y) / n"),
    Entry("B 4.109", batch("W", lambda X, t, W, **_: nn.cross_entropy(X @ W, t)),
          "Xᵀ (softmax(X W) − onehot(t)) / n"),
    Entry("C", batch("w", lambda X, y, w, **_: sg.sum(sg.exp(X @ w) - y * (X @ w))),
          "Xᵀ (exp(X w) − y)"),
    Entry("GBC 7.5", batch("w", lambda w, **_: 0.5 * norm2(w)), "w"),
    Entry("GBC 7.19", batch("w", lambda w, **_: sg.sum(sg.abs(w))), "sign(w)"),
    Entry("S2", layer("z", lambda z, y, **_: norm2(z - y) / 2), "z − y"),
    Entry("S2", layer("c", lambda x, y, W, c, **_: norm2(W @ x + c - y) / 2), "W x + c − y"),
    Entry("GBC 6.4", layer("W", lambda x, y, W, c, **_: norm2(W @ x + c - y) / 2),
          "(W x + c − y) xᵀ"),
    Entry("GBC 6.4", layer("x", lambda x, y, W, c, **_: norm2(W @ x + c - y) / 2),
          "Wᵀ (W x + c − y)"),
    Entry("GBC 6.3", layer("w", lambda x, W, c, w, **_: w @ nn.relu(W @ x + c)), "relu(W x + c)"),
    Entry("GBC 6.3", layer("c", lambda x, W, c, w, **_: w @ nn.relu(W @ x + c)),
          "w ⊙ 1[W x + c > 0]"),
    Entry("GBC 6.3", layer("W", lambda x, W, c, w, **_: w @ nn.relu(W @ x + c)),
          "(w ⊙ 1[W x + c > 0]) xᵀ"),
    Entry("S3", layer("c", lambda x, W, c, w, **_: w @ sg.tanh(W @ x + c)),
          "w ⊙ (1 − tanh(W x + c)²)"),
    Entry("GBC 6.29", layer("z", lambda z, **_: special.logsumexp(z) - z[0]), "softmax(z) − e(0)"),
    Entry("S0", scalar(lambda x: nn.softplus(-x)), "−σ(−x)"),
    Entry("GBC 6.26", vector(lambda x, a, b, A: nn.binary_cross_entropy_with_logits(
        x, a, reduction="sum")), "σ(x) − a"),
]  # fmt: skip

ENTRIES = [*CALCULUS, *ACTIVATIONS, *VECTORS, *MATRICES, *INVERSES, *MODELS]
