"""The module that Numba compiles: a program's source with its helpers, types and interface."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice, takewhile
from types import MappingProxyType

from symgrad.ir.call import Constraint
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.size import Shape, names_in, renamed
from symgrad.ir.types import DType, TensorType
from symgrad.lower.outline import Outline, kernel_line, outlined
from symgrad.lower.scalars import FUNCTION_CALL, OPTIONS, dtype_code
from symgrad.lower.scope import SHORT
from symgrad.lower.source import INDENT, Allocation, Result, Source, function

_HEAD = re.compile(r"( *)for \w+ in range\((.*)\):")

HEADER = """import numpy as np
from numba import njit, types

from symgrad.backends.entry import entered
from symgrad.backends.entry_writer import Interface
from symgrad.backends.interleave import interleave
from symgrad.backends.jit import Helper, NoAlias, fill, gemm, gemv, plus, row, wide
from symgrad.backends.jit import larger as max, smaller as min
"""

_OWN = frozenset({"gemm", "plus"})
"""What takes the place of helpers that written modules have: BLAS, and an instruction."""

_STEPS = "from symgrad.backends.steps_writer import Step"

_INSIDE = "pipeline_class=Helper, no_cpython_wrapper=True, no_cfunc_wrapper=True, "
"""Helpers are called by kernels only; wrappers for other callers would take time to compile."""


def kernel_module(
    graph: Graph,
    source: Source,
    constraints: Sequence[Constraint] = (),
    updates: Mapping[Node, Node] = MappingProxyType({}),
    given: int | None = None,
    inline: bool = True,
) -> str:
    """Return the module that is compiled and cached: helpers, and the kernel.

    The kernel takes inputs, constants, temporaries and the arrays for its results, and returns
    the results that are numbers. It writes over the inputs in ``updates``. For ``given``, see
    `NumbaProgram`; unless ``inline``, helpers are not copied to where they are called.
    """
    temporaries, outputs = allocations(source)
    arguments = _arguments(graph, source, updates)
    types = {**arguments, **_constants(source), **_types(temporaries), **_types(outputs)}
    numbers = _numbers(graph, source, updates)
    lines = [
        "wide()",
        *source.sizes,
        *interleaved([text for line in source.lines for text in kernel_line(line)]),
        *([f"return {', '.join(code for _, code in numbers)}"] if numbers else []),
    ]
    kernel = function("kernel", tuple(types), lines)
    interface = _interface(graph, source, types, constraints, updates, given)
    decorator = _decorator(types.values(), _kernel_options(source, given is not None))
    preamble = _preamble(source, inline)
    return "\n\n".join([*preamble, interface, f"{decorator}\n{kernel}"])


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


@dataclass(frozen=True, slots=True)
class SteppedModule:
    """The module of a large program, whose steps are functions, and what is called with what.

    Attributes:
        text: Its source, with one function for all equal steps.
        outline: The calls.
        arguments: What the program is given: inputs, and arrays for its first results, if any are.
        results: The other results; those without axes are numbers.
        fixed: The names of constants and temporaries.
        shapes: The shapes of all that steps see as arrays.
        written: Which arguments are written to.
        apart: Which pairs of arguments must not share memory.
        bare: Whether the only result comes without a tuple around it.
    """

    text: str
    outline: Outline
    arguments: Mapping[str, TensorType]
    results: Mapping[str, TensorType]
    fixed: tuple[str, ...]
    shapes: Mapping[str, Shape]
    written: Set[str]
    apart: Sequence[tuple[str, str]]
    bare: bool


def stepped_module(
    graph: Graph,
    source: Source,
    updates: Mapping[Node, Node] = MappingProxyType({}),
    given: int | None = None,
) -> SteppedModule:
    """Return the module of a large program, and all that `backends.steps` has to know of it.

    ``updates`` and ``given`` are those of `kernel_module`.
    """
    temporaries, outputs = allocations(source)
    inputs = _arguments(graph, source, updates)
    fixed = {**_constants(source), **_types(temporaries)}
    known = {**inputs, **fixed, **_types(outputs)}
    numbers = _numbers(graph, source, updates)
    outline = outlined(source, known, [code for _, code in numbers])
    returned = iter(zip(outline.returned, numbers, strict=True))
    results = {}
    for result in source.returned:
        if result.array:
            results[result.array] = TensorType(known[result.array].dtype, result.shape)
        else:
            name, (dtype, _) = next(returned)
            results[name] = TensorType(dtype, ())
    seen, written = _seen(graph, source, updates)
    arguments = {**seen, **dict(islice(results.items(), given or 0))}
    options = _kernel_options(source, compiler="Step")
    steps = [f"{_decorator(f.types, options)}\n{_wide(f.text)}" for f in outline.functions]
    return SteppedModule(
        text="\n\n".join([_STEPS, *_preamble(source), *steps]),
        outline=outline,
        arguments=arguments,
        results={name: type_ for name, type_ in results.items() if name not in arguments},
        fixed=tuple(fixed),
        shapes={name: type_.shape for name, type_ in known.items() if type_.shape},
        written=written,
        apart=_apart(seen, written),
        bare=is_bare(source.returned, given),
    )


def _seen(
    graph: Graph, source: Source, updates: Mapping[Node, Node]
) -> tuple[dict[str, TensorType], set[str]]:
    """Return the inputs as a caller gives them, and which of them are written to."""
    pairs = list(zip(source.arguments, graph.inputs, strict=False))
    return {n: node.type for n, node in pairs}, {n for n, node in pairs if node in updates}


def _apart(types: Mapping[str, TensorType], written: Set[str]) -> list[tuple[str, str]]:
    """Return which arguments must not share memory: something written, and an array only read.

    A number is read before anything is written. What is written belongs to the caller of the
    program, who keeps it apart.
    """
    read = [name for name, type_ in types.items() if type_.shape and name not in written]
    return [(x, y) for x in read for y in types if y in written]


def _decorator(types: Iterable[TensorType], options: str) -> str:
    """Return what compiles a function for arguments of some types."""
    signature = "".join(f"{signature_type(type_)}, " for type_ in types)
    return f"@njit([({signature.strip()})], {options})"


def _wide(text: str) -> str:
    """Return a function that may use the widest vectors, and several at a time."""
    head, *body = text.splitlines()
    lines = interleaved([line.removeprefix(INDENT) for line in body])
    return "\n".join([head, *(f"{INDENT}{line}" for line in ("wide()", *lines))]) + "\n"


def _kernel_options(source: Source, nogil: bool = False, compiler: str = "ENTERED") -> str:
    # Where nothing is allocated, Numba need not count references to arrays.
    counted = "" if source.allocates else "_nrt=False, "
    released = "nogil=True, " if nogil else ""
    always = "no_cfunc_wrapper=True, "
    return f"pipeline_class={compiler}, {always}{counted}{released}cache=True, **OPTIONS"


def _preamble(source: Source, inline: bool = True) -> list[str]:
    helpers = [text for name, text in source.helpers.items() if name not in _OWN]
    if not inline:
        helpers = [text.replace("forceinline=True, ", "") for text in helpers]
    return [HEADER, OPTIONS, *(text.replace("@njit(", f"@njit({_INSIDE}") for text in helpers)]


def _arguments(graph: Graph, source: Source, updates: Mapping[Node, Node]) -> dict[str, TensorType]:
    types = [
        # A number that is updated is an array of one element here.
        TensorType(node.type.dtype, (1,)) if node in updates and not node.type.shape else node.type
        for node in graph.inputs
    ]
    return dict(zip(source.arguments, types, strict=False))


def _constants(source: Source) -> dict[str, TensorType]:
    names = source.arguments[len(source.arguments) - len(source.constants) :]
    types = [TensorType(c.dtype, c.shape) for c in source.constants]
    return dict(zip(names, types, strict=True))


def _types(arrays: Sequence[Allocation]) -> dict[str, TensorType]:
    return {a.name: TensorType(a.dtype, a.shape) for a in arrays}


def _numbers(graph: Graph, source: Source, updates: Mapping[Node, Node]) -> list[tuple[DType, str]]:
    """Return the numbers that a program returns, in the dtypes of the outputs that they are."""
    overwriting = set(updates.values())
    nodes = [node for node in graph.outputs if node not in overwriting]
    return [
        (node.type.dtype, f"{dtype_code(node.type.dtype)}({result.code})")
        for node, result in zip(nodes, source.returned, strict=True)
        if not result.array
    ]


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
    types: Mapping[str, TensorType],
    constraints: Sequence[Constraint],
    updates: Mapping[Node, Node],
    given: int | None,
) -> str:
    """Return what the entry checks and returns, as source.

    A kernel could check it as well, but Numba takes long for each line.
    """
    found = names_in(tuple(type_.shape for type_ in types.values()))
    names = {name: f"s{i}" for i, name in enumerate(sorted(found))}

    def dims(shape: Shape) -> tuple[int | str, ...]:
        return tuple(d if isinstance(d, int) else renamed(str(d), names) for d in shape)

    position = {name: i for i, name in enumerate(types)}
    seen, written = _seen(graph, source, updates)
    interface = {
        # The kernel has one element for a number that is updated, but it comes without axes.
        "shapes": [
            *(dims(type_.shape) for type_ in seen.values()),
            *(dims(type_.shape) for type_ in [*types.values()][len(graph.inputs) :]),
        ],
        "relations": [renamed(f"{c.left} {c.relation} {c.right}", names) for c in constraints],
        "apart": [(position[x], position[y]) for x, y in _apart(seen, written)],
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
