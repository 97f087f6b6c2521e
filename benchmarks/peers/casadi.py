"""CasADi: one function by reverse mode on fixed buffers, interpreted or through a C compiler.

CasADi computes in float64 and stores columns first. Few numbers become scalar code (SX), many
become operations on matrices (MX). Sizes are part of a function, so a batch size has its own.
"""

from __future__ import annotations

import itertools
import shutil
from types import SimpleNamespace
from typing import Any

import casadi as ca
import numpy as np

from benchmarks.problem import Array, Problem, Row

SCALAR_CODE_BELOW = 64  # elements
COPIED_BELOW = 4096  # bytes


def linear(x: Any, W: Any, b: Any) -> Any:
    return x @ W + (b if b.is_scalar() else ca.repmat(b.T, x.shape[0], 1))


def cross_entropy(logits: Any, onehot: Any) -> Any:
    high = ca.MX(ca.mmax(logits))
    shifted = logits - high
    log_sums = ca.log(ca.sum2(ca.exp(shifted)))
    return (ca.sum1(log_sums) - ca.dot(onehot, shifted)) / logits.shape[0]


def logistic_loss(z: Any, t: Any) -> Any:
    softplus = ca.fmax(z, 0) + ca.log1p(ca.exp(-ca.fabs(z)))
    return ca.sum1(softplus - t * z) / z.shape[0]


m = SimpleNamespace(
    exp=ca.exp,
    log=ca.log,
    sin=ca.sin,
    tanh=ca.tanh,
    sum=lambda x: ca.sum1(ca.sum2(x)),
    sigmoid=lambda x: 1 / (1 + ca.exp(-x)),
    linear=linear,
    cross_entropy=cross_entropy,
    logistic_loss=logistic_loss,
)


def options(jit: bool) -> dict[str, Any]:
    """Return what makes CasADi compile a function, or leave it to its virtual machine."""
    if not jit:
        return {}
    if not shutil.which("gcc"):
        raise ModuleNotFoundError(name="gcc")
    return {"jit": True, "compiler": "shell", "jit_options": {"flags": ["-O3", "-march=native"]}}


def native(problem: Problem) -> dict[str, Array]:
    """Return the arguments as CasADi reads them: float64, columns first, labels as unit vectors."""
    return {
        name: np.array(
            np.eye(problem.classes)[array] if array.dtype.kind == "i" else array,
            dtype=np.float64,
            order="F",
        )
        for name, array in problem.arguments.items()
    }


def function(row: Row, problem: Problem, arrays: dict[str, Array], jit: bool) -> Any:
    """Return the value and the gradients, or the loss and the parameters after a step."""
    small = sum(array.size for array in arrays.values()) < SCALAR_CODE_BELOW
    symbol = ca.SX.sym if small else ca.MX.sym
    symbols = {name: symbol(name, *array.shape) for name, array in arrays.items()}
    loss = row.loss_for("casadi")(m, **symbols)
    wanted = ["value", *(f"grad:value:{name}" for name in problem.parameters)]
    derived = ca.Function("f", [*symbols.values()], [loss], [*symbols], ["value"]).factory(
        "derived", list(symbols), wanted
    )
    value, *gradients = derived.call([*symbols.values()], True, False)  # inlined
    if problem.rate is not None:
        pairs = zip(problem.parameters, gradients, strict=True)
        gradients = [symbols[name] - problem.rate * gradient for name, gradient in pairs]
    return ca.Function("f", [*symbols.values()], [value, *gradients], options(jit))


class OnBuffers:
    """A function that reads and writes given arrays without conversions.

    Each call hands over the arguments (not the ``kept`` last ones, which stay where they are):
    small ones are copied, which is faster than telling CasADi another address.
    """

    def __init__(self, f: Any, arrays: list[Array], results: list[Array], kept: int = 0):
        self.results = results
        self.buffer, self.evaluate = f.buffer()
        self.copied, self.addressed = [], []
        for k, array in enumerate(arrays):
            view = _view(array)
            if k >= len(arrays) - kept:
                self.buffer.set_arg(k, view)
            elif array.nbytes < COPIED_BELOW:
                own = _view(array.copy("K"))
                self.buffer.set_arg(k, own)
                self.copied.append((own, view))
            else:
                self.addressed.append((k, view))
        for k, array in enumerate(results):
            self.buffer.set_res(k, _view(array))

    def __call__(self) -> list[Array]:
        """Hand over the arguments, evaluate, return the results."""
        for own, view in self.copied:
            own[:] = view
        for k, view in self.addressed:
            self.buffer.set_arg(k, view)
        self.evaluate()
        return self.results


def value_and_grad(row: Row, problem: Problem, jit: bool = False) -> Any:
    def bind(problem: Problem) -> Any:
        arrays = native(problem)
        results = [np.zeros(()), *(np.zeros_like(arrays[name]) for name in problem.parameters)]
        return OnBuffers(function(row, problem, arrays, jit), list(arrays.values()), results)

    return bind


def train(row: Row, problem: Problem, jit: bool = False) -> Any:
    arrays = native(problem)
    f = function(row, problem, arrays, jit)
    data = [arrays[name] for name in problem.data]
    here = [arrays[name] for name in problem.parameters]
    there = [np.zeros_like(array) for array in here]
    kept = len(here)
    turns = itertools.cycle(
        [
            OnBuffers(f, data + here, [np.zeros(()), *there], kept),
            OnBuffers(f, data + there, [np.zeros(()), *here], kept),
        ]
    )
    parameters = here

    def step() -> Array:
        nonlocal parameters
        loss, *parameters = next(turns)()
        return loss

    return step, lambda: parameters


def _view(array: Array) -> memoryview:
    return memoryview(array.ravel("K"))
