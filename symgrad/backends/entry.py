"""The way from Python into a kernel: a C function that reads its arguments where they lie.

Numba's own dispatch looks up the types of all arguments and makes a counted record of each array,
which takes longer than a small kernel. Here the kernel gets a function of its own, of the kind that
CPython calls with its arguments in a row (METH_FASTCALL). It compares each with the one type that
the kernel was compiled for, and refuses all others with TypeError; the caller converts them then.

`entry_writer` writes its machine code, which reads objects where `layout` says. Addresses differ
from process to process, and machine code is cached: they come in a table, which is filled here.

Only generated kernels and those that call them import this module, and with it Numba.
"""

# mypy: disable-error-code="no-untyped-call,assignment"

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering
from numba.np.numpy_support import as_dtype

from symgrad.backends import layout
from symgrad.backends.entry_writer import EntryWriter, Interface
from symgrad.backends.interleave import InterleavingLower
from symgrad.backends.jit import NoAlias
from symgrad.backends.machine_code import code_of, numbers_in
from symgrad.ir.types import Array

WriteEntry = Callable[[Any, Any, Any, bool], None]
"""Writes an entry, given Numba's context, a module, what the kernel is like, and whether it is run
without Python's lock."""


class _Lower(InterleavingLower):
    def __init__(self, write: WriteEntry, *arguments: Any, **options: Any):
        self.write = write
        super().__init__(*arguments, **options)

    def create_cpython_wrapper(self, release_gil: bool = False) -> None:
        """Write the entry instead of Numba's wrapper."""
        module = self.context.create_module("entry")
        self.write(self.context, module, self.fndesc, release_gil)
        self.library.add_ir_module(module)


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    _name = "entered_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower a kernel."""
        # Numba compiles under a lock, and no kernel calls another.
        self.write = state.pipeline.write
        done: bool = super().run_pass(state)
        return done

    @property
    def lowering_class(self) -> Any:
        """What lowers a function."""
        return functools.partial(_Lower, self.write)


class Entered(NoAlias):
    """Numba's compiler, but for the wrapper: what ``write`` writes takes its place."""

    write: WriteEntry
    lowering = _Lowering


def entered(interface: Interface) -> Any:
    """Return Numba's compiler for a kernel that `entry` calls."""

    def write(context: Any, module: Any, descriptor: Any, release_gil: bool) -> None:
        EntryWriter(context, module, descriptor, interface, release_gil).write()

    return type("Entered", (Entered,), {"write": staticmethod(write)})


@dataclass(frozen=True, slots=True)
class Keeper:
    """What makes the arrays for a result that are large: of so many elements or more."""

    large: int
    make: Callable[..., Array]


def entry(
    kernel: Any,
    fixed: Sequence[int],
    keepers: Mapping[int, Keeper],
    written: Set[int] = frozenset(),
) -> Callable[..., Callable[..., Any]]:
    """Return what makes, from arrays for fixed arguments, the function that calls a kernel.

    That function takes arrays and numbers for the kernel's other arguments in order, but for those
    in ``keepers``, and returns what `Interface.results` says. Anything else than arrays in one
    piece and numbers of the kernel's dtypes raises TypeError, and so do shapes that do not fit
    together, and more elements in all of these arrays than is said, if that is said, too.

    Args:
        kernel: A function compiled by what `entered` returns, for one signature.
        fixed: The positions of arguments that are the same in every call.
        keepers: What makes the arrays of the results, if they are large, by position.
        written: The positions of arguments that the kernel writes to.
    """
    (compiled,) = kernel.overloads.values()
    descriptor = compiled._asdict()["fndesc"]
    given = len(descriptor.argtypes) - len(fixed) - len(keepers)
    words = [given, id(np.ndarray), *layout.functions(), 0]
    limit = len(words) - 1
    outputs: list[int] = []
    places: dict[int, int] = {}
    dtypes = []
    for position, type_ in enumerate(descriptor.argtypes):
        is_array = isinstance(type_, types.Array)
        dtype = as_dtype(type_.dtype if is_array else type_)
        dtypes.append(dtype)
        flags = layout.flags(position in written)
        if position in keepers:
            outputs += [id(dtype), keepers[position].large, id(keepers[position].make)]
        elif is_array:
            places[position] = len(words)
            words += [0, flags, layout.kind(dtype)]
        else:
            words += [*layout.number_types(dtype), flags, layout.kind(dtype)]
    numbers = [as_dtype(type_) for type_ in numbers_in(descriptor.restype)]
    words += [*outputs, *map(id, numbers)]
    template = np.array(words, np.uint64).view(layout.Table)
    address = code_of(kernel)

    def bound(arrays: Sequence[Array], most: int | None = None) -> Callable[..., Any]:
        table = template.copy()
        table[limit] = 2**63 - 1 if most is None else most
        for position, array in zip(fixed, arrays, strict=True):
            table[places[position]] = id(array)
        table.kept = (kernel, tuple(arrays), tuple(keepers.values()), dtypes, numbers)
        return layout.function(address, table)

    return bound
