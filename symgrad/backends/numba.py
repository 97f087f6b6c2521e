"""The Numba backend: one generated function per program, compiled once, cached on disk.

The kernel takes every array as an argument, results and temporaries too, so that the compiler
knows that no two of them overlap. Results are made for each call; temporaries are kept from call
to call.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.backends import cache
from symgrad.backends.ahead import compile_ahead, compiling
from symgrad.backends.blocks import LARGE, MUCH, Blocks, blocks_for
from symgrad.backends.kernel import allocations, kernel_module, stepped_module
from symgrad.backends.lowered import lowered
from symgrad.backends.memory import LARGE_RESULT, Results, aligned
from symgrad.backends.numpy import NumpyProgram
from symgrad.backends.steps import Steps
from symgrad.ir.call import Constraint
from symgrad.ir.cost import Cost, size_in_bytes, total_cost
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Dim, Size, evaluate, evaluator, multiply, product
from symgrad.ir.types import Array, DType
from symgrad.lower.source import Allocation, Result, Source

LARGEST = 3000
"""Programs of more nodes are compiled step by step: one function would take minutes."""
MOST_STEPS = 20
"""Programs of more steps than this are compiled step by step as well, but with joined loops."""
LARGEST_SCALAR = 15_000
"""The same for programs of numbers only, where to call a step takes longer than the step."""

SOON = 2 * 10**9, 1 << 29
"""Up to so many operations, and bytes moved, NumPy answers a first call: a fraction of a second."""

_LATEST = 32
"""Programs are kept for so many of the latest sizes, with small temporaries of their own."""


class NumbaProgram:
    """A graph as one compiled function; it is compiled when it is needed first.

    Args:
        graph: An optimised graph.
        constraints: Relations between named sizes that a call must satisfy.
        updates: Inputs that are overwritten, each with the output that it then holds.
        given: For a program that is run without Python's lock: for how many of the outputs, the
            first ones, the caller gives the arrays.
        blas: Whether products of matrices are left to BLAS.
        rows: See `lowered`.
    """

    def __init__(
        self,
        graph: Graph,
        constraints: Sequence[Constraint] = (),
        updates: Mapping[Node, Node] | None = None,
        given: int | None = None,
        blas: bool = True,
        rows: Size | None = None,
    ):
        self.graph = graph
        self.constraints = constraints
        self.updates = dict(updates or {})
        self.kernel: Any = None
        self.steps: Steps | None = None
        self.bound: Callable[..., Callable[..., Any]] | None = None
        self.fast: Callable[..., Any] | None = None
        self.whole: Callable[..., Any] = _not_compiled
        self.sizes: dict[str, int] | None = None
        self.blocks: Blocks | None = None
        self.searched = False
        self.seen = 0
        self.latest: dict[tuple[tuple[str, int], ...], Callable[..., Any]] = {}
        self.has_arrays = any(node.type.shape for node in graph.nodes)
        self.in_steps = len(graph) > (LARGEST if self.has_arrays else LARGEST_SCALAR)
        self.cost: Cost | None = None
        self.waits = False
        self.given = given
        self.blas = blas
        self.rows = rows
        self.results = Results()
        self.constants: list[Array] = []
        self.temporaries: list[Allocation] = []
        self.outputs: list[Allocation] = []
        self.shapes: Callable[[Mapping[str, int]], Any] = evaluator(())
        self.dtypes: list[DType] = []
        self.returned: tuple[Result, ...] = ()
        self.scalars = [not n.type.shape and n not in self.updates for n in graph.inputs]
        self.lock = threading.RLock()
        # Where threads run without a common lock, they may not share temporaries.
        self.is_atomic = self.results.counted

    def compile(self) -> None:
        """Compile the kernel, or load it from the cache, if that has not happened yet."""
        if self.kernel is not None:
            return
        with compiling(), self.lock:
            if self.kernel is not None:
                return
            source = lowered(
                self.graph,
                updates=self.updates,
                blas=self.blas,
                fuse=not self.in_steps,
                rows=self.rows,
            )
            if self.blas and len(source.steps) > MOST_STEPS and self.has_arrays:
                self.in_steps = True
            try:
                self._load(source)
            except errors.SymgradError:
                raise
            except Exception as error:
                raise errors.BackendError(
                    errors.worded(
                        f"the generated kernel does not compile: {type(error).__name__}",
                        fix="backend='numpy' computes the same; please report the model",
                    )
                ) from error

    def _load(self, source: Source) -> None:
        """Compile a program, or load it from the cache."""
        self.constants = list(source.constants)
        self.temporaries, self.outputs = allocations(source)
        self.shapes = evaluator(tuple(a.shape for a in self.temporaries))
        self.dtypes = [a.dtype for a in self.temporaries]
        self.returned = source.returned
        if self.in_steps:
            program = stepped_module(self.graph, source, self.updates, self.given)
            module = cache.load(program.text)
            released = self.given is not None
            # Other threads look at the kernel: it comes last.
            self.steps = Steps(program, module, released, self.results)
            self.kernel = self.steps.kernel
            return
        # So many copies of each helper would take long to compile.
        inline = len(self.graph) <= LARGEST
        how = source, self.constraints, self.updates, self.given, inline
        self.kernel = cache.load(kernel_module(self.graph, *how)).kernel

    def made(self, sizes: Mapping[str, int]) -> Callable[..., Any]:
        """Return the program with constants and temporaries of its own, for these sizes.

        It takes the inputs, and the arrays for those results that are ``given``, and returns the
        other results. What does not fit raises: dtypes, layouts and sizes are checked.
        """
        fixed = [*self.constants, *aligned(self.shapes(sizes), self.dtypes)]
        given = {result.array for result in self.returned[: self.given or 0]}
        if not self._are_own(given):
            return _not_compiled
        if self.steps is not None:
            return self.steps.bound(fixed, sizes)
        if self.bound is None:
            self.bound = self._entry(len(fixed), given)
        return self.bound(fixed, self._most([a.size for a in fixed], sizes))

    def _made_before(self, sizes: Mapping[str, int]) -> Callable[..., Any]:
        """Return the program for these sizes, which may be those of a call not long ago."""
        key = tuple(sorted(sizes.items()))
        found = self.latest.pop(key, None)
        if found is None:
            found = self.made(sizes)
            held: Any = evaluate(self.temporary_bytes, sizes)
            if held > LARGE_RESULT:
                return found
            while len(self.latest) >= _LATEST:
                del self.latest[next(iter(self.latest))]
        self.latest[key] = found
        return found

    def _most(self, fixed: Sequence[int], sizes: Mapping[str, int]) -> int | None:
        """Return for how many elements a call need not ask whether blocks pay; None for any.

        Twice of what there was: a program that is tried with a few numbers may get many later.
        """
        if self.searched or self.given is not None:
            return None
        count: Any = evaluate(self.elements, sizes)
        self.seen = max(self.seen, count + sum(fixed))
        return 2 * self.seen

    @functools.cached_property
    def elements(self) -> Dim:
        """How many elements the inputs have."""
        return sum((product(node.type.shape) for node in self.graph.inputs), 0)

    @functools.cached_property
    def temporary_bytes(self) -> Dim:
        """How many bytes the temporaries take; known once the kernel is compiled."""
        return sum((multiply(product(a.shape), a.dtype.itemsize) for a in self.temporaries), 0)

    @functools.cached_property
    def moved(self) -> Dim:
        """How many bytes the inputs and outputs take."""
        return sum((size_in_bytes(n) for n in (*self.graph.inputs, *self.graph.outputs)), 0)

    def _are_own(self, given: Set[str]) -> bool:
        """Return whether all results that would be given are arrays of their own."""
        shapes = {a.name: a.shape for a in self.outputs}
        own = {r.array for r in self.returned if shapes.get(r.array) == r.shape}
        return len(given) == (self.given or 0) and given <= own

    def _entry(self, fixed: int, given: Set[str]) -> Callable[..., Callable[..., Any]]:
        """Return what makes a function of the kernel and of arrays for its fixed arguments."""
        from symgrad.backends.entry import Keeper, entry

        count = len(self.graph.inputs)
        keepers = {
            i: Keeper(LARGE_RESULT // a.dtype.itemsize, functools.partial(_kept, self.results, a))
            for i, a in enumerate(self.outputs, count + fixed)
            if a.name not in given
        }
        written = {i for i, node in enumerate(self.graph.inputs) if node in self.updates}
        return entry(self.kernel, range(count, count + fixed), keepers, written)

    def ready(self) -> None:
        """Compile the kernel now, and let no call be answered without it."""
        self.waits = True
        self.compile()

    def run(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Any]:
        """Return fresh outputs; the first call does not wait for the kernel if it is a small one.

        It is always the first one, and no other, so that a program that is run twice computes the
        same twice, however long it takes to compile.
        """
        values = [
            array[()] if scalar else array
            for array, scalar in zip(arrays, self.scalars, strict=True)
        ]
        if not self.searched and self._is_large(sizes):
            self._search(sizes)
        blocks = self.blocks
        if blocks is not None and sizes[blocks.size] < blocks.least:
            blocks = None
        waits, self.waits = self.waits, True
        if not waits and self._is_soon_done(sizes):
            needed = self if blocks is None else blocks.part
            if compile_ahead(needed.compile):
                return NumpyProgram(self.graph, self.updates).run(arrays, sizes)
        if blocks is not None:
            with contextlib.suppress(ValueError, IndexError):
                return self._in_blocks(blocks, values)
        self.compile()
        with self.lock:
            try:
                if self.sizes != sizes:
                    self.whole = self._made_before(sizes)
                    self.sizes = dict(sizes)
                if self.is_atomic and self.blocks is None:
                    self.fast = self.whole
                results = self.whole(*values)
            except IndexError as error:
                # The reference stops at the same place and can say which value is at fault.
                NumpyProgram(self.graph, self.updates).run(arrays, sizes)
                raise errors.ValueRangeError(str(error)) from None
            except np.linalg.LinAlgError:
                # So does it here; and Numba refuses what is not finite, which NumPy computes with.
                return NumpyProgram(self.graph, self.updates).run(arrays, sizes)
        return list(results) if isinstance(results, tuple) else [results]

    def _is_large(self, sizes: Mapping[str, int]) -> bool:
        """Return whether blocks may pay: there is much to read and write, or to compute."""
        moved: Any = evaluate(self.moved, sizes)
        if moved > LARGE:
            return True
        return self._cost(sizes)[0] > MUCH

    def _is_soon_done(self, sizes: Mapping[str, int]) -> bool:
        """Return whether NumPy takes no longer than one may wait for a first answer."""
        flops, moved = self._cost(sizes)
        fits = flops <= SOON[0] and moved <= SOON[1]
        return fits and not any(map(_is_slow_in_numpy, self.graph.nodes))

    def _cost(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """Return how many operations a call takes, and how many bytes move, node by node."""
        if self.cost is None:
            self.cost = total_cost(self.graph.nodes)
        flops: Any = evaluate(self.cost.flops, sizes)
        moved: Any = evaluate(self.cost.bytes, sizes)
        return flops, moved

    def _search(self, sizes: Mapping[str, int]) -> None:
        """Look for a way to run in blocks, and take it from now on where there are many rows."""
        self.searched = True
        self.blocks = found = blocks_for(self.graph, self.constraints, sizes)
        if found is None:
            return
        position = found.with_rows.index(True)

        def fast(*values: Any) -> Any:
            many = values[position].shape[0] >= found.least
            program = found.part if many else self
            program.compile()
            if not many:
                return self.whole(*values)
            results = self._in_blocks(found, values)
            return results[0] if len(results) == 1 else tuple(results)

        if self.is_atomic:
            self.fast = fast

    def _in_blocks(self, blocks: Blocks, values: Sequence[Any]) -> list[Any]:
        """Return the outputs; what is updated is written over once everything is computed."""
        places = {x: self.graph.inputs.index(x) for x in self.updates}
        if not all(values[i].flags.writeable for i in places.values()):
            raise ValueError
        results = blocks(*values)
        for x, node in self.updates.items():
            values[places[x]][...] = results[self.graph.outputs.index(node)]
        written = set(self.updates.values())
        pairs = zip(self.graph.outputs, results, strict=True)
        return [result for node, result in pairs if node not in written]


def _is_slow_in_numpy(node: Node) -> bool:
    """Return whether NumPy takes much longer than its operations tell: where it has no routine."""
    name = node.op.name
    return name == "prod_others" or (name == "matmul" and not node.type.is_float)


def _not_compiled(*_values: Any) -> Any:
    raise ValueError("there is no kernel yet")


def _kept(results: Results, a: Allocation, *shape: int) -> Array:
    return results.empty(a.name, shape, a.dtype)
