"""Where floating-point numbers fail a model: what stable forms avoid, and what nothing avoids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symgrad.ir.graph import NODES_REMOVED, Graph, graph_of
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim
from symgrad.ir.types import DType
from symgrad.passes.cse import cse
from symgrad.passes.simplify import simplify
from symgrad.passes.stabilize import stabilize

MATTERS = {
    "log(1 + exp(x)) -> softplus(x)": "overflows for x > {over}, is 0 for x < -{lost}",
    "log1p(exp(x)) -> softplus(x)": "overflows for x > {over}",
    "log(1 + x) -> log1p(x)": "loses digits for |x| < 1, all of them for |x| < {eps}",
    "log(1 - sigmoid(x)) -> -softplus(x)": "is -inf for x > {lost}",
    "log(1 - x) -> log1p(-x)": "loses digits for |x| < 1, all of them for |x| < {eps}",
    "log1p(-sigmoid(x)) -> -softplus(x)": "is -inf for x > {lost}",
    "log(sigmoid(x)) -> -softplus(-x)": "is -inf for x < -{under}",
    "exp(x) - 1 -> expm1(x)": "loses digits for |x| < 1, all of them for |x| < {eps}",
    "1 / (1 + exp(-x)) -> sigmoid(x)": "has a gradient of NaN for x < -{over}",
    "exp(x) / (1 + exp(x)) -> sigmoid(x)": "is NaN for x > {over}",
    "1 / (1 + exp(x)) -> sigmoid(-x)": "has a gradient of NaN for x > {over}",
    "(1 - y / exp(x)) * exp(x) -> exp(x) - y": "is NaN for x < -{under}",
    "(1 + y / exp(x)) * exp(x) -> exp(x) + y": "is NaN for x < -{under}",
    "log(softmax(x)) -> log_softmax(x)": "is -inf where x is {under} below the largest",
    "log(sum(exp(x))) -> logsumexp(x)": "overflows for x > {over}, is -inf for x < -{under}",
    "exp(x) / sum(exp(x)) -> softmax(x)": "is NaN for x > {over}, and where all x < -{under}",
    "sqrt(sum(x ** 2)) ** 2 -> sum(x ** 2)": "has no gradient at 0",
    "(a sqrt(sum(x ** 2))) ** 2 -> a ** 2 sum(x ** 2)": "has no gradient at x = 0",
    "y * (-softplus(-z)) + (1 - y) * (-softplus(z)) -> -logistic_loss(z, y)": (
        "takes two logarithms where one does"
    ),
    "log(det(A)) -> log_det(A)": "overflows for det(A) > {largest}",
    "log(|det(A)|) -> log_abs_det(A)": "overflows for |det(A)| > {largest}",
}
"""What the written form of a stability rewrite does, and where."""


@dataclass(frozen=True, slots=True)
class Numeric:
    """One form in a model for which rounding or overflow matters.

    Attributes:
        what: The form.
        instead: What is computed instead; empty where nothing is.
        matters: What goes wrong with the form as written, and for which values.
        places: Lines of the model, at most three.
    """

    what: str
    instead: str
    matters: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        arrow = f" → {self.instead}" if self.instead else ""
        return f"{self.what}{arrow}: {self.matters}  ({', '.join(self.places)})"


def stabilized(outputs: Sequence[Node]) -> list[Numeric]:
    """Return the stability rewrites that apply below ``outputs``, and where each matters."""
    limits = _limits(outputs[0].type.dtype)
    found = []
    for entry in _stable(outputs).ledger:
        if entry.stage == "stabilize" and entry.action != NODES_REMOVED:
            what, _, instead = entry.action.partition(" -> ")
            words = MATTERS[entry.action].format(**limits)
            found.append(Numeric(what, instead, words, entry.places))
    return found


def lint(outputs: Sequence[Node]) -> list[Numeric]:
    """Return what loses precision or overflows below ``outputs`` and has no stable form here."""
    limits = _limits(outputs[0].type.dtype)
    found: dict[tuple[str, str], dict[str, None]] = {}
    signs: dict[Node, int] = {}
    for node in _stable(outputs).nodes:
        signs[node] = _sign(node, signs)
        for what, matters in _doubts(node, signs):
            found.setdefault((what, matters.format(**limits)), {})[node.origin.place] = None
    return [Numeric(what, "", why, tuple(at)[:3]) for (what, why), at in found.items()]


def _stable(outputs: Sequence[Node]) -> Graph:
    return stabilize(simplify(cse(graph_of(outputs))))


def _limits(dtype: DType) -> dict[str, str]:
    """Return the ends of what numbers of a dtype can hold, in words."""
    info = np.finfo(dtype if dtype.kind == "f" else np.float64)
    return {
        "over": f"{math.log(float(info.max)):.1f}",
        "under": f"{-math.log(float(info.smallest_subnormal)):.1f}",
        "lost": f"{-math.log(float(info.epsneg)):.1f}",
        "eps": f"{float(info.epsneg):.0e}",
        "largest": f"{float(info.max):.1e}",
        "root": f"{math.sqrt(float(info.max)):.0e}",
        "half": f"{math.sqrt(float(info.eps)):.0e}",
    }


def _doubts(node: Node, signs: Mapping[Node, int]) -> Iterator[tuple[str, str]]:
    """Yield what may go wrong when a node is computed: the form, and what happens when."""
    if not node.type.is_float:
        return
    match node.op.name:
        case "exp" if signs[node.inputs[0]] >= 0 and not _is_below_maximum(node.inputs[0]):
            yield "exp(x)", "overflows for x > {over}, and nothing keeps x below"
        case "subtract":
            yield from _cancelling(*node.inputs)
        case "det":
            yield "det(A)", "overflows or is 0 for large matrices; slogdet gives its logarithm"
        case "matmul" if any(x.op.name == "inv" for x in node.inputs):
            yield "inv(A) @ b", "is slower than solve(A, b), and less accurate"
        case "prod" if any(not isinstance(dim, int) for dim in _summed_over(node)):
            yield "prod(x)", "overflows or is 0 for many factors; a sum of logarithms does not"
        case "sqrt" if node.inputs[0].op.name == "add" and all(
            map(_is_square, node.inputs[0].inputs)
        ):
            yield "sqrt(x² + y²)", "overflows for |x| > {root}; hypot(x, y) does not"


def _summed_over(node: Node) -> list[Dim]:
    return [node.inputs[0].type.shape[axis] for axis in node.attrs["axis"]]


def _cancelling(a: Node, b: Node) -> Iterator[tuple[str, str]]:
    """Yield differences of values that are almost equal somewhere."""
    if scalar_value(a) == 1 and b.op.name == "cos":
        lost = "loses digits for |x| < 1, all of them for |x| < {half}"
        yield "1 - cos(x)", f"{lost}; 2 sin(x/2)² does not"
    elif a.op.name == b.op.name == "sqrt":
        instead = "(x - y) / (sqrt(x) + sqrt(y))"
        yield "sqrt(x) - sqrt(y)", f"loses digits where x is near y; {instead} does not"
    elif a.op.name == b.op.name == "exp":
        instead = "exp(y) expm1(x - y)"
        yield "exp(x) - exp(y)", f"loses digits where x is near y; {instead} does not"
    elif _is_mean_of_squares(a) and _is_square(b) and _summed(b.inputs[0]) is not None:
        yield "mean(x²) - mean(x)²", "loses digits where the mean is large; var(x) does not"


def _is_square(node: Node) -> bool:
    if node.op.name == "power":
        return scalar_value(node.inputs[1]) == 2
    return node.op.name == "multiply" and node.inputs[0] is node.inputs[1]


def _summed(node: Node) -> Node | None:
    """Return x for a mean of x, which is its sum over a count or times a number."""
    if node.op.name not in ("divide", "multiply"):
        return None
    return next((x.inputs[0] for x in node.inputs if x.op.name == "sum"), None)


def _is_mean_of_squares(node: Node) -> bool:
    summed = _summed(node)
    return summed is not None and _is_square(summed)


def _is_below_maximum(node: Node) -> bool:
    """Return whether a node is x minus its own maximum, or minus the logarithm of such a sum."""
    if node.op.name != "subtract":
        return False
    x, top = node.inputs
    while top.op.view:
        top = top.inputs[0]
    return top.op.name in ("max", "logsumexp") and top.inputs[0] is x


_NEVER_NEGATIVE = frozenset(
    {"exp", "absolute", "sqrt", "softplus", "sigmoid", "relu", "softmax", "size", "hypot"}
)


def _sign(node: Node, signs: Mapping[Node, int]) -> int:
    """Return 1 for a value that is plainly never negative, -1 for never positive, 0 if unknown."""
    name, value = node.op.name, scalar_value(node)
    if value is not None:
        return 1 if value >= 0 else -1
    if name in _NEVER_NEGATIVE or _is_square(node):
        return 1
    if name == "log_softmax":
        return -1
    inner = [signs[x] for x in node.inputs]
    if name == "negative":
        return -inner[0]
    if name in ("multiply", "divide"):
        return inner[0] * inner[1]
    if name == "subtract":
        inner = [inner[0], -inner[1]]
    if node.op.view or name in ("sum", "max", "min", "add", "subtract", "maximum", "minimum"):
        return inner[0] if len({*inner}) == 1 else 0
    return 0
