"""Numbers: NumPy (the reference, node by node) and Numba (compiled)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from symgrad.ir.graph import Graph
from symgrad.ir.types import Array

BACKENDS = ("numba", "numpy")


class Program(Protocol):
    """Something that computes a graph's outputs."""

    def run(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
        """Return fresh outputs for bound inputs and the values of the named sizes."""
        ...


def program_for(graph: Graph, backend: str) -> Program:
    """Return the program of a backend for an optimised graph; Numba is imported on demand."""
    if backend == "numba":
        from symgrad.backends.numba import LARGEST, NumbaProgram

        if len(graph) <= LARGEST:
            return NumbaProgram(graph)
    from symgrad.backends.numpy import NumpyProgram

    return NumpyProgram(graph)
