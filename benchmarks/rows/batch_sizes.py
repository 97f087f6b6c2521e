"""Twenty batch sizes in a row: what compiling anew for each size costs."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.problem import Problem
from benchmarks.rows import mlp

SIZES = range(7, 141, 7)


def problem(batch: int = SIZES[0]) -> Problem:
    return mlp.classifier(mlp.SMALL, batch, rate=None)


row = replace(
    mlp.small,
    name="batch_sizes",
    title="Value and gradient of the MLP 64-32-10 for 20 batch sizes (7, 14, ..., 140), once each",
    problem=problem,
    trains=False,
    builders={},
    floors=("numpy",),
    without={"casadi-jit": "the C compiler takes seconds for each size"},
    kind="sizes",
)
