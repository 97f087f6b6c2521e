"""Training steps of multilayer perceptrons, and how soon the first one is done.

h₁ = tanh(x W₁ + b₁), ..., logits = h W + b; the mean cross-entropy; plain gradient descent.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.problem import Array, Call, Problem, Row

LARGE = (784, 512, 512, 10)
SMALL = (64, 32, 10)


def classifier(sizes: tuple[int, ...], batch: int, rate: float | None = 0.1) -> Problem:
    rng = np.random.default_rng(0)
    data = {
        "x": rng.random((batch, sizes[0]), dtype=np.float32),
        "t": rng.integers(0, sizes[-1], batch),
    }
    parameters = {}
    for k, (rows, columns) in enumerate(pairwise(sizes), start=1):
        weights = rng.standard_normal((rows, columns), dtype=np.float32)
        parameters[f"W{k}"] = weights / np.sqrt(np.float32(rows))
        parameters[f"b{k}"] = np.zeros(columns, np.float32)
    shapes: dict[str, tuple[str | int, ...]] = {"x": ("n", sizes[0]), "t": ("n",)}
    return Problem(data, parameters, shapes, rate, classes=sizes[-1])


def loss(m: Any, x: Any, t: Any, **parameters: Any) -> Any:
    h = x
    depth = len(parameters) // 2
    for k in range(1, depth + 1):
        a = m.linear(h, parameters[f"W{k}"], parameters[f"b{k}"])
        h = m.tanh(a) if k < depth else a
    return m.cross_entropy(h, t)


def by_hand(x: Array, t: Array, **parameters: Array) -> tuple[Any, ...]:
    depth = len(parameters) // 2
    hidden = [x]
    for k in range(1, depth + 1):
        a = hidden[-1] @ parameters[f"W{k}"]
        a += parameters[f"b{k}"]
        hidden.append(np.tanh(a, out=a) if k < depth else a)
    delta = hidden.pop()
    delta -= delta.max(axis=1, keepdims=True)
    rows = np.arange(len(t))
    picked = delta[rows, t]
    np.exp(delta, out=delta)
    sums = delta.sum(axis=1, keepdims=True)
    value = np.mean(np.log(sums[:, 0]) - picked)
    delta /= sums
    delta[rows, t] -= 1
    delta /= len(t)

    gradients: list[Array] = []
    for k in range(depth, 0, -1):
        h = hidden[k - 1]
        gradients[:0] = [h.T @ delta, delta.sum(axis=0)]
        if k > 1:
            delta = delta @ parameters[f"W{k}"].T
            h *= h
            np.subtract(1, h, out=h)
            delta *= h
    return value, *gradients


def products_alone(problem: Problem) -> Call:
    """Return the matrix products of a step and nothing else, into arrays that are there."""
    x = problem.data["x"]
    weights = [array for array in problem.parameters.values() if array.ndim == 2]
    hidden = [x, *(np.ones((len(x), W.shape[1]), np.float32) for W in weights)]
    deltas = [np.ones_like(h) for h in hidden]
    gradients = [np.ones_like(W) for W in weights]

    def call() -> None:
        for k, W in enumerate(weights):
            np.matmul(hidden[k], W, out=hidden[k + 1])
        for k in reversed(range(len(weights))):
            np.matmul(hidden[k].T, deltas[k + 1], out=gradients[k])
            if k:
                np.matmul(deltas[k + 1], weights[k].T, out=deltas[k])

    return call


large = Row(
    name="mlp_large",
    target_to_floor=1.25,
    title="Training step of an MLP 784-512-512-10, tanh, cross-entropy, batch 128, float32",
    problem=partial(classifier, LARGE, 128),
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-3,
    trains=True,
    builders={"GEMMs alone": products_alone},
    floors=("GEMMs alone",),
)
small = replace(
    large,
    name="mlp_small",
    target=0.5,
    target_to_floor=None,
    title="Training step of an MLP 64-32-10, tanh, cross-entropy, batch 32, float32",
    problem=partial(classifier, SMALL, 32),
)
startup = replace(
    large,
    name="startup",
    title="From the start of a process to the first training step of mlp_large, and to the second",
    builders={},
    floors=("numpy",),
    without={"casadi-jit": "the C compiler alone takes longer than all others"},
    kind="startup",
)
