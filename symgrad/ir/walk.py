"""Every way of walking a graph, with loops only: a chain of any depth is walked.

Inputs always have smaller numbers than the nodes that use them, so nodes sorted by number are
in topological order, and in reverse order every node comes after all its consumers.
"""

from __future__ import annotations

from collections.abc import Iterable

from symgrad.ir.node import Node


def reachable(roots: Iterable[Node]) -> list[Node]:
    """Return ``roots`` and everything they are computed from, in topological order."""
    found: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.inputs)
    return sorted(found, key=lambda node: node.number)


def consumers(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """Return each node's consumers among ``nodes``; one that uses a node twice is there twice."""
    found: dict[Node, list[Node]] = {}
    for node in nodes:
        found.setdefault(node, [])
        for x in node.inputs:
            found.setdefault(x, []).append(node)
    return found
