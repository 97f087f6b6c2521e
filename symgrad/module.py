"""The stand-alone module: readable generated code that runs without symgrad.

It needs NumPy and uses Numba when it is there. Run as a script it checks itself: its gradients
against finite differences, at two batch sizes.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from symgrad.backends.lowered import lowered
from symgrad.check import integer_bounds
from symgrad.errors import ShapeError
from symgrad.ir.call import Constraint
from symgrad.ir.graph import Graph
from symgrad.ir.names import identifier
from symgrad.ir.node import Node
from symgrad.ir.size import Size, renamed
from symgrad.ir.types import Array
from symgrad.lower.scalars import OPTIONS, dtype_code
from symgrad.lower.source import Source
from symgrad.passes.pipeline import optimize
from symgrad.pretty import pretty

if TYPE_CHECKING:
    from symgrad.model import Model

_SMALL = 64
"""Arrays with at most this many elements in all are written into the source."""


@dataclass(slots=True)
class Module:
    """The source of a module, and the arrays that lie beside it in an ``.npz`` file."""

    source: str
    arrays: dict[str, Array] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write the module, and its arrays beside it, and return the module's path."""
        if self.arrays:
            data = io.BytesIO()
            with zipfile.ZipFile(data, "w") as archive:
                for name, value in self.arrays.items():
                    member = io.BytesIO()
                    np.lib.format.write_array(member, value, allow_pickle=False)
                    # A ZipInfo of its own carries a fixed date: same arrays, same bytes.
                    archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
            beside(path).write_bytes(data.getvalue())
        path.write_text(self.source, encoding="utf-8", newline="\n")
        return path


def beside(path: Path) -> Path:
    """Return where the arrays of a module lie."""
    return Path(str(path).removesuffix(".py") + ".npz")


@dataclass(frozen=True, slots=True)
class Function:
    """One public function of a module: its name, its graph, and how results are returned."""

    name: str
    summary: str
    original: Graph
    graph: Graph
    result: str


def model_module(model: Model, title: str, without: Sequence[str] = ()) -> Module:
    """Return the module of a model: ``value_and_grad`` and ``forward``, arguments by name."""
    step = Graph(model.arguments, [model.loss, *model.gradients.values()])
    outputs = model.outputs or {"loss": model.loss}
    needed = set(Graph(model.arguments, list(outputs.values())).nodes)
    arguments = [t for t in model.arguments if _used(t.node, outputs, needed)]
    forward = Graph(arguments, list(outputs.values()))
    functions = [
        Function(
            "value_and_grad",
            "Return the loss and a dict of its gradients.",
            step,
            optimize(step, without=model.without(without)),
            _dict_of(list(model.gradients), "results[1:]", "results[0], "),
        ),
        Function(
            "forward",
            "Return a dict of the model's outputs.",
            forward,
            optimize(forward, without=model.without(without)),
            _dict_of(list(outputs), "results", ""),
        ),
    ]
    try:
        initial = model.initial()
    except ShapeError:
        # A parameter has a size that only a call will tell.
        initial = {}
    return _module(title, functions, initial, list(model.gradients))


def _used(node: Node, outputs: Mapping[str, object], needed: set[Node]) -> bool:
    consumed = {x for n in needed for x in n.inputs}
    return node in consumed or any(getattr(t, "node", None) is node for t in outputs.values())


def _dict_of(names: Sequence[str], values: str, before: str) -> str:
    return f"{before}dict(zip({list(names)!r}, {values}))"


def function_module(original: Graph, graph: Graph) -> Module:
    """Return the module of a compiled function: ``value_and_grad`` returns what it returns."""
    single = len(graph.outputs) == 1
    function = Function(
        "value_and_grad",
        "Return the outputs.",
        original,
        graph,
        "results[0]" if single else "results",
    )
    return _module("A compiled function", [function], {}, _derived_names(original))


def _derived_names(graph: Graph) -> list[str]:
    """Return what the outputs after the first are gradients of it by, if they all are."""
    first, *rest = graph.outputs
    derived = [d for d in graph.derivatives[1:] if d is not None and d.of is first]
    names = [str(d.wrt[0].name) for d in derived if len(d.wrt) == 1 and d.wrt[0].is_input]
    return names if rest and len(names) == len(rest) else []


# Writing


_WIDTH = 100
"""A line is at most so long, where it can be cut."""

_BELOW = "# That was the model. Below is what it needs to run alone."
"""The line between what is the model's own and what is alike in all modules."""

_IMPORTS = '''import numpy as np

try:
    from numba import njit
except ImportError:
    def njit(**_options):
        """Leave functions to Python where Numba is not installed: slower, the same results."""
        return lambda function: function
'''

_BIND = '''def _bind(types, values, sizes):
    """Return values as arrays of the declared dtypes, reading the named sizes off their shapes."""
    arrays = []
    for name, value in values.items():
        dtype, shape = types[name]
        given = np.asarray(value)
        if not np.can_cast(given.dtype, dtype, "same_kind"):
            raise TypeError(f"{name}: expected {dtype}, got {given.dtype}")
        array = np.array(given, dtype=dtype, order="C", copy=None)
        if array.dtype.kind == "i" and not np.array_equal(array, given):
            raise TypeError(f"{name}: a value does not fit in {dtype}")
        if array.ndim != len(shape):
            raise ValueError(f"{name}: expected the shape {shape}, got {array.shape}")
        for expected, got in zip(shape, array.shape):
            known = sizes.setdefault(expected, got) if isinstance(expected, str) else expected
            if known != got:
                wanted = expected if expected == known else f"{expected} = {known}"
                raise ValueError(f"{name}: expected the size {wanted}, got shape {array.shape}")
        arrays.append(array if array.ndim else array[()])
    return arrays
'''

_CHECK = '''def _random(types, bounds, sizes, rng):
    """Return random values of small sizes."""
    values = {}
    for name, (dtype, shape) in types.items():
        dims = [sizes.setdefault(d, 3 + len(sizes)) if isinstance(d, str) else d for d in shape]
        if name in PARAMETERS and dtype.startswith("float"):
            values[name] = (0.3 * rng.standard_normal(dims)).astype(dtype)
        elif dtype.startswith("float"):
            values[name] = rng.uniform(0.1, 0.9, dims).astype(dtype)
        else:
            values[name] = rng.integers(0, bounds.get(name, 2), dims).astype(dtype)
    return values


def check(sizes=None, seed=0):
    """Return whether the gradients agree with finite differences at random values."""
    rng = np.random.default_rng(seed)
    values = _random({**INPUTS, **PARAMETERS}, LABELS, dict(sizes or {}), rng)
    loss, gradients = _loss_and_gradients(values)
    right = True
    for name, gradient in gradients.items():
        eps = np.finfo({**INPUTS, **PARAMETERS}[name][0]).eps
        step = np.cbrt(eps)
        direction = rng.choice([-1.0, 1.0], size=np.shape(values[name]))
        above = _loss_and_gradients({**values, name: values[name] + step * direction})[0]
        below = _loss_and_gradients({**values, name: values[name] - step * direction})[0]
        slope = np.sum(gradient * direction, dtype=np.float64)
        difference = (np.float64(above) - np.float64(below)) / (2 * step)
        scale = max(abs(slope), abs(difference), float(np.max(np.abs(gradient))), 1e-8)
        rounding = 10 * eps * max(abs(above), abs(below)) / step / scale
        error = abs(slope - difference) / scale
        right = right and error <= max(TOLERANCE, rounding)
        print(f"  {name}: relative error {error:.1e}")
    return right
'''


def _module(
    title: str,
    functions: Sequence[Function],
    initial: Mapping[str, Array],
    gradients: Sequence[str],
) -> Module:
    """Return a module: first what is the model's own, and below it what that needs."""
    sources = [lowered(f.graph, f"_{f.name}") for f in functions]
    first = functions[0]
    parts = ["\n".join([_header(title, first), _IMPORTS, OPTIONS, _declarations(first)])]
    for function, source in zip(functions, sources, strict=True):
        parts.append(f"@njit(cache=True, **OPTIONS)\n{source.returning_tuple}")
        parts.append(_public(function, source))
    arrays: dict[str, Array] = {}
    below = [_initial(initial, arrays)] if initial else []
    below += _tables(sources, arrays)
    below.append(_BIND)
    helpers = {name: text for source in sources for name, text in source.helpers.items()}
    below += list(helpers.values())
    below += _self_check(first, gradients)
    parts += [_BELOW, *below]
    return Module("\n\n".join(part.rstrip("\n") + "\n" for part in parts), arrays)


def _header(title: str, function: Function) -> str:
    lines = [title, "", "Generated by symgrad. Needs NumPy, and uses Numba when it is there.", ""]
    shown = pretty(function.graph)
    lines += ["    " + line for line in shown.splitlines()]
    text = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""\n'


def _declarations(function: Function) -> str:
    rows = {True: [], False: []}  # type: dict[bool, list[str]]
    for node in function.original.inputs:
        shape = tuple(str(d) if isinstance(d, Size) else d for d in node.type.shape)
        entry = f"    {node.attrs['name']!r}: ({node.type.dtype.name!r}, {shape!r}),"
        rows[node.is_parameter].append(entry)
    text = "# Name: (dtype, shape); a name in a shape is one size everywhere.\n"
    for label, parameters in (("INPUTS", False), ("PARAMETERS", True)):
        inner = "\n".join(rows[parameters])
        text += f"{label} = {{\n{inner}\n}}\n" if inner else f"{label} = {{}}\n"
    return text


def _initial(initial: Mapping[str, Array], arrays: dict[str, Array]) -> str:
    if sum(value.size for value in initial.values()) > _SMALL:
        arrays.update(initial)
        return (
            "def initial():\n"
            '    """Return the initial values of the parameters, from the file beside it."""\n'
            "    with np.load(_beside()) as data:\n"
            "        return {name: data[name] for name in PARAMETERS}\n"
            f"\n\n{_BESIDE}"
        )
    rows = [f"        {name!r}: {_array_code(value)}," for name, value in initial.items()]
    inner = "\n".join(rows)
    return (
        "def initial():\n"
        '    """Return the initial values of the parameters."""\n'
        f"    return {{\n{inner}\n    }}\n"
    )


_BESIDE = '''def _beside():
    """Return the path of the arrays that belong to this module."""
    return __file__.removesuffix(".py") + ".npz"
'''


def _tables(sources: Sequence[Source], arrays: dict[str, Array]) -> list[str]:
    """Return the large constants as module globals, in the source or in the file beside it."""
    parts: list[str] = []
    for source in sources:
        for name, value in zip(_table_names(source), source.constants, strict=True):
            if value.size <= _SMALL:
                parts.append(f"{name} = {_array_code(value)}\n")
            else:
                if not arrays:
                    parts.append(_BESIDE)
                arrays[name] = value
                parts.append(f"with np.load(_beside()) as _data:\n    {name} = _data[{name!r}]\n")
    return parts


def _array_code(value: Array) -> str:
    """Return an array as source: ``np.array([0.5, np.inf], dtype="float64")``."""
    numbers = re.sub(r"\b(inf|nan)\b", r"np.\1", repr(value.tolist()))
    shape = f".reshape({value.shape})" if value.size == 0 else ""
    return f'np.array({numbers}, dtype="{value.dtype.name}"){shape}'


def _table_names(source: Source) -> list[str]:
    count = len(source.constants)
    return [f"{source.name}_{name}".upper() for name in source.arguments[-count:]] if count else []


def _public(function: Function, source: Source) -> str:
    taken: set[str] = {"sizes", "results", "arrays", "values"}
    names = [str(node.attrs["name"]) for node in function.original.inputs]
    arguments = [identifier(name, taken) for name in names]
    pairs = [f"{n!r}: {a}" for n, a in zip(names, arguments, strict=True)]
    values = f"    values = {{{', '.join(pairs)}}}"
    if len(values) > _WIDTH:
        values = "\n".join(["    values = {", *(f"        {pair}," for pair in pairs), "    }"])
    tables = "".join(f", {name}" for name in _table_names(source))
    lines = [
        f"def {function.name}({', '.join(arguments)}):",
        f'    """{function.summary}"""',
        "    sizes = {}",
        values,
        "    arrays = _bind({**INPUTS, **PARAMETERS}, values, sizes)",
    ]
    for constraint in function.original.constraints:
        lines += _constraint(constraint)
    lines += [
        '    with np.errstate(all="ignore"):',
        f"        results = _{function.name}(*arrays{tables})",
    ]
    types = [node.type for node in function.graph.outputs]
    if not all(type_.shape for type_ in types):
        # Compiled code returns Python's numbers for scalars: give them their dtype back.
        typed = [
            f"results[{i}]" if type_.shape else f"{dtype_code(type_.dtype)}(results[{i}])"
            for i, type_ in enumerate(types)
        ]
        lines.append(f"    results = ({', '.join(typed)},)")
    lines.append(f"    return {function.result}")
    return "\n".join(lines) + "\n"


def _constraint(c: Constraint) -> list[str]:
    condition = f"{_size_code(c.left)} {c.relation} {_size_code(c.right)}"
    message = f"{c.what}: {c.left} {c.relation} {c.right} does not hold"
    return [f"    if not {condition}:", f"        raise ValueError({message!r})"]


def _size_code(size: object) -> str:
    if not isinstance(size, Size):
        return str(size)
    return f"({renamed(str(size), {name: f'sizes[{name!r}]' for name in size.names})})"


def _self_check(function: Function, gradients: Sequence[str]) -> list[str]:
    """Return the script part: gradients against finite differences, at two batch sizes."""
    if not gradients:
        return []
    bounds = integer_bounds(function.original.outputs[0], _Sizes())
    names = [str(node.attrs["name"]) for node in function.original.inputs]
    call = f"value_and_grad(*[values[name] for name in {names!r}])"
    if function.result.startswith("results[0], "):
        returned = f"    return {call}"
    else:
        returned = (
            f"    loss, *rest = {call}\n    return loss, dict(zip({list(gradients)!r}, rest))"
        )
    adapter = (
        "def _loss_and_gradients(values):\n"
        '    """Return the loss and its gradients for values by name."""\n'
        f"{returned}\n"
    )
    sizes = sorted(
        {str(d) for n in function.original.inputs for d in n.type.shape if isinstance(d, Size)}
    )
    narrow = any(n.type.dtype.name == "float32" for n in function.original.inputs)
    tolerance = "2e-2" if narrow else "1e-5"
    loop = [
        'if __name__ == "__main__":',
        f"    for size in ({', '.join(['3', '5']) if sizes else '0,'}):",
        f"        sizes = dict.fromkeys({sizes!r}, size)",
        '        print("gradients against finite differences", sizes or "")',
        "        if not check(sizes):",
        '            raise SystemExit("a gradient is wrong")',
    ]
    labels = f"LABELS = {bounds!r}  # how many values an integer input may take\n"
    labels += f"TOLERANCE = {tolerance}\n"
    return [labels, _CHECK, adapter, "\n".join(loop) + "\n"]


class _Sizes(dict[str, int]):
    """Every named size is 3 in the self-check's smallest run."""

    def __missing__(self, key: str) -> int:
        return 3
