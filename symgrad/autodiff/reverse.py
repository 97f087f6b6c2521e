"""Reverse mode: Algorithms 6.5 and 6.6 of Goodfellow, Bengio & Courville, Deep Learning.

The gradient is appended to the graph it is the gradient of, so it can be printed, optimised,
compiled and differentiated again. Two points where the printed algorithm is read with care:
the inputs of a consumer are its inputs in G, not in the pruned G' (constants and labels are not
in G'), and an op that uses V twice contributes once for each position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symgrad.ir.node import Node
from symgrad.ir.origin import using
from symgrad.ir.sweep import Contribution, Sweep
from symgrad.ir.walk import reachable
from symgrad.ops.shape import full_like_shape, sum_to, zeros_like
from symgrad.tensor import Tensor


def differentiable(consumer: Node, position: int) -> bool:
    """Return whether a derivative flows from ``consumer`` into its input at ``position``."""
    op = consumer.op
    if not consumer.type.is_float or not consumer.inputs[position].type.is_float:
        return False
    if op.partials and not op.bprop:
        return op.partials[position] is not None
    if op.variadic and op.why_zero:
        return position == 0
    return op.bprop_for(position) is not None


def influenced(nodes: Sequence[Node], targets: Sequence[Node]) -> set[Node]:
    """Return those of ``nodes`` (in topological order) into which a target's derivative flows."""
    found = set(targets)
    for node in nodes:
        if node not in found and any(
            x in found and differentiable(node, i) for i, x in enumerate(node.inputs)
        ):
            found.add(node)
    return found


def build_grad(
    seeds: Mapping[Node, Node],
    targets: Sequence[Node],
    record: Sweep | None = None,
) -> dict[Node, Node]:
    """Return ``grad_table`` for the targets that the seeded nodes depend on.

    Args:
        seeds: The nodes differentiated, each with its cotangent: for a scalar z, {z: 1}.
        targets: The nodes T with respect to which to differentiate.
        record: Filled with every contribution and every gradient, when given.

    The sweep visits G' (ancestors of the seeds that are influenced by a target) in reverse
    topological order, so that all consumers of a node come before it: each partial derivative
    is formed exactly once.
    """
    ancestors = reachable(seeds)
    g_prime = influenced(ancestors, targets)
    pending: dict[Node, list[Node]] = {}
    for node, cotangent in seeds.items():
        pending.setdefault(node, []).append(cotangent)
    grad_table: dict[Node, Node] = {}
    wanted = set(targets)
    for node in reversed(ancestors):
        if node not in g_prime or node not in pending:
            continue
        gradient = _total(node, pending.pop(node))
        if node in wanted:
            grad_table[node] = gradient
        if record is not None:
            record.totals[node] = gradient
        inputs = [Tensor(x) for x in node.inputs]
        for position, x in enumerate(node.inputs):
            if x in g_prime and differentiable(node, position):
                value = bprop(node, inputs, position, gradient)
                pending.setdefault(x, []).append(value)
                if record is not None:
                    record.contributions.append(Contribution(x, node, position, value))
    return grad_table


def _total(node: Node, contributions: list[Node]) -> Node:
    """Return the sum of what all consumers contributed to the gradient of ``node``."""
    total = Tensor(contributions[0])
    with using(node.origin.backward(node)):
        for contribution in contributions[1:]:
            total = total + Tensor(contribution)
    return total.node


def bprop(consumer: Node, inputs: Sequence[Tensor], position: int, gradient: Node) -> Node:
    """Return ``consumer.op.bprop(inputs, V, D)`` for the input V at ``position``."""
    op, x = consumer.op, consumer.inputs[position]
    g, y = Tensor(gradient), Tensor(consumer)
    with using(consumer.origin.backward(x)):
        rule = op.bprop_for(position)
        if rule is None:
            partial = op.partials[position]
            assert partial is not None
            value = scaled(g, partial(y, *inputs))
        else:
            extra = {"index": position} if op.variadic else {}
            value = rule(g, y, *inputs, **extra, **consumer.attrs)
        return sum_to(value, x.type.shape).node if op.elementwise else value.node


def scaled(g: Tensor, partial: Tensor | float) -> Tensor:
    """Return ``g * partial``, where a partial derivative of 1 or -1 needs no product."""
    if isinstance(partial, Tensor):
        return g * partial
    if partial == 0:
        return zeros_like(g)
    return g if partial == 1 else -g if partial == -1 else g * partial


def ones(node: Node) -> Node:
    """Return the cotangent 1 of a scalar."""
    with using(node.origin.backward(node)):
        return full_like_shape(1, Tensor(node)).node


def zeros(node: Node) -> Node:
    """Return the gradient of something that does not depend on ``node``."""
    with using(node.origin.backward(node)):
        return full_like_shape(0, Tensor(node)).node
