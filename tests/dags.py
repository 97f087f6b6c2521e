"""Random graphs: what Hypothesis draws to test differentiation, passes and backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import symgrad as sg
from symgrad.ir.types import Array
from symgrad.tensor import Tensor

steady = settings(derandomize=True, deadline=None, max_examples=60)

Step = Callable[[Any, Any], Any]


def _column(a: Any) -> Any:
    return sg.sum(a, axis=-1, keepdims=True) if a.ndim else a


# Every value stays between -20 and 20, whatever the order of the steps.
SMOOTH: list[Step] = [
    lambda a, b: np.tanh(a + b),
    lambda a, b: np.tanh(a - b),
    lambda a, b: np.tanh(a * b),
    lambda a, b: a / (1 + b * b),
    lambda a, b: np.sin(a) * np.cos(b),
    lambda a, b: np.exp(-a * a),
    lambda a, b: np.sqrt(1 + a * a),
    lambda a, b: np.log(2 + np.sin(a)) - 0 * b,
    lambda a, b: np.log(1 + np.exp(np.tanh(a))),
    lambda a, b: 1 / (1 + np.exp(-np.tanh(b))),
    lambda a, b: np.tanh(a) ** 3 / 3,
    lambda a, b: (2 + np.tanh(a)) ** np.tanh(b),
    lambda a, b: np.tanh(np.sum(a * 2) / 7),
    lambda a, b: np.tanh(_column(a)) * b if a.ndim else np.tanh(b) * 1,
    lambda a, b: np.mean(a, axis=0) if a.ndim else np.negative(-a),
    lambda a, b: np.tanh(a @ b.T) @ np.tanh(b) / 3 if a.ndim == b.ndim == 2 else np.tanh(a * 0.5),
    lambda a, b: np.tanh(a @ b) if a.ndim == b.ndim == 1 else np.tanh(b / 3 * 2),
    lambda a, b: sg.nn.softmax(np.tanh(a)) if a.ndim else np.arctan(a),
    lambda a, b: np.exp(np.tanh(a)) / np.sum(np.exp(np.tanh(a))) - b / 2,
    lambda a, b: np.reshape(np.tanh(a), -1)[-2:][0] + np.tanh(b) if a.ndim == 2 else np.tanh(b),
    lambda a, b: a[..., ::-1] / 2 if a.ndim else a / 2 + np.tanh(b) / 2,
    lambda a, b: np.concatenate([np.tanh(a), np.tanh(b)])[-3:] if a.ndim == b.ndim == 1 else a * 1,
    lambda a, b: np.prod(np.tanh(a), axis=-1) if a.ndim == 1 else np.arctan(b) / 1,
    lambda a, b: sg.special.logsumexp(np.tanh(a), axis=0) if a.ndim == 1 else np.tanh(a - 0),
    lambda a, b: np.tanh(np.tanh(a) * 2 - np.tanh(b) * 2),
    lambda a, b: np.tanh(a) * (1 / (2 + np.sin(b))),
]
ROUGH: list[Step] = [
    lambda a, b: np.maximum(a, b),
    lambda a, b: np.where(a > b, np.tanh(a), b),
    lambda a, b: np.abs(-a),
    lambda a, b: sg.nn.relu(sg.nn.relu(a)),
    lambda a, b: sg.stop_gradient(np.tanh(a)),
    lambda a, b: np.max(a, axis=-1) if a.ndim == 1 else np.clip(b, -0.5, 0.5),
    lambda a, b: np.where(np.logical_not(np.logical_not(a > 0)), b, b),
    lambda a, b: a.astype("int64") + np.sign(b),
]


@dataclass(frozen=True)
class Dag:
    """Declared inputs of shapes [], [3] and [n, 3], values to call them with, and a chain."""

    inputs: list[Tensor]
    arrays: list[Array]
    values: list[Tensor]

    @property
    def loss(self) -> Tensor:
        """One number that depends on the last values."""
        return sg.sum(self.values[-1]) + sg.sum(self.values[len(self.values) // 2]) / 3

    def __repr__(self) -> str:
        return str(sg.Graph(self.inputs, [self.loss]))


def _grown(chosen: list[tuple[Step, int, int]], seed: int) -> Dag:
    rng = np.random.default_rng(seed)
    inputs = [sg.scalar("s"), sg.vector("v", 3), sg.matrix("m", ("n", 3))]
    arrays = [rng.uniform(-1.5, 1.5, shape) for shape in ((), (3,), (2, 3))]
    values = list(inputs)
    for step, a, b in chosen:
        values.append(step(values[-1 - a % len(values)], values[-1 - b % len(values)]))
    return Dag(inputs, [np.asarray(a) for a in arrays], values)


def dags(steps: list[Step], max_size: int = 10) -> st.SearchStrategy[Dag]:
    """Return random graphs made of ``steps``; recent values are likely operands."""
    chosen = st.tuples(st.sampled_from(steps), st.integers(0, 6), st.integers(0, 6))
    return st.builds(_grown, st.lists(chosen, min_size=1, max_size=max_size), st.integers(0, 99))
