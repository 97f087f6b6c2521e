"""Why a gradient is zero or missing: where the path from a tensor to the output ends."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.autodiff.reverse import differentiable, influenced
from symgrad.ir.node import Node
from symgrad.ir.walk import reachable

_LONGEST = 8
"""Paths of more steps are printed without their middle."""


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
    before = _steps_from(outputs, target)
    lines = [_path_text(_path(before, z)) for z in outputs if z in before or z is target]
    if lines:
        first = f"the gradient of {goal} with respect to {name} is not zero by its form; it flows:"
        return "\n".join([first, *(f"  {line}" for line in lines)])
    reasons = []
    for node, i in blocked_edges(outputs, target):
        path = [*_path(before, node.inputs[i]), node]
        why = node.op.why_zero or "no derivative exists"
        reasons.append(f"  {_path_text(path)}\n    {node.op.name}: {why}")
    unique = list(dict.fromkeys(reasons))
    return "\n".join(
        [f"the gradient of {goal} with respect to {name} is zero; every path ends:", *unique[:10]]
    )


def _steps_from(outputs: Sequence[Node], target: Node) -> dict[Node, Node]:
    """Return, for each node that a derivative reaches from ``target``, the node before it.

    Of several paths it is the shortest.
    """
    before: dict[Node, Node] = {}
    length = {target: 0}
    for node in reachable(outputs):
        open_ = [x for i, x in enumerate(node.inputs) if x in length and differentiable(node, i)]
        if open_:
            before[node] = min(open_, key=length.__getitem__)
            length[node] = length[before[node]] + 1
    return before


def _path(before: dict[Node, Node], node: Node) -> list[Node]:
    path = [node]
    while path[-1] in before:
        path.append(before[path[-1]])
    return path[::-1]


def _path_text(path: Sequence[Node]) -> str:
    # One value of the user's may be several nodes.
    shown = list(dict.fromkeys(f"{x.name or x.op.name} ({x.origin.place})" for x in path))
    if len(shown) > _LONGEST:
        shown = [*shown[:3], "…", *shown[-3:]]
    return " → ".join(shown)
