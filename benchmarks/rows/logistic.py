"""Logistic regression on an array that fits no cache: how often is it read?"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.problem import Array, Call, Problem, Row


def problem() -> Problem:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200_000, 64))
    truth = rng.standard_normal(64)
    t = (X @ truth + rng.logistic(size=len(X)) > 0).astype(np.float64)
    parameters = {"w": rng.standard_normal(64) / 8, "b": np.array(0.1)}
    return Problem({"X": X, "t": t}, parameters, {"X": ("n", 64), "t": ("n",)})


def loss(m: Any, X: Any, t: Any, w: Any, b: Any) -> Any:
    return m.logistic_loss(m.linear(X, w, b), t)


def by_hand(X: Array, t: Array, w: Array, b: Array) -> tuple[Any, ...]:
    z = X @ w
    z += b
    e = np.exp(-np.abs(z))
    value = (np.maximum(z, 0) + np.log1p(e) - t * z).mean()
    delta = np.where(z >= 0, 1, e)
    e += 1
    delta /= e
    delta -= t
    delta /= len(t)
    return value, delta @ X, delta.sum()


def one_reading(problem: Problem) -> Call:
    """Return one pass over X: a matrix-vector product."""
    X, w = problem.data["X"], problem.parameters["w"]
    z = np.empty(len(X))

    def call() -> None:
        np.matmul(X, w, out=z)

    return call


row = Row(
    name="logistic",
    target=0.75,
    title="Mean logistic loss of X w + b and its gradient, X 200,000 × 64, float64",
    problem=problem,
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-9,
    builders={"X w once": one_reading},
    floors=("X w once",),
)
