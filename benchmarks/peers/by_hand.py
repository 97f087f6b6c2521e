"""NumPy, with the gradients written out by the row."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.problem import Array, Problem, Row


def value_and_grad(row: Row, problem: Problem) -> Any:
    return lambda problem: partial(row.by_hand, **problem.arguments)


def train(row: Row, problem: Problem) -> Any:
    arguments = {**problem.data, **{n: a.copy() for n, a in problem.parameters.items()}}
    parameters = [arguments[name] for name in problem.parameters]
    rate = problem.rate

    def step() -> Array:
        loss, *gradients = row.by_hand(**arguments)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            gradient *= rate
            parameter -= gradient
        return loss

    return step, lambda: parameters
