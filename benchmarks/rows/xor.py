"""A training step of the smallest net there is: 2-2-1, sigmoids, four samples."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.problem import Array, Problem, Row


def problem() -> Problem:
    rng = np.random.default_rng(0)
    data = {
        "x": np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
        "t": np.array([0.0, 1.0, 1.0, 0.0]),
    }
    parameters = {
        "W": rng.standard_normal((2, 2)),
        "c": rng.standard_normal(2),
        "w": rng.standard_normal(2),
        "b": np.zeros(()),
    }
    return Problem(data, parameters, {"x": ("n", 2), "t": ("n",)}, rate=0.1)


def loss(m: Any, x: Any, t: Any, W: Any, c: Any, w: Any, b: Any) -> Any:
    h = m.sigmoid(m.linear(x, W, c))
    return m.logistic_loss(m.linear(h, w, b), t)


def by_hand(x: Array, t: Array, W: Array, c: Array, w: Array, b: Array) -> tuple[Any, ...]:
    h = 1 / (1 + np.exp(-(x @ W + c)))
    z = h @ w + b
    value = (np.logaddexp(0, z) - t * z).mean()
    delta = (1 / (1 + np.exp(-z)) - t) / len(t)
    below = np.outer(delta, w) * h * (1 - h)
    return value, x.T @ below, below.sum(axis=0), h.T @ delta, delta.sum()


def with_numba(problem: Problem) -> Any:
    """Return a step as loops over samples and units, updating in place."""
    from numba import njit

    rate = problem.rate

    @njit
    def step(x: Array, t: Array, W: Array, c: Array, w: Array, b: Array) -> float:
        by_W, by_c, by_w, by_b = np.zeros((2, 2)), np.zeros(2), np.zeros(2), 0.0
        h = np.empty(2)
        value = 0.0
        for i in range(len(x)):
            z = b[0]
            for j in range(2):
                h[j] = 1 / (1 + np.exp(-(x[i, 0] * W[0, j] + x[i, 1] * W[1, j] + c[j])))
                z += h[j] * w[j]
            value += max(z, 0.0) + np.log1p(np.exp(-abs(z))) - t[i] * z
            delta = (1 / (1 + np.exp(-z)) - t[i]) / len(x)
            by_b += delta
            for j in range(2):
                below = delta * w[j] * h[j] * (1 - h[j])
                by_w[j] += delta * h[j]
                by_c[j] += below
                by_W[0, j] += below * x[i, 0]
                by_W[1, j] += below * x[i, 1]
        W -= rate * by_W
        c -= rate * by_c
        w -= rate * by_w
        b[0] -= rate * by_b
        return value / len(x)

    parameters = [np.atleast_1d(array.copy()) for array in problem.parameters.values()]
    return partial(step, *problem.data.values(), *parameters), lambda: [
        now.reshape(start.shape)
        for now, start in zip(parameters, problem.parameters.values(), strict=True)
    ]


row = Row(
    name="xor",
    target=0.5,
    title="Training step of a 2-2-1 net, sigmoid, logistic loss, four samples, float64",
    problem=problem,
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-9,
    trains=True,
    builders={"Numba by hand": with_numba},
    floors=("Numba by hand",),
)
