"""A graph as a function of plain NumPy: one expression for each formula, to read, run and paste."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from functools import cache

from symgrad import errors
from symgrad.ir.graph import Graph
from symgrad.ir.names import cotangents, identifier, value_names
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.size import Dim, Size, names_in
from symgrad.ir.types import DType
from symgrad.ir.walk import consumers

_WIDTH = 72
"""Expressions are not written into one another beyond this."""
_LARGEST = 64
"""Constant arrays of more elements are not written out."""

_OPERATORS = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "divide": "{0} / {1}",
    "floor_divide": "{0} // {1}", "remainder": "{0} % {1}", "negative": "-{0}",
    "matmul": "{0} @ {1}", "equal": "{0} == {1}", "not_equal": "{0} != {1}",
    "less": "{0} < {1}", "less_equal": "{0} <= {1}", "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}", "clip": "np.minimum(np.maximum({0}, {1}), {2})",
    "relu": "np.maximum({0}, 0)",
    "sigmoid": "np.exp(-np.logaddexp(0, -{0}))",
    "softplus": "np.logaddexp(0, {0})",
    "logistic_loss": "np.maximum({0}, 0) - {0} * {1} + np.log1p(np.exp(-np.abs({0})))",
    "erf": "special.erf({0})", "erfc": "special.erfc({0})",
    "log_det": "np.where(np.linalg.slogdet({0})[0] < 0, np.nan, np.linalg.slogdet({0})[1])",
    "stop_gradient": "{0}",
    "half_tril": "np.tril({0}) - {0} * np.eye(*{0}.shape[-2:], dtype={0}.dtype) / 2",
}  # fmt: skip
"""What is not called as NumPy calls it."""
_ARITHMETIC = frozenset({"add", "subtract", "multiply", "divide"})
_NUMBERS = frozenset({"constant", "size", "broadcast_to", "expand_dims"})
_REPEATING = frozenset({"logistic_loss", "half_tril", "log_det"})
"""Templates that need an operand more than once."""


def numpy_source(graph: Graph, name: str = "function") -> str:
    """Return the source of a function that computes the outputs of an optimised graph.

    Raises:
        UnsupportedError: for an op that NumPy has no expression for, or a large constant.
    """
    return _Writer(graph, name).source()


class _Writer:
    """The lines of one function, and the expression for each value."""

    def __init__(self, graph: Graph, name: str):
        self.graph = graph
        self.name = name
        self.taken = {"np", "special", name}
        self.known = value_names(graph)
        self.gradient_of = cotangents(graph)
        self.arguments = [identifier(str(node.attrs["name"]), self.taken) for node in graph.inputs]
        self.text = dict(zip(graph.inputs, self.arguments, strict=True))
        self.sizes: dict[str, str] = {}
        self.lines: list[str] = []

    def source(self) -> str:
        """Return the whole text."""
        self._read_sizes()
        users = consumers(self.graph.nodes)
        outputs = set(self.graph.outputs)
        for node in self.graph.nodes:
            if node.is_input:
                continue
            written = _STATEMENTS.get(node.op.name)
            if written is not None:
                self.text[node] = self._name(node)
                self.lines += written(self, node, self.text[node])
                continue
            text = _tidy(self._expression(node))
            alone = (
                len(users[node]) == 1
                and users[node][0].op.name not in _REPEATING
                and node not in outputs
                and node not in self.known
            )
            short = len(text) <= _WIDTH or not node.inputs
            atomic = re.fullmatch(r"[\w.]+(\[[\w, :]*\])?", text) is not None
            if (alone and short) or (atomic and node not in self.known):
                self.text[node] = text
            else:
                self.text[node] = self._name(node)
                self.lines.append(f"{self.text[node]} = {text}")
        results = ", ".join(self.text[node] for node in self.graph.outputs)
        body = [*self.lines, f"return {results}"]
        head = f"def {self.name}({', '.join(self.arguments)}):"
        imports = ["import numpy as np"]
        if any("special." in line for line in body):
            imports.append("from scipy import special")
        return "\n".join([*imports, "", "", head, *(f"    {line}" for line in body)]) + "\n"

    def operands(self, node: Node) -> list[str]:
        """Return the texts of a node's inputs."""
        return [self.text[x] for x in node.inputs]

    def size(self, dim: Dim) -> str:
        """Return a size as source."""
        if isinstance(dim, int):
            return str(dim)
        return re.sub(r"[^\W\d]\w*", lambda m: self.sizes.get(m[0], m[0]), str(dim))

    def shape(self, shape: Sequence[Dim]) -> str:
        """Return a shape as source."""
        inner = ", ".join(map(self.size, shape))
        return f"({inner},)" if len(shape) == 1 else f"({inner})"

    def _read_sizes(self) -> None:
        wanted: set[str] = set()
        for node in self.graph.nodes:
            if not node.is_input:
                wanted |= names_in(tuple(node.attrs.values()))
        for node, argument in list(zip(self.graph.inputs, self.arguments, strict=True)):
            for axis, dim in enumerate(node.type.shape):
                key = str(dim)
                if isinstance(dim, Size) and key in wanted and key not in self.sizes:
                    self.sizes[key] = identifier(key, self.taken)
                    self.lines.append(f"{self.sizes[key]} = {argument}.shape[{axis}]")
        for key in sorted(wanted - self.sizes.keys()):
            # No argument has it: it is one.
            self.sizes[key] = identifier(key, self.taken)
            self.arguments.append(self.sizes[key])

    def _name(self, node: Node) -> str:
        of = self.gradient_of.get(node)
        if node in self.known:
            return identifier(self.known[node], self.taken)
        if of is not None:
            return identifier(f"grad_{of.name or of.op.name}", self.taken)
        return identifier(node.op.name, self.taken)

    def _expression(self, node: Node) -> str:
        name, inner = node.op.name, self.operands(node)
        rule = _RULES.get(name)
        if rule is not None:
            return rule(self, node)
        template = _OPERATORS.get(name) or node.op.kernel
        if name in _ARITHMETIC and any(x.op.name not in _NUMBERS for x in node.inputs):
            # Beside a value of floats, a whole number may be written as one.
            inner = [
                re.sub(r"(-?[1-9]\d{0,5})\.0", r"\1", t) if _is_number(t) else t for t in inner
            ]
        if template:
            return re.sub(r"\{(\d)\}", lambda m: f"({inner[int(m[1])]})", template)
        if name in _numpy_names():
            return f"np.{name}({', '.join(inner)})"
        raise errors.UnsupportedError(
            errors.worded(
                f"{name}: NumPy has no expression for it",
                made_at=node.origin,
                fix="print the generated source instead, which has loops",
            )
        )


@cache
def _numpy_names() -> frozenset[str]:
    import numpy as np

    return frozenset(dir(np))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+\.0", text) is not None


def _tidy(text: str) -> str:
    """Return an expression with the parentheses that it needs."""
    return ast.unparse(ast.parse(text, mode="eval"))


def _dtype(dtype: DType) -> str:
    return "bool" if dtype.kind == "b" else f"np.{dtype.name}"


def _axis(axes: Sequence[int]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


# How ops with attributes are written


def _constant(w: _Writer, node: Node) -> str:
    value = scalar_value(node)
    if value is not None and not node.type.shape:
        return _numbers(value.item() if hasattr(value, "item") else value)
    array = node.attrs["value"]
    if value is not None:
        number = _numbers(value.item() if hasattr(value, "item") else value)
        return f"np.full({w.shape(node.type.shape)}, {number}, {_dtype(node.type.dtype)})"
    if array.size > _LARGEST:
        raise errors.UnsupportedError(
            errors.worded(
                f"a constant {node.type} is too large to be written out",
                made_at=node.origin,
                fix="declare it as an input",
            )
        )
    return f"np.array({_numbers(array.tolist())}, {_dtype(node.type.dtype)})"


def _numbers(value: object) -> str:
    """Return numbers as source."""
    return re.sub(r"\b(inf|nan)\b", r"np.\1", repr(value))


def _size(w: _Writer, node: Node) -> str:
    return w.size(node.attrs["size"])


def _reduced(w: _Writer, node: Node) -> str:
    [x], axes = w.operands(node), node.attrs["axis"]
    if isinstance(axes, int):
        return f"np.{node.op.name}({x}, axis={axes})"
    if len(axes) == node.inputs[0].type.ndim:
        return f"np.{node.op.name}({x})"
    return f"np.{node.op.name}({x}, axis={_axis(axes)})"


def _special(w: _Writer, node: Node) -> str:
    [x] = w.operands(node)
    return f"special.{node.op.name}({x}, axis={_axis(node.attrs['axis'])})"


def _transpose(w: _Writer, node: Node) -> str:
    [x], axes = w.operands(node), node.attrs["axes"]
    return f"({x}).T" if axes == tuple(range(len(axes)))[::-1] else f"np.transpose({x}, {axes})"


def _reshape(w: _Writer, node: Node) -> str:
    return f"np.reshape({w.operands(node)[0]}, {w.shape(node.type.shape)})"


def _expand_dims(w: _Writer, node: Node) -> str:
    return f"np.expand_dims({w.operands(node)[0]}, {_axis(node.attrs['axes'])})"


def _squeeze(w: _Writer, node: Node) -> str:
    return f"np.squeeze({w.operands(node)[0]}, {_axis(node.attrs['axes'])})"


def _broadcast_to(w: _Writer, node: Node) -> str:
    return f"np.broadcast_to({w.operands(node)[0]}, {w.shape(node.type.shape)})"


def _keys(w: _Writer, node: Node, whole: Sequence[Dim], size: Sequence[Dim]) -> str:
    """Return the slices of a window."""
    keys = []
    for dim, start, count, step in zip(
        whole, node.attrs["start"], size, node.attrs["step"], strict=True
    ):
        if (start, count, step) == (0, dim, 1):
            keys.append(":")
            continue
        if step > 0:
            stop = w.size(start + step * count)
            keys.append(f"{w.size(start)}:{stop}" + ("" if step == 1 else f":{step}"))
            continue
        # A stop of -1 would count from the end.
        before = start + step * (count - 1) - 1
        if isinstance(before, int):
            keys.append(f"{w.size(start)}:{before if before >= 0 else ''}:{step}")
        else:
            stop = w.size(before)
            keys.append(f"slice({w.size(start)}, {stop} if {stop} >= 0 else None, {step})")
    return ", ".join(keys)


def _slice(w: _Writer, node: Node) -> str:
    x = node.inputs[0]
    return f"({w.text[x]})[{_keys(w, node, x.type.shape, node.attrs['size'])}]"


def _place(w: _Writer, node: Node, name: str) -> list[str]:
    x = node.inputs[0]
    zeros = f"np.zeros({w.shape(node.type.shape)}, {_dtype(node.type.dtype)})"
    keys = _keys(w, node, node.type.shape, x.type.shape)
    return [f"{name} = {zeros}", f"{name}[{keys}] = {w.text[x]}"]


def _index_keys(node: Node, indices: Sequence[str]) -> str:
    return ", ".join([":"] * node.attrs["axis"] + list(indices))


def _gather(w: _Writer, node: Node) -> str:
    x, *indices = w.operands(node)
    return f"({x})[{_index_keys(node, indices)}]"


def _scatter_add(w: _Writer, node: Node, name: str) -> list[str]:
    x, *indices = w.operands(node)
    zeros = f"np.zeros({w.shape(node.type.shape)}, {_dtype(node.type.dtype)})"
    keys = ["slice(None)"] * node.attrs["axis"] + indices
    return [f"{name} = {zeros}", f"np.add.at({name}, ({', '.join(keys)},), {x})"]


def _pick(w: _Writer, node: Node) -> str:
    x, labels = w.operands(node)
    return f"np.take_along_axis({x}, np.expand_dims({labels}, -1), -1)[..., 0]"


def _one_hot(w: _Writer, node: Node) -> str:
    [labels] = w.operands(node)
    count, dtype = w.size(node.attrs["size"]), _dtype(node.type.dtype)
    return f"(np.expand_dims({labels}, -1) == np.arange({count})).astype({dtype})"


def _iota(w: _Writer, node: Node) -> str:
    return f"np.arange({w.size(node.attrs['size'])}, dtype={_dtype(node.type.dtype)})"


def _concatenate(w: _Writer, node: Node) -> str:
    return f"np.concatenate([{', '.join(w.operands(node))}], axis={node.attrs['axis']})"


def _cast(w: _Writer, node: Node) -> str:
    [x] = w.operands(node)
    return f"np.asarray({x}).astype({_dtype(node.type.dtype)})"


def _triangle(w: _Writer, node: Node) -> str:
    k = node.attrs["k"]
    return f"np.{node.op.name}({w.operands(node)[0]}{f', {k}' if k else ''})"


def _power(w: _Writer, node: Node) -> str:
    a, b = w.operands(node)
    exponent = scalar_value(node.inputs[1])
    if exponent is not None and float(exponent).is_integer() and node.inputs[0].type.is_float:
        b = str(int(exponent))
    # An array may be a Python number here, whose powers NumPy does not compute.
    if node.inputs[0].type.shape:
        return f"({a}) ** ({b})"
    return f"np.{'float_power' if node.type.is_float else 'power'}({a}, {b})"


_RULES: dict[str, Callable[[_Writer, Node], str]] = {
    "constant": _constant,
    "size": _size,
    **dict.fromkeys(("sum", "prod", "max", "min", "argmax", "argmin"), _reduced),
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp"), _special),
    "transpose": _transpose,
    "reshape": _reshape,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "broadcast_to": _broadcast_to,
    "slice": _slice,
    "gather": _gather,
    "pick": _pick,
    "one_hot": _one_hot,
    "iota": _iota,
    "concatenate": _concatenate,
    "cast": _cast,
    "tril": _triangle,
    "triu": _triangle,
    "power": _power,
}
_STATEMENTS: dict[str, Callable[[_Writer, Node, str], list[str]]] = {
    "place": _place,
    "scatter_add": _scatter_add,
}
"""Ops that take more than an expression."""
