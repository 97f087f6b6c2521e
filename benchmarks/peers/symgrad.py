"""symgrad: declared once with named sizes, compiled once."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import symgrad as sg
from benchmarks.problem import Array, Problem, Row

m = SimpleNamespace(
    exp=sg.exp,
    log=sg.log,
    sin=sg.sin,
    tanh=sg.tanh,
    sum=sg.sum,
    mean=sg.mean,
    sqrt=sg.sqrt,
    reshape=sg.reshape,
    transpose=sg.transpose,
    sigmoid=sg.nn.sigmoid,
    softmax=sg.nn.softmax,
    linear=lambda x, W, b: x @ W + b,
    cross_entropy=sg.nn.cross_entropy,
    logistic_loss=sg.nn.binary_cross_entropy_with_logits,
)


def declared(row: Row, problem: Problem) -> tuple[sg.Tensor, dict[str, sg.Tensor]]:
    """Return the loss, and the tensors it is a function of."""
    tensors = {
        name: sg.tensor(name, problem.shape(name), str(array.dtype))
        for name, array in problem.data.items()
    }
    for name, array in problem.parameters.items():
        shape = problem.shape(name)
        tensors[name] = sg.parameter(name, shape, str(array.dtype), init=array)
    return row.loss_for("symgrad")(m, **tensors), tensors


def given(arrays: dict[str, Array]) -> list[Any]:
    """Return arguments as a call takes them fastest: numbers rather than arrays of no axes."""
    return [array if array.ndim else array[()] for array in arrays.values()]


def value(row: Row, problem: Problem) -> Any:
    loss, tensors = declared(row, problem)
    f = sg.compile(list(tensors.values()), loss)
    return lambda problem: partial(f, *given(problem.arguments))


def value_and_grad(row: Row, problem: Problem) -> Any:
    loss, tensors = declared(row, problem)
    gradients = sg.grad(loss, [tensors[name] for name in problem.parameters])
    f = sg.compile(list(tensors.values()), [loss, *gradients])
    return lambda problem: partial(f, *given(problem.arguments))


def train(row: Row, problem: Problem) -> Any:
    loss, _ = declared(row, problem)
    step = sg.Model(loss, data=problem.data).compile(update=sg.optim.sgd(problem.rate))
    return (
        step.bind(**dict(zip(problem.data, given(problem.data), strict=True))),
        lambda: [step.parameters[name] for name in problem.parameters],
    )
