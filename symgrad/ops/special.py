"""Special functions under SciPy's names and with its defaults, as ``sg.special``."""

from __future__ import annotations

from typing import Any

from symgrad.ops import reduce
from symgrad.ops.elementwise import erf, erfc, logaddexp
from symgrad.ops.elementwise import sigmoid as expit
from symgrad.ops.reduce import logsumexp
from symgrad.tensor import Tensor

__all__ = ["erf", "erfc", "expit", "log_softmax", "logaddexp", "logsumexp", "softmax"]


def softmax(x: Any, axis: Any = None) -> Tensor:
    """Return exp(x) / sum(exp(x)) over ``axis`` (all axes by default)."""
    return reduce.softmax(x, axis)


def log_softmax(x: Any, axis: Any = None) -> Tensor:
    """Return log(softmax(x)) over ``axis`` (all axes by default)."""
    return reduce.log_softmax(x, axis)
