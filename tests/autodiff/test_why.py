"""Why a gradient is zero: the path, and where it ends."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors


def test_the_path_names_the_lines_of_the_model() -> None:
    w, x = sg.scalar("w"), sg.vector("x", "n")
    steps = np.floor(np.tanh(w * x))
    loss = np.sum(steps * x)
    text = sg.why_zero(loss, w)
    first, path, reason = text.splitlines()
    assert first == "the gradient of loss with respect to w is zero; every path ends:"
    names = [part.split(" (")[0] for part in path.strip().split(" → ")]
    assert names == ["w", "multiply", "tanh", "steps"]
    assert path.count("test_why.py:") == 4
    assert reason.strip().startswith("floor: ")


def test_several_paths() -> None:
    w = sg.scalar("w")
    loss = np.floor(w) + np.sign(w * 2) + sg.stop_gradient(w)
    text = sg.why_zero(loss, w)
    assert all(name in text for name in ("→ floor (", "multiply (", "→ sign (", "stop_gradient ("))


def test_a_gradient_that_is_not_zero() -> None:
    w = sg.scalar("w")
    text = sg.why_zero(np.floor(w) + np.sin(w), w)
    assert "is not zero by its form; it flows:" in text
    assert "w (" in text and "→ sin (" in text


def test_a_tensor_by_itself() -> None:
    x = sg.scalar("x")
    assert "is not zero by its form" in sg.why_zero(x, x)


def test_what_is_never_used() -> None:
    w, x = sg.scalar("w"), sg.scalar("x")
    assert sg.why_zero(x * 2, w).endswith("w is never used in it")


def test_the_shortest_path_and_long_ones() -> None:
    w = sg.scalar("w")
    text = sg.why_zero(
        np.floor(
            np.sin(np.cos(np.tanh(np.exp(np.sinh(np.cosh(np.arctan(np.expm1(np.log1p(w)))))))))
        ),
        w,
    )
    assert "→ … →" in text
    assert text.splitlines()[1].count("→") == 6
    both = np.floor(np.sin(np.sin(w)) + w)
    assert "sin (" not in sg.why_zero(both, w).splitlines()[1]


def test_the_error_has_the_path() -> None:
    w = sg.scalar("w")
    with pytest.raises(errors.GradientError, match=r"w \(.*\) → multiply \(.*\) → rint"):
        sg.grad(np.rint(w * 2), w, disconnected="raise")
