"""The examples do what they say: each is imported, and its stated numbers are asserted."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import symgrad as sg

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def load(name: str) -> ModuleType:
    """Import an example as a module of its own, without running its main()."""
    full = f"examples_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, EXAMPLES / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[full] = module
    return sys.modules[full]


def solved(runs: list[tuple[float, int]]) -> int:
    return sum(loss < 1e-3 for loss, _ in runs)


def test_there_are_five_examples() -> None:
    assert NAMES == ["backprop", "breast_cancer", "digits", "quiz", "xor"]


@pytest.mark.parametrize("name", NAMES)
def test_is_a_model_file(name: str) -> None:
    example = load(name)
    assert isinstance(example.model, sg.Model)
    assert example.model.data
    assert set(example.model.gradients) == set(example.model.differentiated)


@pytest.mark.parametrize("name", NAMES)
def test_says_how_to_run_it(name: str) -> None:
    assert f"python examples/{name}.py" in (load(name).__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    model: sg.Model = load(name).model
    step = model.compile()
    values: dict[str, Any] = {**model.data, **model.initial(seed=1)}
    _, gradients = step(**values)
    rng = np.random.default_rng(0)
    direction = {n: rng.standard_normal(g.shape).astype(g.dtype) for n, g in gradients.items()}
    single = any(g.dtype == np.float32 for g in gradients.values())
    eps, tolerance = (1e-2, 1e-2) if single else (1e-5, 1e-7)
    up, down = (
        step(**{**values, **{n: values[n] + sign * eps * d for n, d in direction.items()}})[0]
        for sign in (1, -1)
    )
    expected = sum(float(np.sum(gradients[n] * d)) for n, d in direction.items())
    assert (float(up) - float(down)) / (2 * eps) == pytest.approx(expected, rel=tolerance)


def test_xor_the_books_weights_solve_it() -> None:
    xor = load("xor")
    net = xor.xor_net(hidden=2)
    loss, gradients = net.compile()(x=xor.X, t=xor.T, **xor.BOOK)
    outputs = net.compile_forward()(x=xor.X, **xor.BOOK)
    assert loss == 0
    assert all(not np.any(g) for g in gradients.values())
    assert outputs["a"].tolist() == [[0, -1], [1, 0], [1, 0], [2, 1]]
    assert outputs["h"].tolist() == [[0, 0], [1, 0], [1, 0], [2, 1]]
    assert outputs["y"].tolist() == [0, 1, 1, 0]


def test_xor_no_linear_model_does() -> None:
    line = load("xor").linear_model()
    loss, gradients = line.compile()(**line.data, **line.initial())
    assert loss == 0.25
    assert all(not np.any(g) for g in gradients.values())


def test_xor_eight_units_learn_it() -> None:
    xor = load("xor")
    assert solved(xor.train_seeds(xor.xor_net(hidden=8))) >= 18


def test_xor_two_units_mostly_die() -> None:
    xor = load("xor")
    assert 1 <= solved(xor.train_seeds(xor.xor_net(hidden=2))) <= 10


def test_digits_reaches_95_percent() -> None:
    digits = load("digits")
    assert len(digits.X_test) == 599
    forward = digits.model.compile_forward()
    assert digits.accuracy(forward, digits.train(forward)) >= 0.95


def test_breast_cancer_equals_scikit_learn() -> None:
    example = load("breast_cancer")
    expected = example.reference()
    for theta, _ in example.fit().values():
        assert np.max(np.abs(theta - expected)) < 1e-5


def test_quiz_1() -> None:
    quiz = load("quiz")
    value, gradients = quiz.model.compile()(x=2.0, z=3.0)
    got = {"y": value, **gradients}
    assert got.keys() == quiz.QUIZ_1.keys()
    for name, expected in quiz.QUIZ_1.items():
        assert abs(got[name] - expected) < 1e-9


def test_quiz_2() -> None:
    differences = load("quiz").quiz2_differences()
    assert differences.keys() == {"alpha1", "alpha2", "beta"}
    assert max(differences.values()) < 1e-12


def test_quiz_cosine() -> None:
    quiz = load("quiz")
    step = quiz.cosine.compile()
    for at, (value, slope) in quiz.COSINE.items():
        got, gradients = step(x=at)
        assert abs(got - value) < 1e-9
        assert abs(gradients["x"] - slope) < 1e-9


@pytest.mark.parametrize("depth", range(1, 6))
def test_backprop_is_algorithm_6_4(depth: int) -> None:
    for loss, difference in load("backprop").compare(depth):
        assert loss > 0
        assert difference < 1e-12


@pytest.mark.parametrize("name", ["backprop", "quiz"])
def test_main_prints_formulas_not_handles(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    load(name).main()
    printed = capsys.readouterr().out
    assert "∂" in printed
    assert "<Tensor" not in printed
