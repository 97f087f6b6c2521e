"""A thousand layers h ← tanh(w h + b): depth, for numbers and for vectors."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.problem import Array, Call, Problem, Row

DEPTH = 1000
WIDTH = 1000


def numbers() -> Problem:
    parameters = {"h": np.array(0.5), "w": np.array(1.0), "b": np.array(1e-4)}
    return Problem({}, parameters)


def vectors() -> Problem:
    rng = np.random.default_rng(0)
    parameters = {
        "h": rng.uniform(0.1, 0.9, WIDTH),
        "w": rng.uniform(0.95, 1.0, WIDTH),
        "b": rng.uniform(0.0, 1e-3, WIDTH),
    }
    return Problem({}, parameters, dict.fromkeys("hwb", ("n",)))


def loss(m: Any, h: Any, w: Any, b: Any) -> Any:
    for _ in range(DEPTH):
        h = m.tanh(w * h + b)
    return m.sum(h)


def scanned_jax(m: Any, h: Any, w: Any, b: Any) -> Any:
    import jax

    last, _ = jax.lax.scan(lambda h, _: (m.tanh(w * h + b), None), h, None, length=DEPTH)
    return m.sum(last)


def scanned_pytensor(m: Any, h: Any, w: Any, b: Any) -> Any:
    import pytensor

    layers = pytensor.scan(
        lambda h, w, b: m.tanh(w * h + b),
        outputs_info=[h],
        non_sequences=[w, b],
        n_steps=DEPTH,
        strict=True,
        return_updates=False,
    )
    return m.sum(layers[-1])


def numbers_in_numba(problem: Problem) -> Call:
    """Return the two loops of the chain rule, compiled."""
    from numba import njit

    @njit
    def chain(h: float, w: float, b: float) -> tuple[float, ...]:
        layers = np.empty(DEPTH)
        for k in range(DEPTH):
            layers[k] = h
            h = np.tanh(w * h + b)
        value, by_h, by_w, by_b = h, 1.0, 0.0, 0.0
        for k in range(DEPTH - 1, -1, -1):
            delta = by_h * (1 - h * h)
            h = layers[k]
            by_w += delta * h
            by_b += delta
            by_h = delta * w
        return value, by_h, by_w, by_b

    return partial(chain, *map(float, problem.parameters.values()))


def vectors_in_numba(problem: Problem) -> Call:
    """Return the chain rule over whole layers, so that loops over elements run in vectors."""
    from numba import njit

    @njit
    def chain(h: Array, w: Array, b: Array) -> tuple[Any, ...]:
        layers = np.empty((DEPTH + 1, len(h)))
        layers[0] = h
        for k in range(DEPTH):
            for i in range(len(h)):
                layers[k + 1, i] = np.tanh(w[i] * layers[k, i] + b[i])
        by_h, by_w, by_b = np.ones_like(h), np.zeros_like(w), np.zeros_like(b)
        for k in range(DEPTH, 0, -1):
            for i in range(len(h)):
                delta = by_h[i] * (1 - layers[k, i] * layers[k, i])
                by_w[i] += delta * layers[k - 1, i]
                by_b[i] += delta
                by_h[i] = delta * w[i]
        return layers[DEPTH].sum(), by_h, by_w, by_b

    return partial(chain, *problem.parameters.values())


def by_hand(h: Array, w: Array, b: Array) -> tuple[Any, ...]:
    layers = np.empty((DEPTH + 1, *h.shape))
    layers[0] = h
    for k in range(DEPTH):
        layers[k + 1] = np.tanh(w * layers[k] + b)
    by_h = np.ones_like(h)
    by_w, by_b = np.zeros_like(w), np.zeros_like(b)
    for k in range(DEPTH, 0, -1):
        delta = by_h * (1 - layers[k] * layers[k])
        by_w += delta * layers[k - 1]
        by_b += delta
        by_h = delta * w
    return layers[DEPTH].sum(), by_h, by_w, by_b


scalar = Row(
    name="deep_scalar",
    target=1.0,
    title="1000 layers h ← tanh(w h + b) of numbers, gradient by the first h, w and b, float64",
    problem=numbers,
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-9,
    losses={"jax": scanned_jax, "pytensor": scanned_pytensor},
    builders={"Numba by hand": numbers_in_numba},
    floors=("Numba by hand",),
)
vector = replace(
    scalar,
    name="deep_vector",
    title="The same for vectors of 1000 elements, summed at the end",
    problem=vectors,
    builders={"Numba by hand": vectors_in_numba},
    without={"casadi-jit": "the C compiler takes more than five minutes"},
)
