"""What is said of rounding and overflow: where stable forms matter, and what has none."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.passes import stabilize
from symgrad.passes.numerics import MATTERS, lint, stabilized
from symgrad.passes.stabilize import RULES

Build = Callable[[Any], Any]


def vector(dtype: str = "float64") -> Any:
    return sg.vector("x", "n", dtype)


STABLE: list[tuple[Build, str, str]] = [
    (lambda x: np.log(1 + np.exp(x)), "log(1 + exp(x)) → softplus(x)", "overflows for x > 709.8"),
    (lambda x: np.log(sg.nn.sigmoid(x)), "log(sigmoid(x)) → -softplus(-x)", "-inf for x < -744"),
    (lambda x: np.log(1 + x), "log(1 + x) → log1p(x)", "all of them for |x| < 1e-16"),
    (lambda x: np.exp(x) - 1, "exp(x) - 1 → expm1(x)", "loses digits"),
    (lambda x: 1 / (1 + np.exp(-x)), "1 / (1 + exp(-x)) → sigmoid(x)", "for x < -709.8"),
    (lambda x: np.log(np.sum(np.exp(x))), "log(sum(exp(x))) → logsumexp(x)", "x > 709.8"),
    (lambda x: np.exp(x) / np.sum(np.exp(x)), "exp(x) / sum(exp(x)) → softmax(x)", "NaN"),
    (lambda x: np.log(np.linalg.det(np.outer(x, x))), "log(det(A)) → log_det(A)", "1.8e+308"),
]


@pytest.mark.parametrize("build, rewrite, matters", STABLE)
def test_stable_forms_are_named_with_where_they_matter(
    build: Build, rewrite: str, matters: str
) -> None:
    [found] = stabilized([np.sum(build(vector())).node])
    assert str(found).startswith(f"{rewrite}: ")
    assert matters in found.matters
    assert "test_numerics.py:" in str(found)


def test_every_rewrite_says_where_it_matters() -> None:
    assert {rule.text for rule in RULES} <= MATTERS.keys()
    texts = re.findall(r'"([^"\n]* -> [^"\n]*)"', inspect.getsource(stabilize))
    assert len(texts) >= 8
    assert set(texts) <= MATTERS.keys()


def test_the_range_is_that_of_the_dtype() -> None:
    [found] = stabilized([np.sum(np.log(1 + np.exp(vector("float32")))).node])
    assert found.matters == "overflows for x > 88.7, is 0 for x < -16.6"


@pytest.mark.parametrize(
    "value", [800.0, -40.0], ids=["what is said of large x", "what is said of small x"]
)
def test_what_is_said_is_true(value: float) -> None:
    """The written form fails where the report says so, and the stable form does not."""
    x = vector()
    loss = np.sum(np.log(1 + np.exp(x)))
    gradients = [sg.grad(loss, x, stabilize=False), sg.grad(loss, x)]
    written = sg.compile(x, [loss, gradients[0]], without=("stabilize",))
    stable = sg.compile(x, [loss, gradients[1]])
    exact = max(value, 0) + np.log1p(np.exp(-abs(value)))
    assert written(np.array([value]))[0] != pytest.approx(exact, rel=1e-6, abs=0)
    assert stable(np.array([value]))[0] == pytest.approx(exact, rel=1e-14, abs=0)
    assert np.isfinite(stable(np.array([value]))[1]).all()


DOUBTFUL: list[tuple[Build, str]] = [
    (lambda x: np.exp(x), "exp(x): overflows for x > 709.8"),
    (lambda x: 1 - np.cos(x), "1 - cos(x): loses digits"),
    (lambda x: np.sqrt(x + 1) - np.sqrt(x), "sqrt(x) - sqrt(y): loses digits"),
    (lambda x: np.exp(-(x**2)) - np.exp(-2 * x**2), "exp(x) - exp(y): loses digits"),
    (lambda x: np.mean(x**2) - np.mean(x) ** 2, "mean(x²) - mean(x)²: loses digits"),
    (lambda x: np.linalg.det(np.outer(x, x)), "det(A): overflows"),
    (lambda x: np.linalg.inv(np.outer(x, x)) @ x, "inv(A) @ b: is slower than solve"),
    (lambda x: np.prod(x), "prod(x): overflows"),
    (lambda x: np.sqrt(x**2 + x[0] ** 2), "sqrt(x² + y²): overflows for |x| > 1e+154"),
]


@pytest.mark.parametrize("build, said", DOUBTFUL)
def test_what_has_no_stable_form_is_named(build: Build, said: str) -> None:
    [found] = lint([np.sum(build(vector())).node])
    assert str(found).startswith(said)
    assert "test_numerics.py:" in str(found)


FINE: list[Build] = [
    lambda x: np.exp(-(x**2)),
    lambda x: np.exp(-abs(x) / 2),
    lambda x: np.exp(-np.sum(x**2) / (2 * np.mean(x**2))),
    lambda x: np.exp(x - np.max(x)),
    lambda x: np.exp(sg.nn.log_softmax(x, 0)),
    lambda x: np.log(np.sum(np.exp(x))),
    lambda x: sg.nn.softmax(x, 0) * np.tanh(x),
    lambda x: np.var(x) + np.hypot(x, 1),
    lambda x: np.prod(x[:3]),
]


@pytest.mark.parametrize("build", FINE)
def test_nothing_is_said_without_reason(build: Build) -> None:
    assert lint([np.sum(build(vector())).node]) == []


def test_long_chains() -> None:
    x = sg.scalar("x")
    y = x
    for _ in range(20_000):
        y = y + x
    assert len(lint([np.exp(y).node])) == 1  # type: ignore[attr-defined]
