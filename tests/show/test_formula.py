"""Printed gradients: the textbook form, word for word, with the user's own names."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings

import symgrad as sg
from symgrad.ir.graph import Graph
from symgrad.show.formula import unicode_text
from tests.show.reading import Tree, build, expressions, read_back

CORE = {"math", "mtable", "mtr", "mtd", "mrow", "mi", "mn", "mo", "mtext", "msub", "msup", "mfrac"}
CORE |= {"msqrt", "munder"}


def test_softmax_with_cross_entropy() -> None:
    z, t = sg.matrix("z", ("n", 10)), sg.tensor("t", ("n",), "int64")
    loss = sg.nn.cross_entropy(z, t)
    assert str(sg.grad(loss, z)) == "∂loss/∂z = (softmax(z) − onehot(t)) / n"


def test_softmax_with_cross_entropy_by_probabilities() -> None:
    z, p = sg.matrix("z", ("n", 10)), sg.matrix("p", ("n", 10))
    loss = sg.nn.cross_entropy(z, p, reduction="sum")
    assert str(sg.grad(loss, z)) == "∂loss/∂z = softmax(z) ⊙ sum(p, axis=1) − p"


def test_logistic_regression() -> None:
    X, y = sg.matrix("X", ("n", "d")), sg.vector("y", "n")
    w, b = sg.parameter("w", ("d",)), sg.parameter("b")
    loss = sg.nn.binary_cross_entropy_with_logits(X @ w + b, y)
    assert str(sg.grad(loss, w)) == "∂loss/∂w = Xᵀ (σ(X w + b) − y) / n"
    assert str(sg.grad(loss, b)) == "∂loss/∂b = Σ (σ(X w + b) − y) / n"
    assert sg.pretty(sg.grad(loss, [w, b])) == (
        "∂loss/∂w = Xᵀ δ\n"
        "∂loss/∂b = Σ δ\n"
        "  where  δ = (σ(X w + b) − y) / n"
    )  # fmt: skip


def test_logistic_regression_on_probabilities_is_the_same() -> None:
    X, y, w = sg.matrix("X", ("n", "d")), sg.vector("y", "n"), sg.parameter("w", ("d",))
    p = sg.nn.sigmoid(X @ w)
    written_out = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    for loss in (sg.nn.binary_cross_entropy(p, y), written_out):
        assert str(sg.grad(loss, w)).endswith("/∂w = Xᵀ (σ(X w) − y) / n")


def test_least_squares() -> None:
    X, y, w = sg.matrix("X", ("n", "d")), sg.vector("y", "n"), sg.parameter("w", ("d",))
    half = np.sum((X @ w - y) ** 2) / 2
    mean = np.mean((X @ w - y) ** 2)
    assert str(half) == "half = 0.5 ‖X w − y‖²"
    assert str(sg.grad(half, w)) == "∂half/∂w = Xᵀ (X w − y)"
    assert str(sg.grad(mean, w)) == "∂mean/∂w = 2 Xᵀ (X w − y) / n"


def network() -> tuple[Any, list[sg.Tensor]]:
    x, t = sg.matrix("x", ("n", 64)), sg.tensor("t", ("n",), "int64")
    W1, b1 = sg.parameter("W1", (64, 32)), sg.parameter("b1", (32,))
    W2, b2 = sg.parameter("W2", (32, 16)), sg.parameter("b2", (16,))
    W3, b3 = sg.parameter("W3", (16, 10)), sg.parameter("b3", (10,))
    h1 = np.tanh(x @ W1 + b1)
    h2 = np.tanh(h1 @ W2 + b2)
    loss = sg.nn.cross_entropy(h2 @ W3 + b3, t)
    return loss, [W1, b1, W2, b2, W3, b3]


def test_two_hidden_layers() -> None:
    loss, parameters = network()
    assert str(sg.grad(loss, parameters[0])) == (
        "∂loss/∂W₁ = xᵀ δ₁\n"
        "  where  δ₃ = (softmax(h₂ W₃ + b₃) − onehot(t)) / n\n"
        "         δ₂ = (δ₃ W₃ᵀ) ⊙ (1 − h₂²)\n"
        "         δ₁ = (δ₂ W₂ᵀ) ⊙ (1 − h₁²)\n"
        "         h₁ = tanh(x W₁ + b₁)\n"
        "         h₂ = tanh(h₁ W₂ + b₂)"
    )
    assert sg.pretty(sg.grad(loss, parameters)).splitlines()[:6] == [
        "∂loss/∂W₁ = xᵀ δ₁",
        "∂loss/∂b₁ = Σₙ δ₁",
        "∂loss/∂W₂ = h₁ᵀ δ₂",
        "∂loss/∂b₂ = Σₙ δ₂",
        "∂loss/∂W₃ = h₂ᵀ δ₃",
        "∂loss/∂b₃ = Σₙ δ₃",
    ]


def test_one_hidden_layer() -> None:
    x, t = sg.matrix("x", ("n", 4)), sg.tensor("t", ("n",), "int64")
    W1, b1 = sg.parameter("W1", (4, 3)), sg.parameter("b1", (3,))
    W2, b2 = sg.parameter("W2", (3, 2)), sg.parameter("b2", (2,))
    h1 = np.tanh(x @ W1 + b1)
    loss = sg.nn.cross_entropy(h1 @ W2 + b2, t)
    assert str(sg.grad(loss, W1)) == (
        "∂loss/∂W₁ = xᵀ δ₁\n"
        "  where  δ₂ = (softmax(h₁ W₂ + b₂) − onehot(t)) / n\n"
        "         δ₁ = (δ₂ W₂ᵀ) ⊙ (1 − h₁²)\n"
        "         h₁ = tanh(x W₁ + b₁)"
    )


def test_quiz_1() -> None:
    x, z = sg.scalar("x"), sg.scalar("z")
    y = np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / np.exp(x * z)
    assert str(sg.grad(y, x)) == (
        "∂y/∂x = (cos(log(x)) / u₁ − x z / log(x)²) / x"
        " + z (1 / log(x) + u₁ − sin(log(x)) / u₁)\n"
        "  where  u₁ = exp(x z)"
    )
    assert str(sg.grad(y, z)) == (
        "∂y/∂z = x (1 / log(x) + exp(x z) − sin(log(x)) / exp(x z))"
    )  # fmt: skip


def test_a_loop_over_layers_numbers_its_variable() -> None:
    h, W = sg.vector("x", 3), sg.parameter("W", (3, 3))
    for _ in range(3):
        h = np.tanh(W @ h)  # type: ignore[assignment]  # NumPy says ndarray
    assert str(h) == "h₃ = tanh(W h₂)\n  where  h₁ = tanh(W x)\n         h₂ = tanh(W h₁)"


def test_second_derivatives_say_their_order() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    f = x**2 * y**3
    assert str(sg.grad(sg.grad(f, x), x)) == "∂²f/∂x² = 2 y³"
    assert str(sg.grad(sg.grad(f, x), y)) == "∂²f/∂x∂y = 6 x y²"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda x, y: x - (y - x), "x − (y − x)"),
        (lambda x, y: (x + y) * x, "x (x + y)"),
        (lambda x, y: 2 / (y * x), "2 / (y x)"),
        (lambda x, y: 2 / y / x, "2 / (y x)"),
        (lambda x, y: (x / y) ** 2, "(x / y)²"),
        (lambda x, y: -(x + y), "−(x + y)"),
        (lambda x, y: (-x) ** 2, "(−x)²"),
        (lambda x, y: -(x**2), "−x²"),
        (lambda x, y: 2.5 * x * y * 2, "5 x y"),
        (lambda x, y: x * x * x, "x³"),
        (lambda x, y: x ** (y + 1), "x^(y + 1)"),
        (lambda x, y: x**-2, "1 / x²"),
        (lambda x, y: np.sqrt(x + y), "√(x + y)"),
        (lambda x, y: np.where(x > y, x, y), "where(x > y, x, y)"),
        (lambda x, y: abs(x) + np.log10(y), "|x| + log₁₀(y)"),
        (lambda x, y: 1e-7 * x, "10⁻⁷ x"),
        (lambda x, y: np.maximum(x, 0.0) * 1.5e20, "1.5·10²⁰ max(x, 0)"),
    ],
)
def test_no_more_parentheses_than_needed(make: Any, text: str) -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    assert sg.pretty(make(x, y)) == text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda A, v: A @ v, "A v"),
        (lambda A, v: v @ A, "Aᵀ v"),
        (lambda A, v: v @ v, "vᵀ v"),
        (lambda A, v: (A + A.T) @ v, "(A + Aᵀ) v"),
        (lambda A, v: (A @ A).T, "Aᵀ Aᵀ"),
        (lambda A, v: np.outer(v, v), "v vᵀ"),
        (lambda A, v: (A @ v) * v, "(A v) ⊙ v"),
        (lambda A, v: (A * v) @ v, "(A ⊙ v) v"),
        (lambda A, v: np.sum(A, axis=0), "sum(A, axis=0)"),
        (lambda A, v: np.sum(A * v), "Σ A ⊙ v"),
        (lambda A, v: v[1:] - v[:-1], "v[1:] − v[:2]"),
        (lambda A, v: A[0] + A[:, 1], "A[0] + A[:, 1]"),
        (lambda A, v: np.max(A, axis=1), "max(A, axis=1)"),
    ],
)
def test_matrices_and_vectors(make: Any, text: str) -> None:
    A, v = sg.matrix("A", (3, 3)), sg.vector("v", 3)
    assert sg.pretty(make(A, v)) == text


def test_quadratic_form() -> None:
    A, x = sg.matrix("A", (3, 3)), sg.vector("x", 3)
    f = x @ A @ x
    assert str(sg.grad(f, A)) == "∂f/∂A = x xᵀ"


def test_names_become_symbols() -> None:
    theta1, weights = sg.scalar("theta1"), sg.scalar("weights_2")
    assert sg.pretty(theta1 * weights) == "θ₁ weights₂"
    assert sg.latex(theta1 * weights) == r"\theta_{1} \mathrm{weights}_{2}"


def test_latex() -> None:
    loss, parameters = network()
    assert sg.latex(sg.grad(loss, parameters[2])) == "\n".join(
        [
            r"\begin{aligned}",
            r"\frac{\partial \mathrm{loss}}{\partial W_{2}} &= h_{1}^\top \delta_{2} \\",
            r"\text{where}\quad \delta_{3} &= \frac{\operatorname{softmax}(h_{2} W_{3} + b_{3})"
            r" - \operatorname{onehot}(t)}{n} \\",
            r"\delta_{2} &= \left(\delta_{3} W_{3}^\top\right) \odot"
            r" \left(1 - {h_{2}}^{2}\right) \\",
            r"h_{1} &= \tanh(x W_{1} + b_{1}) \\",
            r"h_{2} &= \tanh(h_{1} W_{2} + b_{2})",
            r"\end{aligned}",
        ]
    )


def test_latex_braces_match() -> None:
    loss, parameters = network()
    x, z = sg.scalar("x"), sg.scalar("some_name")
    y = np.exp(x * z) + x * z / np.log(x) + np.abs(np.floor(x)) ** z
    for tensor in (*sg.grad(loss, parameters), sg.grad(y, x), sg.grad(y, z), y):
        text = sg.latex(tensor)
        assert text.count("{") == text.count("}")
        assert text.count(r"\left") == text.count(r"\right")
        assert not re.search(r"[^\x00-\x7f]", text)


def test_many_lines_are_cut_with_a_word() -> None:
    h = sg.vector("x", 3)
    for _ in range(1000):
        h = sg.sin(h) * h
    text = sg.pretty(h, lines=5)
    assert text.count("\n") == 6
    assert "sg.pretty(..., lines=None) prints them all" in text
    assert sg.pretty(h, lines=None).count("\n") >= 900


def test_a_notebook_shows_latex() -> None:
    x = sg.scalar("x")
    assert (x**2)._repr_latex_() == r"$\displaystyle {x}^{2}$"


def test_mathml_is_well_formed() -> None:
    loss, parameters = network()
    x, z = sg.scalar("x"), sg.scalar("some_name")
    y = np.exp(x * z) + x * z / np.log(x) + np.abs(np.floor(x)) ** z + 1e-7 * np.log10(x)
    A, v = sg.matrix("A", (3, 3)), sg.vector("v", 3)
    f = np.sum(np.where(A @ v > 0, v[1], np.sqrt(v))) + np.sum(np.outer(v, v))
    for value in (sg.grad(loss, parameters), sg.grad(y, x), y, f, sg.grad(f, v)):
        root = ElementTree.fromstring(sg.mathml(value))
        tags = {element.tag.partition("}")[2] for element in root.iter()}
        assert tags <= CORE


def test_mathml_says_what_the_terminal_says() -> None:
    x, y = sg.scalar("x"), sg.vector("y", "n")
    root = ElementTree.fromstring(sg.mathml(sg.sin(x) * (1 - 2 * x)))
    invisible = {ord(c): None for c in "\N{INVISIBLE TIMES}\N{FUNCTION APPLICATION}\n "}
    assert "".join(root.itertext()).translate(invisible) == "sin(x)(1−2x)"
    assert "<munder><mo>∑</mo><mrow><mi>n</mi></mrow></munder>" in sg.mathml(
        sg.sum(y * sg.matrix("A", (4, "n")), axis=1)
    )


@given(expressions(["x", "y", "z"]))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_the_text_means_what_the_graph_computes(tree: Tree) -> None:
    """Printed scalars, read back by SymPy, have the value of the graph: signs and brackets too."""
    at = {"x": 0.7, "y": 1.3, "z": 0.4}
    tensors = {name: sg.scalar(name) for name in at}
    value = build(tree, tensors)
    lines = sg.pretty(value).splitlines()
    expected = sg.compile(list(tensors.values()), value, backend="numpy")(*at.values())
    assert read_back(lines, at) == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (("multiply", ("name", "x"), ("add", ("number", 2.0), ("number", 2.0))), "4 x"),
        (("multiply", ("number", 0.5), ("multiply", ("number", 2.0), ("name", "x"))), "x"),
        (("divide", ("divide", ("number", -1.5), ("name", "x")), ("name", "y")), ""),
        (
            (
                "multiply",
                ("add", ("name", "x"), ("number", 3.0)),
                ("divide", ("add", ("name", "x"), ("number", 3.0)), ("name", "y")),
            ),
            "",
        ),
    ],
)
def test_factors_that_were_written_wrongly(tree: Tree, text: str) -> None:
    """As they stand, without the passes: numbers are multiplied once, signs count once."""
    at = {"x": 0.7, "y": 1.3}
    tensors = {name: sg.scalar(name) for name in at}
    value = build(tree, tensors)
    graph = Graph(list(tensors.values()), [value])
    printed = unicode_text(graph.replaced(graph.outputs, provenance={n: n for n in graph.nodes}))
    expected = sg.compile(list(tensors.values()), value, backend="numpy")(*at.values())
    assert read_back(printed.splitlines(), at) == pytest.approx(float(expected), rel=1e-12)
    if text:
        assert printed.split(" = ", 1)[-1] == text


def test_a_shared_residual_has_one_name_and_no_signs() -> None:
    """What is differentiated with a minus sign prints with the difference turned round."""
    x, t = sg.tensor("x", ("n", 2)), sg.tensor("t", ("n",))
    w, b = sg.parameter("w", (2,)), sg.parameter("b")
    J = sg.mean((t - (x @ w + b)) ** 2)
    assert sg.pretty(sg.grad(J, [w, b])) == (
        "∂J/∂w = xᵀ δ\n"
        "∂J/∂b = Σ δ\n"
        "  where  δ = 2 (x w + b − t) / n"
    )  # fmt: skip


def test_the_xor_net() -> None:
    X, t = sg.tensor("X", (4, 2)), sg.tensor("t", (4,))
    W, c = sg.parameter("W", (2, 2)), sg.parameter("c", (2,))
    w, b = sg.parameter("w", (2,)), sg.parameter("b")
    a = X @ W + c
    h = sg.nn.relu(a)
    J = sg.mean((t - (h @ w + b)) ** 2)
    assert sg.pretty(sg.grad(J, [W, c, w, b])) == (
        "∂J/∂W = Xᵀ δ₁\n"
        "∂J/∂c = sum(δ₁, axis=0)\n"
        "∂J/∂w = hᵀ δ₂\n"
        "∂J/∂b = Σ δ₂\n"
        "  where  δ₂ = 0.5 (h w + b − t)\n"
        "         δ₁ = (δ₂ wᵀ) ⊙ 1[a > 0]\n"
        "         a  = X W + c\n"
        "         h  = relu(a)"
    )


x, y, z, s = (sg.scalar(name) for name in "xyzs")
v, u = sg.vector("v", 3), sg.vector("u", 3)
A, N = sg.matrix("A", (3, 3)), sg.matrix("N", ("n", "n"))
T, i = sg.matrix("T", (5, 5)), sg.arange(3)
ones = sg.ones(3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # A power is not raised by writing a second exponent beside it.
        (x**2 * y * x**2, "x² y x²"),
        (sg.sum(v**2) * s * sg.sum(v**2), "‖v‖² s ‖v‖²"),
        (sg.power(2.0, x**2), "2^(x²)"),
        (sg.exp2(x) ** 2, "(2^(x))²"),
        (sg.constant(1.5e20) ** x, "(1.5·10²⁰)^x"),
        (sg.nn.log_softmax(v) ** 2, "(log softmax(v))²"),
        (sg.sqrt(x) ** y, "(√x)^y"),
        # A sum sign takes in what follows it.
        (sg.sum(v) * u, "(Σ v) u"),
        (sg.sum(v) / u, "(Σ v) / u"),
        (sg.sum(v) / 3 * x, "(Σ v) x / 3"),
        (sg.sum(v) * (u * v), "(Σ v) u ⊙ v"),
        # Axes that do not show are no reason to take two values for one.
        (v[:, None] + v[None, :], "v + vᵀ"),
        (v[None, :] * u[:, None], "u vᵀ"),
        (A / v[:, None] / v[None, :], "A / (v 1ᵀ) / v"),
        (A * v[:, None] + v, "A ⊙ (v 1ᵀ) + v"),
        (sg.sum((A[:, None] - A[None]) ** 2), "Σ (A[:, None] − A)²"),
        # A number that stands for an array is told apart where it matters.
        (A @ ones, "A ones(3)"),
        (sg.broadcast_to(s, (3, 3)) @ v, "s ones(3, 3) v"),
        (v @ (s * ones), "vᵀ s ones(3)"),
        (sg.sum(ones * x), "Σ x ones(3)"),
        (sg.norm(ones * x), "√(Σ x² ones(3))"),
        (sg.sum(sg.broadcast_to(v**2, (4, 3))), "Σ 1 (v²)ᵀ"),
        (sg.sum(sg.vector("o", 1) * v), "Σ o ⊙ v"),
        # Diagonals.
        (sg.grad(s * sg.trace(A), A), "s I"),
        (sg.grad(-2 * sg.trace(A), A), "−2 I"),
        (sg.sum(T[i, i]), "Σ T[(0, 1, …), (0, 1, …)]"),
        # Operands of templates.
        ((x + y) // z, "⌊(x + y) / z⌋"),
        (x // (y / z), "⌊x / (y / z)⌋"),
        ((x + y) % s, "(x + y) mod s"),
        (sg.nn.binary_cross_entropy_with_logits(x + y, sg.constant(1.0)),
         "softplus(x + y) − (x + y)"),
        # Windows and axes.
        (v[::-1], "v[::-1]"),
        (N[::-1], "N[::-1]"),
        (sg.nn.softmax(A, axis=0), "softmax(A, axis=0)"),
        (sg.prod(A, axis=0), "prod(A, axis=0)"),
        (sg.concatenate([A, A * 2], axis=1), "concatenate(A, 2 A, axis=1)"),
        (sg.sum(N, axis=0), "sum(N, axis=0)"),
        (sg.grad(v[0] * v[1], v), "place(v[:1], from [1]) + place(v[1:2], from [0])"),
        # Gradients of sums over rows and over columns.
        (sg.grad(sg.sum(A, axis=1) @ u, A), "u 1ᵀ"),
        (sg.grad(sg.sum(A, axis=0) @ u, A), "1 uᵀ"),
        (sg.grad(sg.sum(A @ v), A), "1 vᵀ"),
        (sg.grad(sg.sum(A.T @ v), A), "(1 vᵀ)ᵀ"),
        # Names that would look the same.
        (sg.scalar("x_1") * sg.scalar("x1"), "x₁ x₁'"),
        (np.pi * sg.scalar("pi"), "3.141592653589793 π"),
        (x.astype("int64"), "int64(x)"),
        (A @ sg.constant([1.0, 2.0, 3.0]), "A ([1, 2, 3])"),
        (sg.where(sg.constant([True, False, True]), v, u), "where([True, False, True], v, u)"),
        (x * 1e200 * 1e200, "∞ x"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_reader_would_take_for_something_else(value: sg.Tensor, text: str) -> None:
    assert str(value).split(" = ", 1)[-1] == text


def test_a_name_of_the_users_is_not_that_of_the_opposite() -> None:
    q = -sg.exp(sg.sin(x * y + s))
    r = q * s + sg.sin(q) + q**2
    assert sg.pretty([q, r]) == (
        "q\nr = sin(q) − u₁ s + q²\n  where  u₁ = exp(sin(x y + s))\n         q  = −u₁"
    )


def test_constant_arrays_are_explained() -> None:
    table = sg.constant(np.arange(9.0).reshape(3, 3))
    assert sg.pretty(sg.grad(sg.sum(A * table), A)) == (
        "∂f/∂A = C₁\n  where  C₁ = constant float64[3, 3]"
    )


class TestMatrices:
    def test_a_gram_matrix_is_its_own_transpose(self) -> None:
        X, Y, B = (sg.matrix(name, ("n", "n")) for name in "XYB")
        assert sg.pretty(sg.linalg.solve((X.T @ X).T, B)) == "(Xᵀ X)⁻¹ B"
        assert sg.pretty(sg.linalg.inv(X.T @ Y).T @ B) == "(Xᵀ Y)⁻ᵀ B"

    def test_an_identity_in_another_shape_is_none(self) -> None:
        x = sg.vector("x", 4)
        assert sg.pretty(sg.eye(2).reshape(1, 4) @ x) != "x"
        assert sg.pretty(sg.eye(4) @ x) == "x"

    def test_logarithms_of_determinants_are_bracketed(self) -> None:
        A = sg.matrix("A", ("n", "n"))
        sign, size = sg.linalg.slogdet(A)
        assert sg.pretty(size**2) == "(log |det(A)|)²"
        assert sg.pretty(sg.log(sg.linalg.det(A)) ** 2) == "(log det(A))²"
        assert "det" in sg.latex(sign)
        assert r"\right|^" not in sg.latex(size**2).replace(" ", "")

    def test_kronecker_products_are_bracketed(self) -> None:
        A, B, C = (sg.matrix(name, (2, 2)) for name in "ABC")
        K = sg.matrix("K", (4, 4))
        assert sg.pretty(sg.kron(A * B, C)) == "(A ⊙ B) ⊗ C"
        assert sg.pretty(K * sg.kron(A, B)) == "K ⊙ (A ⊗ B)"
        assert sg.pretty(sg.kron(A, B) @ K) == "(A ⊗ B) K"
