"""A calculus quiz over long arrays: exp(xz) + xz / log(x) + sin(log(x)) / exp(xz)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.problem import Array, Call, Problem, Row

COUNT = 5_000_000


def problem(dtype: type) -> Problem:
    rng = np.random.default_rng(0)
    parameters = {
        "x": rng.uniform(1.5, 2.5, COUNT).astype(dtype),
        "z": rng.uniform(0.5, 2.0, COUNT).astype(dtype),
    }
    return Problem({}, parameters, {"x": ("n",), "z": ("n",)})


def loss(m: Any, x: Any, z: Any) -> Any:
    xz, log_x = x * z, m.log(x)
    exp_xz = m.exp(xz)
    return m.sum(exp_xz + xz / log_x + m.sin(log_x) / exp_xz)


def by_hand(x: Array, z: Array) -> tuple[Any, ...]:
    xz, log_x = x * z, np.log(x)
    exp_xz = np.exp(xz)
    ratio = np.sin(log_x)
    ratio /= exp_xz
    inverse = np.reciprocal(log_x)
    value = (exp_xz + xz * inverse + ratio).sum()
    by_xz = exp_xz + inverse
    by_xz -= ratio
    by_log = np.cos(log_x, out=log_x)
    by_log /= exp_xz
    inverse *= inverse
    inverse *= xz
    by_log -= inverse
    by_log /= x
    by_log += by_xz * z
    by_xz *= x
    return value, by_log, by_xz


def with_numba(problem: Problem) -> Call:
    """Return one loop over all elements, on all cores."""
    from numba import njit, prange

    @njit(parallel=True)
    def fused(x: Array, z: Array) -> tuple[Any, ...]:
        by_x, by_z = np.empty_like(x), np.empty_like(z)
        one = x.dtype.type(1)
        value = 0.0
        for i in prange(len(x)):
            xz, log_x = x[i] * z[i], np.log(x[i])
            exp_xz, inverse = np.exp(xz), one / log_x
            ratio = np.sin(log_x) / exp_xz
            value += exp_xz + xz * inverse + ratio
            by_xz = exp_xz + inverse - ratio
            by_log = np.cos(log_x) / exp_xz - xz * inverse * inverse
            by_x[i] = by_xz * z[i] + by_log / x[i]
            by_z[i] = by_xz * x[i]
        return value, by_x, by_z

    return partial(fused, *problem.parameters.values())


f64 = Row(
    name="quiz1_f64",
    target=0.25,
    title="Σ exp(xz) + xz / log(x) + sin(log(x)) / exp(xz) and its gradient by x and z, "
    "5,000,000 elements, float64",
    problem=partial(problem, np.float64),
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-9,
    builders={"Numba by hand": with_numba},
    floors=("Numba by hand",),
)
f32 = replace(
    f64,
    name="quiz1_f32",
    target=0.7,
    title=f64.title.replace("float64", "float32"),
    problem=partial(problem, np.float32),
    tolerance=1e-4,
)
