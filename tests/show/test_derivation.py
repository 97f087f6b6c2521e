"""Derivations: what the lecture slides show, line by line, and what the tables say, recomputed."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import assume, given, settings

import symgrad as sg
from symgrad import errors
from tests.show.reading import Tree, build, expressions, value_of


def sections(text: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table by its title, without the head."""
    found: dict[str, list[list[str]]] = {}
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        if len(lines) > 1 and set(lines[1]) == {"─"}:
            title = lines[0]
            found[title] = []
            lines = lines[2:]
        if any("╌" in line for line in lines):
            starts = [m.start() for m in re.finditer("╌+", lines[1])] + [None]
            lines = lines[2:]
        elif title == "Result":
            starts = [2, None]
        else:
            continue
        found[title] += [[line[a:b].strip() for a, b in pairwise(starts)] for line in lines]
    return found


def side_by_side(derivation: sg.Derivation) -> list[tuple[str, str]]:
    return [(a, b) for a, b in sections(str(derivation))["Forward and backward"]]


def quiz() -> tuple[sg.Tensor, sg.Tensor, Any]:
    x, z = sg.scalar("x"), sg.scalar("z")
    y = np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / np.exp(x * z)
    return x, z, y


def test_a_slide() -> None:
    """J = cos(sin(x²) + 3x²): the lecture's two columns."""
    x = sg.scalar("x")
    t = x**2
    u = np.sin(t) + 3 * t
    J: Any = np.cos(u)
    assert side_by_side(sg.derivation(J, x)) == [
        ("J = cos(u)", "∂J/∂J = 1"),
        ("", "∂J/∂u += −sin(u)"),
        ("u = u₁ + u₂", "∂J/∂u₁ += ∂J/∂u"),
        ("", "∂J/∂u₂ += ∂J/∂u"),
        ("u₂ = 3 t", "∂J/∂t += 3 (∂J/∂u₂)"),
        ("u₁ = sin(t)", "∂J/∂t += cos(t) (∂J/∂u₁)"),
        ("t = x²", "∂J/∂x += 2 x (∂J/∂t)"),
    ]


def test_each_step_of_a_slide() -> None:
    x = sg.scalar("x")
    t = x**2
    J: Any = np.cos(np.sin(t) + 3 * t)
    rows = sections(str(sg.derivation(J, x)))["build_grad(V)"]
    start = next(i for i, row in enumerate(rows) if row[0] == "t")
    assert rows[start : start + 3] == [
        ["t", "u₂ = 3 t", "∂u₂/∂t = 3", "3 (∂J/∂u₂)"],
        ["", "u₁ = sin(t)", "∂u₁/∂t = cos(t)", "cos(t) (∂J/∂u₁)"],
        ["", "", "multiply ×2, cos, add", "∂J/∂t = 3 (∂J/∂u₂) + cos(t) (∂J/∂u₁)"],
    ]


def test_the_quiz_by_hand() -> None:
    """The deck's answers, to the ten digits that are printed."""
    x, z, y = quiz()
    text = str(sg.derivation(y, [x, z], {x: 2, "z": 3}))
    table = {row[0]: row for row in sections(text)["By hand"]}
    assert table["y"][1] == "412.0865476"
    assert table["x"][3] == "1208.366561"
    assert table["z"][3] == "809.7398094"
    # exp(x z), x z and log(x) are one node each.
    for once in ("= exp(", "= log(x)", "= x z"):
        definitions = [a for a, _ in side_by_side(sg.derivation(y, [x, z])) if once in a]
        assert len(definitions) == 1
    assert "merged multiply (forward with forward) ×2" in text


def test_xor_net() -> None:
    """The deck's weights: hidden values as on its slide, the loss 0, and all gradients 0."""
    X, t = sg.tensor("X", (4, 2)), sg.tensor("t", (4,))
    W, c, w = sg.parameter("W", (2, 2)), sg.parameter("c", (2,)), sg.parameter("w", (2,))
    b = sg.parameter("b")
    a = X @ W + c
    h = sg.nn.relu(a)
    y = h @ w + b
    J: Any = np.mean((t - y) ** 2)
    at = {
        X: [[0, 0], [0, 1], [1, 0], [1, 1]],
        t: [0, 1, 1, 0],
        W: np.ones((2, 2)),
        c: [0, -1],
        w: [1, -2],
        b: 0,
    }
    table = {row[0]: row for row in sections(str(sg.derivation(J, [W, c, w, b], at)))["By hand"]}
    assert table["a"][1] == "[[0, -1], [1, 0], [1, 0], [2, 1]]"
    assert table["h"][1] == "[[0, 0], [1, 0], [1, 0], [2, 1]]"
    assert table["y"][1] == "[0, 1, 1, 0]"
    assert table["J"][1] == "0"
    assert table["W"][2:] == ["∂J/∂W = Xᵀ (∂J/∂u₁)", "[[0, 0], [0, 0]]"]
    assert [table[name][3] for name in "cwb"] == ["[0, 0]", "[0, 0]", "0"]
    assert table["a"][2] == "∂J/∂a = (∂J/∂h) ⊙ 1[a > 0]"


def classifier() -> tuple[Any, list[sg.Tensor]]:
    x, t = sg.tensor("x", ("n", 6)), sg.tensor("t", ("n",), "int64")
    W1, b1 = sg.parameter("W1", (6, 4)), sg.parameter("b1", (4,))
    W2, b2 = sg.parameter("W2", (4, 3)), sg.parameter("b2", (3,))
    h = np.tanh(x @ W1 + b1)
    z = h @ W2 + b2
    loss = sg.nn.cross_entropy(z, t)
    return loss, [W1, b1, W2, b2]


def test_two_layer_classifier() -> None:
    loss, parameters = classifier()
    found = sections(str(sg.derivation(loss, parameters)))
    backward = [b for _, b in found["Forward and backward"]]
    for line in (
        "∂loss/∂W₂ += hᵀ (∂loss/∂u₃)",
        "∂loss/∂b₂ += Σₙ (∂loss/∂z)",
        "∂loss/∂h += (∂loss/∂u₃) W₂ᵀ",
        "∂loss/∂u₂ += (∂loss/∂h) ⊙ (1 − h ⊙ h)",
        "∂loss/∂W₁ += xᵀ (∂loss/∂u₁)",
    ):
        assert line in backward
    assert [row[0] for row in found["Result"]] == [
        "∂loss/∂W₁ = xᵀ δ₁",
        "∂loss/∂b₁ = Σₙ δ₁",
        "∂loss/∂W₂ = hᵀ δ₂",
        "∂loss/∂b₂ = Σₙ δ₂",
        "δ₂ = (softmax(h W₂ + b₂) − onehot(t)) / n",
        "δ₁ = (δ₂ W₂ᵀ) ⊙ (1 − h²)",
        "h = tanh(x W₁ + b₁)",
    ]
    assert found["What is differentiated"] == [
        ["x", "not asked for"],
        ["t", "int64 values have no derivative"],
    ]


@given(expressions(["x", "z"]))
@settings(max_examples=60, deadline=None)
def test_every_line_holds(tree: Tree) -> None:
    """Each definition and each sum gives the value beside it; the last ones are the slopes."""
    x, z = sg.scalar("x"), sg.scalar("z")
    y = build(tree, {"x": x, "z": z}) + 0 * x
    at = {"x": 0.7, "z": -1.3}
    found = sections(str(sg.derivation(y, [x, z], at)))
    rows = found.get("By hand", [])
    values = {name(row[0]): float(row[1]) for row in rows}
    values |= {f"d{name(row[0])}": float(row[3]) for row in rows if row[3]}
    # Ten digits are printed: sines of large numbers have fewer.
    assume(max(map(abs, values.values()), default=0) < 30)
    for text, _ in found["Forward and backward"]:
        if text:
            left, right = text.split(" = ", 1)
            assert_value(right, values[name(left)], values)
    for row in rows:
        if row[2]:
            assert_value(row[2].split(" = ", 1)[1], values[f"d{name(row[0])}"], values)
    f = sg.compile([x, z], y, backend="numpy")
    for key, (dx, dz) in {"x": (1, 0), "z": (0, 1)}.items():
        step = 1e-6
        high, low = (f(0.7 + s * step * dx, -1.3 + s * step * dz) for s in (1, -1))
        slope = values.get(f"d{key}", 0.0)
        assert slope == pytest.approx((high - low) / 2 / step, rel=1e-4, abs=1e-6)


def name(text: str) -> str:
    return text.translate(str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789"))


def assert_value(text: str, expected: float, values: dict[str, float]) -> None:
    plain = re.sub(r"∂\w+/∂(\w+)", lambda m: f"d{name(m[1])}", text)
    assert value_of(plain, values) == pytest.approx(expected, rel=1e-6, abs=1e-9), text


def test_a_value_that_is_used_twice_contributes_twice() -> None:
    x = sg.scalar("x")
    y = x * x
    assert side_by_side(sg.derivation(y, x)) == [
        ("y = x²", "∂y/∂y = 1"),
        ("", "∂y/∂x += x"),
        ("", "∂y/∂x += x"),
    ]


def test_why_something_is_left_out() -> None:
    x, w, unused = sg.scalar("x"), sg.scalar("w"), sg.scalar("unused")
    k = sg.tensor("k", (), "int64")
    step: Any = np.floor(w)
    other: Any = np.sin(x)
    y = x * w + step * k + other
    found = dict(sections(str(sg.derivation(y, [w, unused])))["What is differentiated"])
    assert found["x"] == "not asked for"
    assert found["k"] == "int64 values have no derivative"
    assert found["other"] == "does not depend on what was asked"
    assert found["unused"] == "never used"
    text = str(sg.derivation(step * 2, w))
    assert re.search(r"w +floor: .* \(test_derivation.py:\d+\)", text)
    assert "∂f/∂w = 0" in text


def test_it_is_differentiated_in_its_stable_form() -> None:
    x = sg.scalar("x")
    y: Any = np.log(1 + np.exp(-x))
    text = str(sg.derivation(y, x, {x: -1000}))
    assert "y = softplus(" in text
    assert {row[0]: row for row in sections(text)["By hand"]}["x"][3] == "-1"


def test_latex_and_html() -> None:
    loss, parameters = classifier()
    derivation = sg.derivation(loss, parameters)
    latex = derivation.latex()
    assert latex.count("$") % 2 == 0
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 5
    assert latex.isascii()
    assert r"\frac{\partial \mathrm{loss}}{\partial b_{2}} \mathrel{+}= \sum_{n}" in latex
    root = ElementTree.fromstring(f"<div>{derivation.html()}</div>")
    assert [h.text for h in root.iter("h3")][:2] == [
        "Forward and backward",
        "What is differentiated",
    ]
    assert derivation._repr_html_() == derivation.html()


def test_long_ones_are_cut_unless_asked() -> None:
    x = sg.scalar("x")
    y: Any = x
    for _ in range(500):
        y = np.tanh(y)
    derivation = sg.derivation(y, x)
    assert "301 more lines are left out." in str(derivation)
    whole = derivation.text(lines=None)
    assert "left out" not in whole
    assert whole.count("+=") == 500
    assert "By hand" not in str(sg.derivation(y, x, {x: 0.5}))


def test_wrong_arguments() -> None:
    x, v, k = sg.scalar("x"), sg.vector("v", 3), sg.tensor("k", (), "int64")
    for z, wrt in ((v, v), (x, k), (k, x), (x, "x"), (3.0, x)):
        with pytest.raises(errors.GradientError, match="derivation: z is a real scalar"):
            sg.derivation(z, wrt)  # type: ignore[arg-type]
    with pytest.raises(errors.ArgumentError, match="at= has values for x, y; needed: x"):
        sg.derivation(sg.sin(x), x, {"x": 1, "y": 2})
    with pytest.raises(errors.ShapeError):
        sg.derivation(sg.sin(x), x, {"x": [1, 2]})


@pytest.mark.parametrize(
    ("layer", "depth", "bound", "start"),
    [
        (sg.nn.sigmoid, 10, "9.53674·10⁻⁷", 0.3),
        (lambda x: 1.1 * x, 100, "13780.6", 1.0),
        (lambda x: 0.01 * x, 10, "10⁻²⁰", 1.0),
    ],
    ids=["sigmoid", "1.1^100", "0.01^10"],
)
def test_vanishing_and_exploding(layer: Any, depth: int, bound: str, start: float) -> None:
    """The deck's numbers: ¼¹⁰ = 9.5367e-07, and 13780.6 where it rounds to 13781."""
    x = sg.scalar("x")
    y = x
    for _ in range(depth):
        y = layer(y)
    rows = sections(str(sg.derivation(y, x, {x: start})))["Vanishing and exploding"]
    assert len(rows) == depth + 1
    assert rows[-1][:2] == [f"all {depth} together", bound]
    slope = sg.compile(x, sg.grad(y, x), backend="numpy")(start)
    most, here = (value_of(cell, {}) or 0.0 for cell in rows[-1][1:])
    assert here == pytest.approx(slope, rel=1e-5)
    assert here <= most * (1 + 1e-5)


def test_gains_of_a_net_are_per_step() -> None:
    loss, parameters = classifier()
    x, t = (n for n in sg.derivation(loss, parameters).facts.graph.inputs if not n.is_parameter)
    rng = np.random.default_rng(0)
    at: dict[Any, Any] = {p: rng.normal(size=p.shape) for p in parameters}
    at |= {str(x.name): rng.normal(size=(5, 6)), str(t.name): [0, 1, 2, 1, 0]}
    rows = sections(str(sg.derivation(loss, parameters, at)))["Vanishing and exploding"]
    steps = {row[0]: row[1:] for row in rows}
    bound, here = steps["∂h/∂u₂ = 1 − h ⊙ h"]
    assert bound == "1"
    assert 0 < float(here) <= 1
    assert "∂u₃/∂h" in steps
    assert not any("together" in step for step in steps)


def test_a_bound_is_not_stated_for_what_was_broadcast() -> None:
    """Three copies of x collect 2 each: the gain is 2 √3, which a slope of 2 does not bound."""
    x = sg.scalar("x")
    y = sg.sum(sg.constant(np.array([2.0, 2.0, 2.0])) * x)
    rows = sections(str(sg.derivation(y, x, {x: 1.0})))["Vanishing and exploding"]
    [row] = [row for row in rows if row[0].startswith("∂u₁/∂x")]
    assert row[1:] == ["", "3.4641"]
