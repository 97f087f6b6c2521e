"""The Numba backend: one generated function per program, compiled once, cached on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.backends import cache
from symgrad.backends.lowered import lowered
from symgrad.backends.numpy import NumpyProgram
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array, DType, TensorType
from symgrad.lower.emit import Source

LARGEST = 3000
"""Programs of more nodes run on the NumPy backend: compiling them would take minutes."""

HEADER = """import math

import numpy as np
from numba import njit, types
"""
OPTIONS = 'error_model="numpy", fastmath={"contract"}, cache=True'


class NumbaProgram:
    """A graph as one compiled function; compiling happens on the first call."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.kernel: Any = None
        self.constants: tuple[Array, ...] = ()
        self.dtypes = [None if node.type.shape else node.type.dtype for node in graph.outputs]
        self.scalars = [not node.type.shape for node in graph.inputs]

    def compile(self) -> None:
        """Compile the kernel, or load it from the cache, if that has not happened yet."""
        if self.kernel is None:
            source = lowered(self.graph)
            try:
                module = cache.load(kernel_module(self.graph, source))
            except Exception as error:
                raise errors.BackendError(
                    errors.worded(
                        f"the generated kernel does not compile: {type(error).__name__}",
                        fix="backend='numpy' computes the same; please report the model",
                    )
                ) from error
            self.constants = tuple(writable(constant) for constant in source.constants)
            self.kernel = module.kernel

    def run(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Any]:
        """Return fresh outputs: the kernel allocates them."""
        if self.kernel is None:
            self.compile()
        values = [
            array[()] if scalar else writable(array)
            for array, scalar in zip(arrays, self.scalars, strict=True)
        ]
        try:
            results = self.kernel(*values, *self.constants)
        except IndexError as error:
            # The reference stops at the same place and can say which value is at fault.
            NumpyProgram(self.graph).run(arrays, sizes)
            raise errors.ValueRangeError(str(error)) from None
        return [
            result if dtype is None else dtype.type(result)
            for result, dtype in zip(results, self.dtypes, strict=True)
        ]


def writable(array: Array) -> Array:
    """Return ``array``, or a writable view of a read-only one; kernels never write to inputs.

    The compiled signature is that of writable arrays, and a copy would cost a pass over memory.
    """
    if array.flags.writeable:
        return array
    import ctypes

    buffer: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    view = np.frombuffer(buffer, dtype=array.dtype).reshape(array.shape)
    return view if array.nbytes else np.empty(array.shape, array.dtype)


def kernel_module(graph: Graph, source: Source) -> str:
    """Return the module that is compiled and cached: helpers, signature, kernel."""
    parts = [HEADER]
    for helper in source.helpers.values():
        parts.append(f"@njit({OPTIONS})\n{helper}")
    arguments = [node.type for node in graph.inputs]
    arguments += [TensorType(c.dtype, c.shape) for c in source.constants]
    signature = ", ".join(map(signature_type, arguments))
    comma = "," if arguments else ""
    parts.append(f"@njit([({signature}{comma})], {OPTIONS})\n{source.returning_tuple}")
    return "\n\n".join(parts)


def signature_type(type_: TensorType) -> str:
    """Return a type as Numba writes it: ``types.float64[:, ::1]``."""
    name = _numba_name(type_.dtype)
    if not type_.shape:
        return name
    return f"{name}[{', '.join([':'] * (type_.ndim - 1) + ['::1'])}]"


def _numba_name(dtype: DType) -> str:
    return "types.boolean" if dtype.kind == "b" else f"types.{dtype.name}"
