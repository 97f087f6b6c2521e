"""Activations and losses, as ``sg.nn``. Losses are means over the batch unless told otherwise."""

from __future__ import annotations

from typing import Any

from symgrad import errors
from symgrad.ir.call import apply
from symgrad.ir.op import Case, Op, define
from symgrad.ir.origin import here
from symgrad.ir.types import TensorType
from symgrad.ops.elementwise import (
    greater_equal,
    indicator,
    log,
    log1p,
    logistic_loss,
    relu,
    sigmoid,
    softplus,
    tanh,
    where,
)
from symgrad.ops.index import one_hot, pick
from symgrad.ops.reduce import log_softmax, logsumexp, mean, softmax, sum
from symgrad.ops.samples import fixed, spread
from symgrad.tensor import Tensor, as_tensor, promoted

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "hinge",
    "leaky_relu",
    "log_softmax",
    "logsumexp",
    "one_hot",
    "prelu",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "squared_error",
    "step",
    "stop_gradient",
    "tanh",
]

STOP_GRADIENT = define(
    Op(
        "stop_gradient",
        lambda call: TensorType(call.types[0].dtype, call.types[0].shape),
        lambda x: x,
        bprop=(None,),
        text="{0}",
        why_zero="stop_gradient",
        samples=fixed(Case((spread(3, 4),), smooth=False)),
        summary="The same values, constant for differentiation.",
    )
)


def stop_gradient(x: Any) -> Tensor:
    """Return ``x`` as a constant for differentiation."""
    return Tensor(apply(STOP_GRADIENT, (as_tensor(x).node,)))


# Activations


def step(x: Any) -> Tensor:
    """Return 1 where ``x >= 0`` and 0 elsewhere, as a perceptron does; the derivative is zero."""
    x = as_tensor(x)
    return indicator(greater_equal(x, 0), x if x.dtype.kind == "f" else x.astype("float64"))


def leaky_relu(x: Any, slope: Any = 0.01) -> Tensor:
    """Return ``x`` where it is positive and ``slope * x`` elsewhere; the slope holds at 0."""
    return where(as_tensor(x) > 0, x, slope * as_tensor(x))


def prelu(x: Any, slope: Tensor) -> Tensor:
    """Return `leaky_relu` with a slope that is learned; its gradient is the sum of min(0, x)."""
    return leaky_relu(x, slope)


# Losses


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    match reduction:
        case "mean":
            return mean(loss)
        case "sum":
            return sum(loss)
        case "none":
            return loss
        case _:
            raise errors.ArgumentError(
                errors.worded(
                    f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}", made_at=here()
                )
            )


def squared_error(prediction: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return ``(prediction - target) ** 2``, its mean over all elements by default."""
    return _reduced((as_tensor(prediction) - target) ** 2, reduction)


def cross_entropy(logits: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return the cross-entropy of softmax(logits) along the last axis.

    Args:
        logits: Scores, classes along the last axis.
        target: Integer classes (one axis less; calling raises IndexError for a label outside
            them) or a probability for every class.
        reduction: "mean" over the batch, "sum", or "none".
    """
    logits, target = as_tensor(logits), as_tensor(target)
    scores = log_softmax(logits)
    if target.dtype.kind == "i":
        return _reduced(-pick(scores, target), reduction)
    if target.ndim != logits.ndim:
        raise errors.ShapeError(
            errors.worded(
                f"cross_entropy: {target!r} is neither integer classes nor a probability for "
                f"each entry of {logits!r}",
                made_at=here(),
            )
        )
    return _reduced(-sum(target * scores, -1), reduction)


def binary_cross_entropy_with_logits(logits: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return -y log σ(z) - (1 - y) log(1 - σ(z)) for logits z, accurate for any z."""
    z, y = promoted("binary_cross_entropy_with_logits", [logits, target], floats=True)
    return _reduced(logistic_loss(z, y), reduction)


def binary_cross_entropy(probabilities: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return -y log p - (1 - y) log(1 - p); prefer the form with logits, which never overflows."""
    p, y = promoted("binary_cross_entropy", [probabilities, target], floats=True)
    return _reduced(-(y * log(p) + (1 - y) * log1p(-p)), reduction)


def hinge(score: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return max(0, 1 - y f) for targets y of -1 or 1; the subgradient at the kink is 0."""
    return _reduced(relu(1 - as_tensor(target) * score), reduction)
