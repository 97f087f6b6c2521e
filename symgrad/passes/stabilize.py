"""Stabilise: forms that overflow or cancel become the ops that do not.

Run before ``build_grad`` as well as after, so that the stable form is what gets differentiated.
Each rule is an identity in exact arithmetic; in floating point the right side is accurate
wherever the left side is, and beyond.
"""

from __future__ import annotations

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
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
    if node.op.name == "log":
        [x] = node.inputs
        if x.op.name == "softmax" and x not in keep:
            out = log_softmax(Tensor(x.inputs[0]), x.attrs["axis"])
            return out.node, "log(softmax(x)) -> log_softmax(x)"
        if x.op.name == "sum" and not {x, x.inputs[0]} & keep and x.inputs[0].op.name == "exp":
            out = logsumexp(Tensor(x.inputs[0].inputs[0]), x.attrs["axis"])
            return out.node, "log(sum(exp(x))) -> logsumexp(x)"
    if node.op.name == "divide":
        return _softmax(node, keep)
    return None


def _softmax(node: Node, keep: frozenset[Node]) -> tuple[Node, str] | None:
    """Recognise exp(x) / sum(exp(x), axis, keepdims=True)."""
    top, bottom = node.inputs
    if top.op.name != "exp" or bottom.op.name != "expand_dims" or {top, bottom} & keep:
        return None
    total = bottom.inputs[0]
    if total.op.name != "sum" or total in keep or total.attrs["axis"] != bottom.attrs["axes"]:
        return None
    summed, x = total.inputs[0], top.inputs[0]
    if summed.op.name != "exp" or summed in keep or summed.inputs[0] is not x:
        return None
    out = softmax(Tensor(x), total.attrs["axis"])
    return out.node, "exp(x) / sum(exp(x)) -> softmax(x)"
