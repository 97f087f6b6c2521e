"""The gradient of x² at one number: nothing to compute, so this is the cost of a call."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.problem import Array, Call, Problem, Row


def problem() -> Problem:
    return Problem({}, {"x": np.array(3.0)})


def loss(m: Any, x: Any) -> Any:
    return x * x


def by_hand(x: Array) -> tuple[Any, ...]:
    return (2 * x,)


def with_symgrad(problem: Problem) -> Call:
    import symgrad as sg

    x = sg.scalar("x")
    return partial(sg.compile(x, sg.grad(x * x, x)), float(problem.parameters["x"]))


def with_jax(problem: Problem) -> Call:
    import jax

    jax.config.update("jax_enable_x64", True)
    f = jax.jit(jax.grad(lambda x: x * x))
    x = jax.numpy.array(problem.parameters["x"])
    return lambda: f(x).block_until_ready()


def with_torch(problem: Problem) -> Call:
    import torch

    x = torch.tensor(problem.parameters["x"], requires_grad=True)
    return lambda: torch.autograd.grad(x * x, x)[0]


def with_torch_compile(problem: Problem) -> Call:
    import torch

    f = torch.compile(torch.func.grad(lambda x: x * x))
    x = torch.tensor(problem.parameters["x"])
    return torch.no_grad()(lambda: f(x))


def with_pytensor(mode: str, problem: Problem) -> Call:
    import pytensor

    from benchmarks.peers.pytensor import linker

    x = pytensor.tensor.dscalar("x")
    f = pytensor.function(
        [x],
        pytensor.Out(pytensor.grad(x * x, x), borrow=True),
        mode=linker(mode),
        trust_input=True,
    )
    return partial(f, problem.parameters["x"])


def with_casadi(problem: Problem, jit: bool = False) -> Call:
    from benchmarks.peers.casadi import OnBuffers

    return OnBuffers(derivative_in_casadi(jit), [problem.parameters["x"]], [np.zeros(())])


def with_plain_casadi(problem: Problem) -> Call:
    f, x = derivative_in_casadi(jit=False), float(problem.parameters["x"])
    return lambda: float(f(x))


def derivative_in_casadi(jit: bool) -> Any:
    import casadi as ca

    from benchmarks.peers.casadi import options

    x = ca.SX.sym("x")
    return ca.Function("f", [x], [ca.gradient(x * x, x)], options(jit))


row = Row(
    name="scalar_call",
    target=0.35,
    title="The gradient of x² at a number, the gradient alone: the cost of one call. But for its "
    "plain call, CasADi works on fixed buffers and takes no arguments: a bound, not a peer",
    problem=problem,
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-12,
    builders={
        "symgrad": with_symgrad,
        "jax": with_jax,
        "torch": with_torch,
        "torch.compile": with_torch_compile,
        "pytensor-c": partial(with_pytensor, "cvm"),
        "pytensor-numba": partial(with_pytensor, "numba"),
        "casadi": with_casadi,
        "casadi-jit": partial(with_casadi, jit=True),
        "casadi-plain call": with_plain_casadi,
    },
    # On buffers that are fixed before, no argument is handed over.
    floors=("numpy", "casadi", "casadi-jit"),
)
