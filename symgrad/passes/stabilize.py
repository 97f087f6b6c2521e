"""Stabilise: forms that overflow or cancel become the ops that do not.

Run before ``build_grad`` as well as after, so that the stable form is what gets differentiated.
Each rule is an identity in exact arithmetic; in floating point the right side is accurate
wherever the left side is, and beyond.
"""

from __future__ import annotations

from symgrad.ir.call import apply
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node, scalar_value
from symgrad.ops.elementwise import softplus
from symgrad.ops.linalg import log_abs_det, log_det
from symgrad.ops.reduce import log_softmax, logsumexp, softmax
from symgrad.passes.rebuild import rebuild
from symgrad.passes.rule import Rewriter, rules
from symgrad.tensor import Tensor

RULES = rules("""
    log(1 + exp(x))       -> softplus(x)
    log1p(exp(x))         -> softplus(x)
    log(1 + x)            -> log1p(x)
    log(1 - sigmoid(x))   -> -softplus(x)
    log(1 - x)            -> log1p(-x)
    log1p(-sigmoid(x))    -> -softplus(x)
    log(sigmoid(x))       -> -softplus(-x)
    exp(x) - 1            -> expm1(x)
    1 / (1 + exp(-x))     -> sigmoid(x)
    exp(x) / (1 + exp(x)) -> sigmoid(x)
    1 / (1 + exp(x))      -> sigmoid(-x)
    (1 - y / exp(x)) * exp(x) -> exp(x) - y
    (1 + y / exp(x)) * exp(x) -> exp(x) + y
    y * (-softplus(-z)) + (1 - y) * (-softplus(z)) -> -logistic_loss(z, y)
""")

_rewrite = Rewriter(RULES)


def stabilize(graph: Graph, keep: frozenset[Node] = frozenset()) -> Graph:
    """Return ``graph`` in its stable form. No rule looks inside the nodes in ``keep``.

    Those are nodes that a gradient is asked for: they must still be there to differentiate by.
    """
    kept = set(keep)

    def visit(node: Node, original: Node) -> tuple[Node, str] | None:
        fixed = frozenset(kept)
        found = _rewrite(node, fixed) or _normalised(node, fixed)
        if original in keep:
            # What a gradient is asked for stays as it is, on whatever inputs it now has.
            kept.add(node)
            return None
        return found

    return rebuild(graph, visit, "stabilize")


def _normalised(node: Node, keep: frozenset[Node]) -> tuple[Node, str] | None:
    """Recognise softmax, log_softmax and logsumexp written out."""
    match node.op.name:
        case "log":
            return _log(node, keep)
        case "divide":
            return _softmax(node, keep)
        case "power":
            return _squared_root(node, keep)
        case _:
            return None


def _selects(node: Node) -> bool:
    """Return whether a node only chooses or moves elements: a function of each may come first."""
    return (node.op.view and node.op.name != "broadcast_to") or node.op.name in ("gather", "pick")


def _log(node: Node, keep: frozenset[Node]) -> tuple[Node, str] | None:
    """Recognise log of a softmax, a sigmoid, a determinant or a sum of exponentials.

    Also through indexing.
    """
    chain: list[Node] = []
    x = node.inputs[0]
    while _selects(x) and x not in keep:
        chain.append(x)
        x = x.inputs[0]
    if x in keep:
        return None
    inner: Tensor
    if x.op.name == "softmax":
        inner = log_softmax(Tensor(x.inputs[0]), x.attrs["axis"])
        text = "log(softmax(x)) -> log_softmax(x)"
    elif x.op.name == "sigmoid" and chain:
        inner = -softplus(-Tensor(x.inputs[0]))
        text = "log(sigmoid(x)) -> -softplus(-x)"
    elif x.op.name == "sum" and x.inputs[0].op.name == "exp" and x.inputs[0] not in keep:
        inner = logsumexp(Tensor(x.inputs[0].inputs[0]), x.attrs["axis"])
        text = "log(sum(exp(x))) -> logsumexp(x)"
    elif x.op.name == "det":
        inner = log_det(Tensor(x.inputs[0]))
        text = "log(det(A)) -> log_det(A)"
    elif x.op.name == "absolute" and x.inputs[0].op.name == "det" and x.inputs[0] not in keep:
        inner = log_abs_det(Tensor(x.inputs[0].inputs[0]))
        text = "log(|det(A)|) -> log_abs_det(A)"
    else:
        return None
    out = inner.node
    for selection in reversed(chain):
        out = apply(selection.op, [out, *selection.inputs[1:]], selection.attrs)
    return out, text


def _softmax(node: Node, keep: frozenset[Node]) -> tuple[Node, str] | None:
    """Recognise exp(x) / sum(exp(x)) with the sum kept as axes of size 1, or over everything."""
    top, total = node.inputs
    if top.op.name != "exp" or {top, total} & keep:
        return None
    if total.op.name == "expand_dims" and total.attrs["axes"] == total.inputs[0].attrs.get("axis"):
        total = total.inputs[0]
    elif total.type.shape:
        return None
    if total.op.name != "sum" or {total, total.inputs[0]} & keep:
        return None
    summed, x = total.inputs[0], top.inputs[0]
    if summed.op.name != "exp" or summed.inputs[0] is not x:
        return None
    out = softmax(Tensor(x), total.attrs["axis"])
    return out.node, "exp(x) / sum(exp(x)) -> softmax(x)"


def _squared_root(node: Node, keep: frozenset[Node]) -> tuple[Node, str] | None:
    """Recognise the square of the root of a sum of squares, whose derivative at 0 is lost."""
    base, exponent = node.inputs
    if scalar_value(exponent) != 2 or base in keep:
        return None
    if _is_root(base) and _is_nonnegative(base.inputs[0]):
        return base.inputs[0], "sqrt(sum(x ** 2)) ** 2 -> sum(x ** 2)"
    if base.op.name == "multiply":
        for a, root in (base.inputs, base.inputs[::-1]):
            if root not in keep and _is_root(root) and _is_nonnegative(root.inputs[0]):
                # Not a ** 2: that may overflow where a times the root does not.
                out = Tensor(a) * Tensor(root.inputs[0]) * Tensor(a)
                return out.node, "(a sqrt(sum(x ** 2))) ** 2 -> a ** 2 sum(x ** 2)"
    return None


def _is_root(node: Node) -> bool:
    if node.op.name == "power":
        return scalar_value(node.inputs[1]) == 0.5
    return node.op.name == "sqrt"


def _is_nonnegative(node: Node) -> bool:
    """Return whether a value is a square, or a sum of squares."""
    if node.op.name == "sum":
        node = node.inputs[0]
    if node.op.name == "power":
        exponent = scalar_value(node.inputs[1])
        return exponent is not None and exponent % 2 == 0
    if node.op.name in ("multiply", "matmul"):
        a, b = node.inputs
        return a is b and (node.op.name == "multiply" or a.type.ndim == 1)
    return node.op.name in ("exp", "absolute")
