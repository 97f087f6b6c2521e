"""Rosenbrock's function of a million variables: slices, and their adjoint."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.problem import Array, Call, Problem, Row

COUNT = 1_000_000


def problem() -> Problem:
    x = np.random.default_rng(0).uniform(-2.0, 2.0, COUNT)
    return Problem({}, {"x": x}, {"x": ("n",)})


def loss(m: Any, x: Any) -> Any:
    return m.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def by_hand(x: Array) -> tuple[Any, ...]:
    here = x[:-1]
    bend = here * here
    np.subtract(x[1:], bend, out=bend)
    slack = 1 - here
    value = 100 * (bend @ bend) + slack @ slack
    gradient = np.empty_like(x)
    gradient[-1] = 0
    np.multiply(bend, here, out=gradient[:-1])
    gradient[:-1] *= -400
    slack *= 2
    gradient[:-1] -= slack
    bend *= 200
    gradient[1:] += bend
    return value, gradient


def with_numba(problem: Problem) -> Call:
    """Return one loop that gathers each element's gradient, on all cores."""
    from numba import njit, prange

    @njit(parallel=True)
    def gathered(x: Array) -> tuple[Any, ...]:
        last = len(x) - 1
        gradient = np.empty_like(x)
        ahead = x[1] - x[0] * x[0]
        value = 100 * ahead * ahead + (1 - x[0]) ** 2
        gradient[0] = -400 * ahead * x[0] - 2 * (1 - x[0])
        gradient[last] = 200 * (x[last] - x[last - 1] * x[last - 1])
        for i in prange(1, last):
            bend, behind = x[i + 1] - x[i] * x[i], x[i] - x[i - 1] * x[i - 1]
            slack = 1 - x[i]
            value += 100 * bend * bend + slack * slack
            gradient[i] = 200 * behind - 400 * bend * x[i] - 2 * slack
        return value, gradient

    return partial(gathered, *problem.parameters.values())


row = Row(
    name="rosenbrock",
    target=0.75,
    title="Rosenbrock's function and its gradient, 1,000,000 variables, float64",
    problem=problem,
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-9,
    builders={"Numba by hand": with_numba},
    floors=("Numba by hand",),
)
