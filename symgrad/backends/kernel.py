"""The module that Numba compiles: a program's source with its helpers, types and interface."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import takewhile
from types import MappingProxyType

from symgrad.ir.call import Constraint
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Shape, names_in
from symgrad.ir.types import DType, TensorType
from symgrad.lower.element import renamed
from symgrad.lower.outline import kernel_line, outlined
from symgrad.lower.scalars import FUNCTION_CALL, OPTIONS, dtype_code
from symgrad.lower.scope import SHORT
from symgrad.lower.source import INDENT, Allocation, Result, Source, function

_HEAD = re.compile(r"( *)for \w+ in range\((.*)\):")

HEADER = """import numpy as np
from numba import njit, types

from symgrad.backends.entry import entered
from symgrad.backends.entry_writer import Interface
from symgrad.backends.interleave import interleave
from symgrad.backends.jit import Helper, NoAlias, fill, gemm, gemv, row, wide
from symgrad.backends.jit import larger as max, smaller as min
"""

_INSIDE = "pipeline_class=Helper, no_cpython_wrapper=True, no_cfunc_wrapper=True, "
"""Helpers are called by kernels only; wrappers for other callers would take time to compile."""


def kernel_module(
    graph: Graph,
    source: Source,
    constraints: Sequence[Constraint] = (),
    updates: Mapping[Node, Node] = MappingProxyType({}),
    given: int | None = None,
) -> str:
    """Return the module that is compiled and cached: helpers, and the kernel.

    The kernel takes inputs, constants, temporaries and the arrays for its results, and returns
    the results that are numbers. It writes over the inputs in ``updates``. For ``given``, see
    `NumbaProgram`.
    """
    arguments = _arguments(graph, source, updates)
    lines = [
        "wide()",
        *source.sizes,
        *interleaved([text for line in source.lines for text in kernel_line(line)]),
        *_returned(graph, source, updates),
    ]
    signature = ", ".join(signature_type(type_) for _, type_ in arguments)
    comma = "," if arguments else ""
    kernel = function("kernel", tuple(name for name, _ in arguments), lines)
    interface = _interface(graph, source, arguments, constraints, set(updates), given)
    decorator = f"@njit([({signature}{comma})], {_kernel_options(source, 'ENTERED')})"
    return "\n\n".join([*_preamble(source), interface, f"{decorator}\n{kernel}"])


def interleaved(lines: Sequence[str]) -> list[str]:
    """Return the lines of a kernel with `interleave` at the end of long loops of functions.

    Long are loops that stand alone, and those over strips. Others may have a few elements only, and
    what stands under a condition is rarely run.
    """
    ends: dict[int, str] = {}
    rare = False
    for i, line in enumerate(lines):
        if not line.startswith(" "):
            rare = line.startswith("if ")
        head = _HEAD.match(line)
        if rare or head is None or not _is_long(*head.groups()):
            continue
        indent = head[1] + INDENT
        body = list(takewhile(_starting(indent), lines[i + 1 :]))
        inner = any(_HEAD.match(text) for text in body)
        if not inner and any(FUNCTION_CALL.search(text) for text in body):
            ends[i + len(body)] = f"{indent}interleave()"
    out: list[str] = []
    for i, line in enumerate(lines):
        out += [line, ends[i]] if i in ends else [line]
    return out


def _starting(indent: str) -> Callable[[str], bool]:
    return lambda line: line.startswith(indent)


def _is_long(indent: str, count: str) -> bool:
    if count.isdigit():
        return int(count) >= 2 * SHORT
    return not indent or count.startswith(f"min({SHORT}, ")


def driver_module(graph: Graph, source: Source, updates: Mapping[Node, Node]) -> str:
    """Return the module of a large program: its steps, equal ones once, and what calls them.

    The kernel is then a plain function of the same arguments. It checks nothing.
    """
    names = tuple(name for name, _ in _arguments(graph, source, {}))
    functions, calls = outlined(source, names)
    decorator = f"@njit({_kernel_options(source, 'NoAlias')})"
    lines = [*source.sizes, *calls, *_returned(graph, source, updates)]
    kernel = function("kernel", names, lines)
    return "\n\n".join(
        [*_preamble(source), *(f"{decorator}\n{_wide(text)}" for text in functions), kernel]
    )


def _wide(text: str) -> str:
    """Return a function that may use the widest vectors, and several at a time."""
    head, *body = text.splitlines()
    lines = interleaved([line.removeprefix(INDENT) for line in body])
    return "\n".join([head, *(f"{INDENT}{line}" for line in ("wide()", *lines))]) + "\n"


def _kernel_options(source: Source, compiler: str) -> str:
    # Where nothing is allocated, Numba need not count references to arrays.
    counted = "" if source.allocates else "_nrt=False, "
    return f"pipeline_class={compiler}, no_cfunc_wrapper=True, {counted}cache=True, **OPTIONS"


def _preamble(source: Source) -> list[str]:
    # BLAS takes the place of the written module's plain gemm.
    helpers = [text for name, text in source.helpers.items() if name != "gemm"]
    return [HEADER, OPTIONS, *(text.replace("@njit(", f"@njit({_INSIDE}") for text in helpers)]


def _arguments(
    graph: Graph, source: Source, updates: Mapping[Node, Node]
) -> list[tuple[str, TensorType]]:
    types = [
        # A number that is updated is an array of one element here.
        TensorType(node.type.dtype, (1,)) if node in updates and not node.type.shape else node.type
        for node in graph.inputs
    ]
    types += [TensorType(c.dtype, c.shape) for c in source.constants]
    made = [a for several in allocations(source) for a in several]
    types += [TensorType(a.dtype, a.shape) for a in made]
    return list(zip((*source.arguments, *(a.name for a in made)), types, strict=True))


def _returned(graph: Graph, source: Source, updates: Mapping[Node, Node]) -> list[str]:
    """Return the statement that returns numbers, in the dtypes of the outputs that they are."""
    overwriting = set(updates.values())
    nodes = [node for node in graph.outputs if node not in overwriting]
    numbers = [
        f"{dtype_code(node.type.dtype)}({result.code})"
        for node, result in zip(nodes, source.returned, strict=True)
        if not result.array
    ]
    return [f"return {', '.join(numbers)}"] if numbers else []


def allocations(source: Source) -> tuple[list[Allocation], list[Allocation]]:
    """Return the temporaries of a program, and the arrays of its results, in their order."""
    order = {result.array: i for i, result in enumerate(source.returned) if result.array}
    outputs = [a for a in source.allocations if a.name in order]
    outputs.sort(key=lambda a: order[a.name])
    return [a for a in source.allocations if a.name not in order], outputs


def is_bare(returned: Sequence[Result], given: int | None) -> bool:
    """Return whether a program returns its only result as it is, not in a tuple."""
    return given is None and len(returned) == 1


def _interface(
    graph: Graph,
    source: Source,
    arguments: Sequence[tuple[str, TensorType]],
    constraints: Sequence[Constraint],
    written: Set[Node],
    given: int | None,
) -> str:
    """Return what the entry checks and returns, as source.

    A kernel could check it as well, but Numba takes long for each line. Something written must not
    lie in the memory of something only read; what is written belongs to the caller of the program,
    who keeps it apart.
    """
    found = names_in(tuple(type_.shape for _, type_ in arguments))
    names = {name: f"s{i}" for i, name in enumerate(sorted(found))}

    def dims(shape: Shape) -> tuple[int | str, ...]:
        return tuple(d if isinstance(d, int) else renamed(str(d), names) for d in shape)

    position = {name: i for i, (name, _) in enumerate(arguments)}
    arrays = [(i, node) for i, node in enumerate(graph.inputs) if node.type.shape]
    interface = {
        # The kernel has one element for a number that is updated, but it comes without axes.
        "shapes": [
            *(dims(node.type.shape) for node in graph.inputs),
            *(dims(type_.shape) for _, type_ in arguments[len(graph.inputs) :]),
        ],
        "relations": [renamed(f"{c.left} {c.relation} {c.right}", names) for c in constraints],
        "apart": [
            (i, j) for i, x in arrays for j, y in arrays if x not in written and y in written
        ],
        "results": [
            (position[result.array], dims(result.shape)) if result.array else None
            for result in source.returned[given or 0 :]
        ],
        "bare": is_bare(source.returned, given),
    }
    lines = [f"    {key}={value!r},\n" for key, value in interface.items()]
    return f"ENTERED = entered(Interface(\n{''.join(lines)}))"


def signature_type(type_: TensorType) -> str:
    """Return a type as Numba writes it: ``types.float64[:, ::1]``."""
    name = _numba_name(type_.dtype)
    if not type_.shape:
        return name
    return f"{name}[{', '.join([':'] * (type_.ndim - 1) + ['::1'])}]"


def _numba_name(dtype: DType) -> str:
    return "types.boolean" if dtype.kind == "b" else f"types.{dtype.name}"
