"""JAX: one jitted function on arrays that are already JAX's; parameters are donated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.problem import Problem, Row

jax.config.update("jax_enable_x64", True)


def cross_entropy(logits: Any, t: Any) -> Any:
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), t[:, None], axis=1)
    return -jnp.mean(picked)


m = SimpleNamespace(
    exp=jnp.exp,
    log=jnp.log,
    sin=jnp.sin,
    tanh=jnp.tanh,
    sum=jnp.sum,
    mean=jnp.mean,
    sqrt=jnp.sqrt,
    reshape=jnp.reshape,
    transpose=jnp.transpose,
    sigmoid=jax.nn.sigmoid,
    softmax=jax.nn.softmax,
    linear=lambda x, W, b: x @ W + b,
    cross_entropy=cross_entropy,
    logistic_loss=lambda z, t: jnp.mean(jax.nn.softplus(z) - t * z),
    gelu=jax.nn.gelu,
)


def derived(row: Row, problem: Problem) -> Any:
    """Return ``f(data, parameters)`` for the value and the gradients, not yet compiled."""
    loss = row.loss_for("jax")
    return jax.value_and_grad(lambda p, data: loss(m, **data, **p))


def arrays(values: dict[str, Any]) -> dict[str, Any]:
    return {name: jnp.array(value) for name, value in values.items()}


def value_and_grad(row: Row, problem: Problem) -> Any:
    names = list(problem.arguments)
    count = len(problem.data)
    f = derived(row, problem)

    @jax.jit
    def compiled(*args: Any) -> Any:
        value, gradients = f(
            dict(zip(names[count:], args[count:], strict=True)),
            dict(zip(names[:count], args[:count], strict=True)),
        )
        return value, *(gradients[name] for name in names[count:])

    def bind(problem: Problem) -> Any:
        args = tuple(arrays(problem.arguments).values())

        def call() -> Any:
            results = compiled(*args)
            results[0].block_until_ready()  # dispatch is asynchronous
            return results

        return call

    return bind


def train(row: Row, problem: Problem) -> Any:
    f = derived(row, problem)

    def descend(parameters: Any, data: Any) -> Any:
        loss, gradients = f(parameters, data)
        return loss, jax.tree.map(lambda p, g: p - problem.rate * g, parameters, gradients)

    compiled = jax.jit(descend, donate_argnums=0)
    parameters, data = arrays(problem.parameters), arrays(problem.data)

    def step() -> Any:
        nonlocal parameters
        loss, parameters = compiled(parameters, data)
        return loss  # not waited for: steps may overlap, the last of a block is waited for

    return step, lambda: [parameters[name] for name in problem.parameters]
