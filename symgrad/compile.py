"""Compiling: a graph becomes a function of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad import errors
from symgrad.backends import BACKENDS, program_for
from symgrad.bind import Signature
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.types import Array
from symgrad.passes.pipeline import optimize
from symgrad.tensor import Tensor

if TYPE_CHECKING:
    from symgrad.module import Module


class Compiled:
    """A function of arrays, compiled from a graph.

    Attributes:
        graph: The optimised graph.
        original: The graph as it was given.
        backend: The name of the backend.
    """

    def __init__(self, original: Graph, graph: Graph, backend: str, single: bool):
        self.original = original
        self.graph = graph
        self.backend = backend
        self.single = single
        self.signature = Signature(original)
        self.program = program_for(graph, backend, self.signature.constraints)

    def __call__(self, *values: Any, out: Any = None) -> Any:
        """Return the outputs for these arrays: one array, or a tuple.

        Args:
            values: One array per input, in order. Lists and numbers are converted; a dtype is
                converted when every value survives it.
            out: An array for the result (or one for each), of its shape and dtype, to be filled
                and returned. Without it the results are fresh arrays that the caller owns;
                those of a megabyte and more are views, which begin a line of the cache.

        Raises:
            ArgumentError, DtypeError, ShapeError: naming the tensor, expected against got.
        """
        fast = self.program.fast
        if fast is not None and out is None:
            try:
                return fast(*values)
            except Exception:
                # Not as they should be: convert what can be converted, and say what cannot.
                pass
        arrays, sizes = self.signature.bind(values)
        results = self.program.run(arrays, sizes)
        if out is not None:
            results = _filled(results, list(out) if isinstance(out, list | tuple) else [out])
        return results[0] if self.single else tuple(results)

    def ready(self) -> Compiled:
        """Compile the kernel now, and return this function.

        Otherwise the first call begins with that. If it is a small one, it is answered by NumPy
        while another thread compiles, so that its last digits may be others; the second one waits.
        """
        self.program.ready()
        return self

    def by_name(self, values: Mapping[str, Any]) -> Any:
        """Return the outputs for arrays given by name."""
        return self(*self.signature.by_name(values))

    @property
    def source(self) -> str:
        """The generated code: a module that runs without symgrad."""
        return self.module.source

    @cached_property
    def module(self) -> Module:
        """The stand-alone module: its source, and arrays too large for it."""
        from symgrad.module import function_module

        return function_module(self.original, self.graph)

    def save(self, path: str | Path) -> Path:
        """Write the generated module to ``path`` and return it.

        Raises:
            OSError: if the file cannot be written.
        """
        return self.module.write(Path(path))

    def __repr__(self) -> str:
        names = ", ".join(self.signature.names)
        outputs = len(self.graph.outputs)
        return (
            f"<Compiled: ({names}) -> {outputs} output{'s' * (outputs != 1)}, "
            f"{len(self.graph)} nodes, backend {self.backend}>"
        )

    def _repr_html_(self) -> str:
        from symgrad.notebook import compiled_html

        return compiled_html(self)


def _filled(results: list[Array], out: list[Array]) -> list[Array]:
    if len(out) != len(results):
        raise errors.ArgumentError(f"out: {len(results)} arrays are needed, got {len(out)}")
    for result, target in zip(results, out, strict=True):
        fits = isinstance(target, np.ndarray) and (target.shape, target.dtype) == (
            result.shape,
            result.dtype,
        )
        if not fits:
            raise errors.ShapeError(
                f"out: expected an array of shape {result.shape} and dtype {result.dtype}, "
                f"got {_described(target)}"
            )
        np.copyto(target, result)
    return out


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"one of shape {value.shape} and dtype {value.dtype}"
    return repr(value)


def compile(
    inputs: Tensor | Sequence[Tensor],
    outputs: Any,
    *,
    backend: str = "numba",
    without: Sequence[str] = (),
) -> Compiled:
    """Return a function that computes ``outputs`` from arrays for ``inputs``.

    Args:
        inputs: Declared tensors, in the order of the function's arguments.
        outputs: One tensor (its result comes bare) or several (a tuple).
        backend: "numba" (compiled loops) or "numpy" (node by node; the reference).
        without: Names of optimisation passes to leave out.

    Raises:
        ArgumentError: if an input is not a declared tensor, or the backend is not known.
        GraphError: if the outputs need a tensor that is not among the inputs.
    """
    if backend not in BACKENDS:
        raise errors.ArgumentError(
            f"no backend is called {backend!r}; there are: {', '.join(BACKENDS)}"
        )
    listed: list[Tensor | Node] = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    original = Graph([inputs] if isinstance(inputs, Tensor) else inputs, listed)
    graph = optimize(original, without=without)
    return Compiled(original, graph, backend, single=len(listed) == 1)
