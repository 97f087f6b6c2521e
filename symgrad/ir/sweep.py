"""What a reverse sweep did, edge by edge: the record that derivations are written from."""

from __future__ import annotations

from dataclasses import dataclass, field

from symgrad.ir.node import Node


@dataclass(frozen=True, slots=True)
class Contribution:
    """One edge of G': what ``consumer``, using V at ``position``, adds to the gradient of V."""

    of: Node
    consumer: Node
    position: int
    value: Node


@dataclass(slots=True)
class Sweep:
    """What ``build_grad`` did.

    Attributes:
        contributions: Every contribution, in the order in which they were made.
        totals: The gradient of each node of G' that one flows to, in the order of the sweep.
    """

    contributions: list[Contribution] = field(default_factory=list)
    totals: dict[Node, Node] = field(default_factory=dict)
