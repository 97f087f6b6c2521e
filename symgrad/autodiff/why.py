"""Why a gradient is zero or missing: where the path from a tensor to the output ends."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.autodiff.reverse import differentiable, influenced
from symgrad.ir.node import Node
from symgrad.ir.walk import reachable


def blocked_edges(outputs: Sequence[Node], target: Node) -> list[tuple[Node, int]]:
    """Return the uses (consumer, position) at which the derivative of ``target`` stops."""
    nodes = reachable(outputs)
    reached = influenced(nodes, [target])
    return [
        (node, i)
        for node in nodes
        for i, x in enumerate(node.inputs)
        if x in reached and not differentiable(node, i)
    ]


def why_disconnected(outputs: Sequence[Node], target: Node) -> str:
    """Return why no derivative flows from ``target`` to the outputs, naming lines of the model."""
    name = target.name or f"the {target.op.name} made at {target.origin.place}"
    goal = ", ".join(z.name or z.op.name for z in outputs)
    if target not in reachable(outputs):
        return f"the gradient of {goal} with respect to {name} is zero: {name} is never used in it"
    reasons = [
        f"  {node.origin}\n    {node.op.name}: {node.op.why_zero or 'no derivative exists'}"
        for node, _ in blocked_edges(outputs, target)
    ]
    unique = list(dict.fromkeys(reasons))
    return "\n".join(
        [f"the gradient of {goal} with respect to {name} is zero; every path ends:", *unique[:10]]
    )
