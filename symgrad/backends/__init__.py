"""Numbers: NumPy (the reference, node by node) and Numba (compiled)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from symgrad.ir.call import Constraint
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.types import Array

BACKENDS = ("numba", "numpy")


class Program(Protocol):
    """Something that computes a graph's outputs."""

    @property
    def fast(self) -> Callable[..., Any] | None:
        """What a call does with arguments that fit as they are; it raises for others."""

    def ready(self) -> None:
        """Do now whatever calls would otherwise wait for."""
        ...

    def run(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
        """Return fresh outputs for bound inputs and named sizes."""
        ...


def program_for(
    graph: Graph,
    backend: str,
    constraints: Sequence[Constraint] = (),
    updates: Mapping[Node, Node] | None = None,
) -> Program:
    """Return the program of a backend for an optimised graph; Numba is imported on demand.

    Args:
        graph: An optimised graph.
        backend: "numba" or "numpy".
        constraints: Relations between named sizes that a call must satisfy.
        updates: Inputs that are overwritten, each with the output that it then holds, which is
            not returned. A number that is updated is given as an array of no axes.
    """
    if backend == "numba":
        from symgrad.backends.numba import NumbaProgram

        return NumbaProgram(graph, constraints, updates)
    from symgrad.backends.numpy import NumpyProgram

    return NumpyProgram(graph, updates)
