"""PyTorch: eager with autograd, or the whole of loss, gradients and update in torch.compile."""

from __future__ import annotations

import timeit
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.machine import cores
from benchmarks.problem import Problem, Row

CORES = cores()
torch.set_num_threads(CORES)


def linear(x: Any, W: Any, b: Any) -> Any:
    if W.ndim == 1:
        return x @ W + b
    return torch.addmm(b, x, W) if x.ndim == 2 else F.linear(x, W.T, b)


m = SimpleNamespace(
    exp=torch.exp,
    log=torch.log,
    sin=torch.sin,
    tanh=torch.tanh,
    sum=torch.sum,
    mean=torch.mean,
    sqrt=torch.sqrt,
    reshape=torch.reshape,
    transpose=torch.permute,
    sigmoid=torch.sigmoid,
    softmax=lambda x: torch.softmax(x, -1),
    linear=linear,
    cross_entropy=F.cross_entropy,
    logistic_loss=F.binary_cross_entropy_with_logits,
    gelu=lambda x: F.gelu(x, approximate="tanh"),
    layer_norm=lambda x, gain, bias: F.layer_norm(x, gain.shape, gain, bias),
    attention=F.scaled_dot_product_attention,
)


def tensors(values: dict[str, Any], differentiated: bool = False) -> list[Any]:
    return [torch.tensor(value, requires_grad=differentiated) for value in values.values()]


def use_best_threads(call: Any) -> None:
    """Try one thread and one per core, which for small tensors can be much slower."""
    times = {}
    for threads in (1, CORES):
        torch.set_num_threads(threads)
        call()
        times[threads] = min(timeit.repeat(call, number=1, repeat=9))
    torch.set_num_threads(min(times, key=times.get))


def value_and_grad(row: Row, problem: Problem, compiled: bool = False) -> Any:
    names = list(problem.arguments)
    loss = row.loss_for("torch")

    def value(*args: Any) -> Any:
        return loss(m, **dict(zip(names, args, strict=True)))

    if compiled:
        return _compiled(value, range(len(problem.data), len(names)), row.kind == "sizes")

    def bind(problem: Problem) -> Any:
        parameters = tensors(problem.parameters, differentiated=True)
        args = [*tensors(problem.data), *parameters]

        def call() -> Any:
            result = value(*args)
            return result.detach(), *torch.autograd.grad(result, parameters)

        if row.kind == "steady":
            use_best_threads(call)
        return call

    return bind


def _compiled(value: Any, by: range, dynamic: bool) -> Any:
    derived = torch.func.grad_and_value(value, argnums=tuple(by))

    @torch.compile(dynamic=dynamic or None)
    def compiled(*args: Any) -> Any:
        gradients, result = derived(*args)
        return result, *gradients

    def bind(problem: Problem) -> Any:
        args = tensors(problem.arguments)
        return torch.no_grad()(lambda: compiled(*args))

    return bind


def train(row: Row, problem: Problem, compiled: bool = False) -> Any:
    if row.kind == "steady":
        use_best_threads(training(row, problem, compiled)[0])
    return training(row, problem, compiled)


def training(row: Row, problem: Problem, compiled: bool) -> Any:
    names = list(problem.arguments)
    loss = row.loss_for("torch")
    data = tensors(problem.data)
    start = problem.parameters
    if compiled:  # torch.compile does not update numbers (0-d tensors), but vectors of one element
        start = {name: np.atleast_1d(array) for name, array in start.items()}
    parameters = tensors(start, differentiated=not compiled)

    def value(*args: Any) -> Any:
        return loss(m, **dict(zip(names, args, strict=True)))

    def descend(parameters: Any, gradients: Any) -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=problem.rate)

    def eager() -> Any:
        result = value(*data, *parameters)
        gradients = torch.autograd.grad(result, parameters)
        with torch.no_grad():
            descend(parameters, gradients)
        return result.detach()

    derived = torch.func.grad_and_value(value, argnums=tuple(range(len(data), len(names))))

    @torch.compile
    def whole(data: Any, parameters: Any) -> Any:
        gradients, result = derived(*data, *parameters)
        descend(parameters, gradients)
        return result

    step = torch.no_grad()(lambda: whole(data, parameters)) if compiled else eager
    shapes = [array.shape for array in problem.parameters.values()]
    return step, lambda: [
        parameter.detach().reshape(shape)
        for parameter, shape in zip(parameters, shapes, strict=True)
    ]
