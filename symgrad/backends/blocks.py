"""A program run in blocks of rows: each block stays in cache, and blocks run on all cores.

Where BLAS is needed, there is one large block for each core, and BLAS keeps to one thread: several
cores then share the loops between the products, too, and wait for one another only once.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.backends.lowered import expanded
from symgrad.backends.memory import Results
from symgrad.backends.numpy import NumpyProgram
from symgrad.ir.call import Constraint
from symgrad.ir.cost import total_cost
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Size, evaluate
from symgrad.ir.types import FLOAT32, FLOAT64, Array, DType
from symgrad.lower.rows import can_be_parted
from symgrad.lower.schedule import schedule
from symgrad.passes.expand import expand
from symgrad.passes.split import Split, split, split_uncut

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from symgrad.backends.numba import NumbaProgram

_BLOCK = 1 << 22
"""About how many bytes of arguments and results a block has: what stays in cache, and takes much
longer than Python needs to hand it out."""
LARGE = 1 << 23
"""Programs with more bytes than this are worth running in blocks."""
_LARGE_UNCUT = 1 << 26
"""The same where blocks see all rows. They do little else than read and write, and one core does
that as fast as two while threads are woken."""
MUCH = 10**8
"""Programs with products are if they take more operations than this, in all, ..."""
_MUCH_EACH = 2000
"""... and more than this for each element of what all rows share, which every core reads, and of
what has to be joined."""
_FEW = 8
"""Arrays of float32 from so many blocks are added up as such: twice as fast, and as exact as the
products of matrices that they are."""
_SPARE = 4
"""For so many sizes of blocks, temporaries are kept from call to call."""


class Blocks:
    """A program whose rows are computed in blocks.

    Attributes:
        least: From how many rows on this is worth it.
    """

    def __init__(
        self,
        graph: Graph,
        parts: Split,
        part: NumbaProgram,
        constraints: Sequence[Constraint],
        sizes: Mapping[str, int],
    ):
        self.graph = graph
        self.constraints = constraints
        self.parts = parts
        self.part = part
        reductions = parts.rest.inputs[: len(parts.joined)]
        computed = [n for n in parts.rest.outputs if n not in reductions]
        self.rest = NumpyProgram(Graph(parts.rest.inputs, computed)) if computed else None
        self.as_joined = [
            reductions.index(n) if n in reductions else None for n in parts.rest.outputs
        ]
        """For each output without rows, which reduction it is, if it is one."""
        self.size = str(parts.size)
        self.with_rows = [self._has_rows(node) for node in graph.inputs]
        self.results = parts.with_rows
        self.reductions = parts.part.outputs[len(self.results) :]
        inputs = [n for n in graph.inputs if self._has_rows(n)]
        width = sum(_row_bytes(node, sizes) for node in (*inputs, *self.results))
        self.block: int | None = None
        """Rows of a block; None for one block for each core."""
        if parts.wide:
            self.least = self._enough(sizes)
        else:
            self.block = max(64, _BLOCK // width // 64 * 64)
            self.least = max((LARGE if parts.cut else _LARGE_UNCUT) // width, 2 * self.block)
        self.joins = [getattr(np, name) for name in parts.joined]
        self.plan: _Plan | None = None
        self.large = Results()
        self.spare: dict[tuple[tuple[str, int], ...], list[Callable[..., Any]]] = {}

    def _enough(self, sizes: Mapping[str, int]) -> int:
        """Return how many rows of a program with products are enough; ``sizes`` are the others."""
        counted = {**sizes, self.size: 1}
        each: Any = evaluate(total_cost(self.parts.part.nodes).flops, counted)
        shared = [n for n in self.graph.inputs if not self._has_rows(n)]
        shapes: list[Any] = [evaluate(n.type.shape, counted) for n in (*shared, *self.reductions)]
        read = int(sum(math.prod(shape) for shape in shapes))
        return max(2, -(-max(MUCH, _MUCH_EACH * read) // max(int(each), 1)))

    def _has_rows(self, node: Node) -> bool:
        shape = node.type.shape
        return bool(shape) and shape[0] == self.parts.size

    def __call__(self, *values: Any) -> list[Any]:
        """Return the outputs for arrays that are as declared; raises for any other."""
        with np.errstate(all="ignore"):
            plan, threads = self.plan, cores()
            shapes = tuple([np.shape(value) for value in values])
            if plan is None or plan.arguments != shapes or plan.threads != threads:
                self.plan = plan = self._planned(shapes, threads)
            made = [
                self.large.empty(i, shape, node.type.dtype)
                for i, (shape, node) in enumerate(zip(plan.results, self.results, strict=True))
            ]
            self.part.compile()
            with _BLAS if self.parts.wide else contextlib.nullcontext():
                totals = _Work(self, plan, values, made).compute()
            others = self._others(totals, values, plan.sizes)
            results: list[Any] = []
            for i, position in enumerate(self.parts.rows):
                if position is None:
                    results.append(next(others))
                else:
                    again = position in self.parts.rows[:i]
                    results.append(made[position].copy() if again else made[position])
            return results

    def _planned(self, arguments: tuple[tuple[int, ...], ...], threads: int) -> _Plan:
        sizes: dict[str, int] = {}
        for node, shape in zip(self.graph.inputs, arguments, strict=True):
            for dim, got in zip(node.type.shape, shape, strict=True):
                if sizes.setdefault(str(dim), got if isinstance(dim, Size) else dim) != got:
                    raise ValueError
        if not all(c.holds(sizes) for c in self.constraints):
            raise ValueError
        results: list[Any] = [evaluate(n.type.shape, sizes) for n in self.results]
        extents: list[Any] = [evaluate(dim, sizes) for dim in self.parts.extents]
        starts = range(0, max(extents), self.block or -(-max(extents) // threads))
        # Sums of float32 are kept in float64 from block to block, too; arrays where there are many.
        many = len(starts) > _FEW
        dtypes = [
            FLOAT64
            if n.type.dtype == FLOAT32 and join is np.add and (many or not n.type.shape)
            else n.type.dtype
            for n, join in zip(self.reductions, self.joins, strict=True)
        ]
        counted = self.parts.part.inputs[len(arguments) :] if self.parts.cut else ()
        counts: list[Any] = [
            node.type.dtype.type(evaluate(dim, sizes))
            for dim, node in zip(self.parts.counts, counted, strict=True)
        ]
        return _Plan(arguments, threads, sizes, counts, results, starts, dtypes)

    def _others(
        self, totals: Sequence[Array], values: Sequence[Any], sizes: Mapping[str, int]
    ) -> Iterator[Any]:
        """Yield the outputs without rows: reductions, and what is computed of them."""
        computed: Iterator[Any] = iter(())
        if self.rest is not None:
            # The kernel has converted the numbers for itself; the reference takes arrays.
            arrays = [
                np.asarray(value, node.type.dtype)
                for value, node in zip(values, self.graph.inputs, strict=True)
            ]
            computed = iter(self.rest.run([*totals, *arrays], sizes))
        for i, position in enumerate(self.as_joined):
            if position is None:
                yield next(computed)
            elif not totals[position].shape:
                yield totals[position][()]
            else:
                again = position in self.as_joined[:i]
                yield totals[position].copy() if again else totals[position]

    def lend(self, sizes: Mapping[str, int]) -> Callable[..., Any]:
        """Return the program with temporaries for these sizes that no other thread has."""
        spare = self.spare.get(tuple(sizes.items()), [])
        try:
            return spare.pop()
        except IndexError:
            return self.part.made(sizes)

    def take_back(self, part: Callable[..., Any], sizes: Mapping[str, int]) -> None:
        """Keep what was lent for the next call."""
        key = tuple(sizes.items())
        if key not in self.spare and len(self.spare) >= _SPARE:
            self.spare = {}
        self.spare.setdefault(key, []).append(part)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a call runs, which depends on the shapes of its arguments and on the cores only.

    Attributes:
        arguments: These shapes.
        threads: How many threads compute.
        sizes: The named sizes.
        counts: The sizes of the whole that blocks take as numbers.
        results: The shapes of the results that have rows.
        starts: The first rows of the blocks.
        dtypes: What reductions are joined in.
    """

    arguments: tuple[tuple[int, ...], ...]
    threads: int
    sizes: dict[str, int]
    counts: Sequence[Any]
    results: Sequence[tuple[int, ...]]
    starts: range
    dtypes: Sequence[DType]


class _OneThread:
    """Keeps BLAS to one thread while anybody needs that; several callers may, at one time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.controller: Any = None
        self.limit: Any = None
        self.users = 0

    def reset(self) -> None:
        """Forget all callers."""
        self.lock = threading.Lock()
        if self.users:
            self.users = 0
            self.limit.restore_original_limits()

    def __enter__(self) -> None:
        with self.lock:
            if self.controller is None:
                from threadpoolctl import ThreadpoolController

                self.controller = ThreadpoolController().select(user_api="blas")
            if self.users == 0:
                self.limit = self.controller.limit(limits=1)
            self.users += 1

    def __exit__(self, *_error: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.limit.restore_original_limits()


_BLAS = _OneThread()


@functools.cache
def _workers() -> ThreadPoolExecutor:
    """Return the threads beside the caller's; starting one takes as long as a small program."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max((os.cpu_count() or 1) - 1, 1), thread_name_prefix="symgrad")


def _forked() -> None:
    """Begin anew: a forked process has none of the threads that others were."""
    _workers.cache_clear()
    _BLAS.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _Work:
    """The blocks of one call. Each thread takes the next one when it is through with its last.

    Reductions are joined in the order of the blocks, whichever thread is first.
    """

    def __init__(self, owner: Blocks, plan: _Plan, values: Sequence[Any], made: Sequence[Array]):
        self.owner = owner
        self.plan = plan
        self.values = values
        self.made = made
        self.waiting = iter(plan.starts)
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.found: dict[int, tuple[Any, ...]] = {}
        self.joined = 0
        self.totals: list[Array] = []

    def compute(self) -> list[Array]:
        """Compute all blocks on all cores, and return the reductions."""
        beside: list[Future[None]] = []
        with contextlib.suppress(RuntimeError):
            # Where no thread can be started any more, this one does everything.
            for _ in range(min(self.plan.threads, len(self.plan.starts)) - 1):
                beside.append(_workers().submit(self._run_beside))
        self.run()
        for future in beside:
            # No block is left for one that has not begun; others end with the one that they have.
            if not future.cancel():
                future.result()
        if self.error is not None:
            raise self.error
        return [
            np.asarray(total, node.type.dtype)
            for total, node in zip(self.totals, self.owner.reductions, strict=True)
        ]

    def _run_beside(self) -> None:
        with np.errstate(all="ignore"):
            self.run()

    def run(self) -> None:
        """Compute blocks until none is left; an error is kept for `compute`."""
        lent: dict[int, Callable[..., Any]] = {}
        starts = self.plan.starts
        try:
            while (start := self._next()) is not None:
                stop = min(start + starts.step, starts.stop)
                rows = stop - start if self.owner.parts.cut else starts.stop
                if rows not in lent:
                    lent[rows] = self.owner.lend(self._sizes(rows))
                self._block(lent[rows], start, stop)
        except BaseException as error:
            with self.lock:
                self.error = error
                self.waiting = iter(range(0))
        for rows, part in lent.items():
            self.owner.take_back(part, self._sizes(rows))

    def _sizes(self, rows: int) -> dict[str, int]:
        """Return the sizes of a block."""
        sizes = self.plan.sizes
        return {**sizes, self.owner.size: rows} if self.owner.parts.cut else sizes

    def _next(self) -> int | None:
        with self.lock:
            return next(self.waiting, None)

    def _block(self, part: Callable[..., Any], start: int, stop: int) -> None:
        if self.owner.parts.cut:
            values = [
                value[start:stop] if cut else value
                for value, cut in zip(self.values, self.owner.with_rows, strict=True)
            ]
            results = [array[start:stop] for array in self.made]
            found = part(*values, *self.plan.counts, *results)
        else:
            found = part(*self.values, np.int64(start), np.int64(stop), *self.made)
        with self.lock:
            self.found[start] = found
            while (found := self.found.pop(self.joined, None)) is not None:
                self._join(found)
                self.joined += self.plan.starts.step

    def _join(self, found: tuple[Any, ...]) -> None:
        """Take the reductions of the next block into those of all before it."""
        if not self.joined:
            pairs = zip(found, self.plan.dtypes, strict=True)
            self.totals = [np.asarray(value, dtype) for value, dtype in pairs]
            return
        for join, total, value in zip(self.owner.joins, self.totals, found, strict=True):
            join(total, value, out=total)


def blocks_for(
    graph: Graph, constraints: Sequence[Constraint], sizes: Mapping[str, int]
) -> Blocks | None:
    """Return a way to run ``graph`` in blocks of rows, if there is one, chosen for some sizes."""
    from symgrad.backends.numba import NumbaProgram

    parts = split(graph) or _uncut(graph)
    if parts is None or (parts.wide and cores() < 2):
        return None
    rows = None if parts.cut else parts.size
    part = NumbaProgram(parts.part, given=len(parts.with_rows), blas=parts.wide, rows=rows)
    if rows is not None and part.in_steps:
        return None
    made = expanded(parts.part, parts.wide).outputs[: len(parts.with_rows)]
    if any(node.op.name == "reshape" for node in made):
        # It is another view of what a block computes, and not an array that it can be given.
        return None
    return Blocks(graph, parts, part, constraints, sizes)


def _uncut(graph: Graph) -> Split | None:
    """Return ``graph`` in two for blocks that see all rows, if there is such a way."""
    if any(node.op.name == "matmul" and _has_matrix(node) for node in graph.nodes):
        # Written out for the blocks, it would be written out for NumPy as well.
        return None
    parts = split_uncut(expand(graph, blas=False))
    if parts is None:
        return None
    plan = schedule(expanded(parts.part, blas=False), by_row=True)
    return parts if can_be_parted(plan, parts.size) else None


def _has_matrix(node: Node) -> bool:
    return any(x.type.ndim > 1 for x in node.inputs)


def cores() -> int:
    """Return how many threads may run: SYMGRAD_NUM_THREADS, else the cores of this process."""
    chosen = os.environ.get("SYMGRAD_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _row_bytes(node: Node, sizes: Mapping[str, int]) -> int:
    """Return how many bytes one row takes."""
    shape: Any = evaluate(node.type.shape[1:], sizes)
    return max(node.type.dtype.itemsize * int(math.prod(shape)), 1)
