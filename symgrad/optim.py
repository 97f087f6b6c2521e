"""Update rules for training, written as expressions: what a compiled training step does.

A rule takes a parameter and its gradient and returns what the parameter becomes, so that it is
optimised and compiled together with the gradient, and updates the parameter where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from symgrad import errors
from symgrad.ir.origin import here
from symgrad.ops.elementwise import sqrt
from symgrad.tensor import Tensor

Rule = Callable[[Tensor, Tensor, Mapping[str, Tensor], Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An update rule.

    Attributes:
        name: What it is called.
        slots: The arrays that it keeps for each parameter, of its shape and dtype, zero at first.
        rule: A function of a parameter, its gradient, its slots by name, and the number of the
            step (a float64 scalar, 1 at first). It returns the new values: of the parameter under
            ``""``, of each slot under its name.
        inputs: The declared scalars that it needs at each call, such as a learning rate.
    """

    name: str
    slots: tuple[str, ...]
    rule: Rule
    inputs: tuple[Tensor, ...] = ()


def sgd(rate: float | Tensor) -> Optimizer:
    """Return gradient descent: ``p <- p - rate g`` (Goodfellow et al., Algorithm 8.1).

    Args:
        rate: The learning rate: a number, or a declared scalar that each call then takes by name.

    Raises:
        ArgumentError: if the rate is neither.
    """

    def rule(
        p: Tensor, g: Tensor, _slots: Mapping[str, Tensor], _step: Tensor
    ) -> Mapping[str, Tensor]:
        return {"": p - _like(rate, p) * g}

    return Optimizer("sgd", (), rule, _inputs(rate))


def momentum(rate: float | Tensor, decay: float = 0.9) -> Optimizer:
    """Return descent with momentum: ``v <- decay v - rate g``, ``p <- p + v`` (Algorithm 8.2).

    Args:
        rate: The learning rate, as for `sgd`.
        decay: How much of the velocity v is left after a step, from 0 to 1.

    Raises:
        ArgumentError: if the rate is neither a number nor a declared scalar.
    """

    def rule(
        p: Tensor, g: Tensor, slots: Mapping[str, Tensor], _step: Tensor
    ) -> Mapping[str, Tensor]:
        velocity = decay * slots["velocity"] - _like(rate, p) * g
        return {"": p + velocity, "velocity": velocity}

    return Optimizer("momentum", ("velocity",), rule, _inputs(rate))


def adam(
    rate: float | Tensor = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Optimizer:
    """Return Adam (Kingma & Ba 2015, Algorithm 1; Goodfellow et al., Algorithm 8.7).

    Args:
        rate: The learning rate, as for `sgd`.
        beta1: The decay of the mean of gradients, from 0 to 1.
        beta2: The decay of the mean of their squares, from 0 to 1.
        epsilon: What is added to the root of the latter.

    Raises:
        ArgumentError: if the rate is neither a number nor a declared scalar.
    """

    def rule(
        p: Tensor, g: Tensor, slots: Mapping[str, Tensor], step: Tensor
    ) -> Mapping[str, Tensor]:
        mean = beta1 * slots["mean"] + (1 - beta1) * g
        square = beta2 * slots["square"] + (1 - beta2) * (g * g)
        # Both start from zero: what is missing is divided out again.
        unbiased = _like(1 / (1 - beta1**step), p) * mean
        spread = sqrt(_like(1 / (1 - beta2**step), p) * square) + epsilon
        return {"": p - _like(rate, p) * (unbiased / spread), "mean": mean, "square": square}

    return Optimizer("adam", ("mean", "square"), rule, _inputs(rate))


def _inputs(rate: Any) -> tuple[Tensor, ...]:
    if isinstance(rate, Tensor):
        if rate.node.is_input and rate.shape == ():
            return (rate,)
    elif isinstance(rate, int | float) and not isinstance(rate, bool):
        return ()
    raise errors.ArgumentError(
        errors.worded(
            f"the learning rate must be a number or a declared scalar, got {rate!r}",
            made_at=here(),
        )
    )


def _like(value: float | Tensor, p: Tensor) -> Any:
    """Return a factor in the parameter's dtype, so that it stays in it."""
    return value.astype(p.dtype) if isinstance(value, Tensor) else value
