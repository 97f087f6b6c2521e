"""IR text: a graph as lines one can read, diff and parse back.

    graph(x: float32[n, 64], W: float32[64, 10] parameter) {
      %0 = matmul(x, W) : float32[n, 10]      # model.py:7
      return %0
    }

Nodes are numbered from 0 in each text, so that the same graph always gives the same text.
"""

from __future__ import annotations

import ast
import base64
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from symgrad.errors import GraphError, SymgradError
from symgrad.ir.call import apply
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.op import lookup
from symgrad.ir.origin import Origin, using
from symgrad.ir.size import Dim, Size, add, floordiv, multiply
from symgrad.ir.types import Array, TensorType, as_dtype

_SHORT = 16
"""Constants with at most this many elements are printed as numbers."""


def graph_text(graph: Graph, *, full: bool = False) -> str:
    """Return ``graph`` as IR text. With ``full``, large constants too, so that it parses back."""
    names = {node: _input_name(str(node.attrs["name"])) for node in graph.inputs}
    head = ", ".join(
        f"{names[node]}: {node.type}" + (" parameter" if node.is_parameter else "")
        for node in graph.inputs
    )
    rows: list[tuple[str, str]] = []
    for node in graph.nodes:
        if node in names:
            continue
        names[node] = f"%{len(rows)}"
        operands = [names[x] for x in node.inputs]
        attrs = [f"{key}={_value_text(value, full)}" for key, value in node.attrs.items()]
        text = f"{names[node]} = {node.op.name}({', '.join(operands + attrs)}) : {node.type}"
        rows.append((text, node.origin.place + (" gradient" if node.origin.gradient_of else "")))
    width = min(72, max((len(text) for text, _ in rows), default=0))
    body = [f"  {text:<{width}}  # {place}" for text, place in rows]
    result = ", ".join(names[node] for node in graph.outputs)
    return "\n".join([f"graph({head}) {{", *body, f"  return {result}", "}"])


def _input_name(name: str) -> str:
    plain = name.isidentifier() and not keyword.iskeyword(name) and not name.startswith(_NODE)
    return name if plain else repr(name)


def _value_text(value: object, full: bool) -> str:
    match value:
        case np.ndarray():
            return _array_text(value, full)
        case np.dtype():
            return value.name
        case tuple():
            return "(" + "".join(_value_text(v, full) + ", " for v in value).rstrip(" ") + ")"
        case Size():
            return str(value)
        case _:
            return repr(value)


def _array_text(value: Array, full: bool) -> str:
    if value.ndim == 0:
        return f"{value.dtype.name}({_number(value.item())})"
    if value.size <= _SHORT:
        flat = ", ".join(_number(item) for item in value.ravel().tolist())
        return f"{value.dtype.name}([{flat}], {value.shape})"
    if not full:
        return f"{value.dtype.name}(..., {value.shape})"
    data = base64.b85encode(value.tobytes()).decode("ascii")
    return f"{value.dtype.name}({data!r}, {value.shape})"


def _number(item: object) -> str:
    return f"{item!r}".replace("nan", "float('nan')").replace("inf", "float('inf')")


def parse_graph(text: str) -> Graph:
    """Return the graph that IR text describes; parameters start at zero.

    Raises:
        GraphError: with the line that is not IR text, or whose type is not what its op gives.
    """
    lines = list(_numbered_lines(text))
    if len(lines) < 3:
        raise GraphError("IR text has a header 'graph(...) {', a 'return' and a '}'")
    values: dict[str, Node] = {}
    inputs = _parse_header(*lines[0], values)
    for number, line in lines[1:-2]:
        _parse_row(number, line, values)
    number, line = lines[-2]
    if not line.startswith("return "):
        raise _bad(number, line, "expected 'return'")
    try:
        listed = ast.parse(f"({_spelled(line[7:])},)", mode="eval").body
    except SyntaxError:
        raise _bad(number, line, "cannot read the outputs") from None
    assert isinstance(listed, ast.Tuple)
    outputs = [_named_operand(tree, values, number, line) for tree in listed.elts]
    return Graph(inputs, outputs)


def _numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = re.sub(r"\s+# [^#]*$", "", line).strip()
        if stripped:
            yield number, stripped


def _bad(number: int, line: str, why: str) -> GraphError:
    return GraphError(f"IR text, line {number}: {why}\n  {line}")


_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_NODE = "node__"
"""How %7 is spelled while Python's own parser reads a line."""
_INPUT = "input "
"""What the keys of declared tensors start with, so that an input called %0 is not node %0."""

_DECLARED = re.compile(
    rf"(?P<name>{_QUOTED}|[^\W\d]\w*): "
    r"(?P<dtype>\w+)\[(?P<shape>[^\]]*)\](?P<role> parameter)?(?:, |$)"
)


def _parse_header(number: int, line: str, values: dict[str, Node]) -> list[Node]:
    inner = re.fullmatch(r"graph\((.*)\) \{", line)
    if inner is None:
        raise _bad(number, line, "expected 'graph(...) {'")
    position, nodes = 0, []
    while position < len(inner[1]):
        found = _DECLARED.match(inner[1], position)
        if found is None:
            raise _bad(number, line, f"cannot read a declaration at {inner[1][position:]!r}")
        try:
            type_ = _parse_type(found["dtype"], found["shape"])
        except SymgradError as error:
            raise _bad(number, line, str(error).splitlines()[0]) from error
        attrs = {
            "name": _unquoted(found["name"]),
            "dtype": type_.dtype,
            "shape": type_.shape,
            "role": "parameter" if found["role"] else "input",
            "init": None,
        }
        node = _made(number, line, lambda attrs=attrs: apply(lookup("input"), (), attrs))
        values[_INPUT + _unquoted(found["name"])] = node
        nodes.append(node)
        position = found.end()
    return nodes


def _unquoted(name: str) -> str:
    return str(ast.literal_eval(name)) if name[0] in "'\"" else name


def _spelled(text: str) -> str:
    """Return ``text`` with %7 as a name that Python can read, outside quotes."""
    return re.sub(
        rf"({_QUOTED})|%(\d+)", lambda m: m[1] if m[1] is not None else f"{_NODE}{m[2]}", text
    )


_ROW = re.compile(r"(?P<name>%\d+) = (?P<call>.*) : (?P<dtype>\w+)\[(?P<shape>[^\]]*)\]")


def _parse_row(number: int, line: str, values: dict[str, Node]) -> None:
    found = _ROW.fullmatch(line)
    if found is None:
        raise _bad(number, line, "expected '%N = op(...) : type'")
    try:
        call = ast.parse(_spelled(found["call"]), mode="eval").body
    except SyntaxError:
        raise _bad(number, line, "cannot read the operation") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise _bad(number, line, "expected an operation")
    name = call.func.id
    inputs = [_named_operand(arg, values, number, line) for arg in call.args]

    def make() -> Node:
        attrs = {str(key.arg): _parse_value(key.value, number, line) for key in call.keywords}
        node = apply(lookup(name), inputs, attrs)
        if node.type != _parse_type(found["dtype"], found["shape"]):
            raise GraphError(f"the operation gives {node.type}")
        return node

    values[found["name"]] = _made(number, line, make)


def _named_operand(tree: ast.expr, values: Mapping[str, Node], number: int, line: str) -> Node:
    match tree:
        case ast.Constant(value=str(name)):
            return _operand(_INPUT + name, values, number, line)
        case ast.Name(id=name) if name.startswith(_NODE):
            return _operand(f"%{name.removeprefix(_NODE)}", values, number, line)
        case ast.Name(id=name):
            return _operand(_INPUT + name, values, number, line)
        case _:
            raise _bad(number, line, f"{ast.unparse(tree)} is not defined above")


def _made(number: int, line: str, make: Any) -> Node:
    with using(Origin("<IR text>", number)):
        try:
            node: Node = make()
        except SymgradError as error:
            raise _bad(number, line, str(error).splitlines()[0]) from error
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            raise _bad(number, line, f"attributes missing or wrong: {error}") from error
        return node


def _operand(name: str, values: Mapping[str, Node], number: int, line: str) -> Node:
    if name not in values:
        raise _bad(number, line, f"{name.removeprefix(_INPUT)} is not defined above")
    return values[name]


def _parse_type(dtype: str, shape: str) -> TensorType:
    dims = ast.parse(f"({shape},)" if shape else "()", mode="eval").body
    assert isinstance(dims, ast.Tuple)
    return TensorType(as_dtype(dtype), tuple(_parse_dim(item) for item in dims.elts))


def _parse_dim(tree: ast.expr) -> Dim:
    match tree:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return Size.named(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return multiply(-1, _parse_dim(operand))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return add(_parse_dim(left), _parse_dim(right))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return add(_parse_dim(left), multiply(-1, _parse_dim(right)))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return multiply(_parse_dim(left), _parse_dim(right))
        case ast.BinOp(left=left, op=ast.FloorDiv(), right=ast.Constant(value=int(divisor))):
            return floordiv(_parse_dim(left), divisor)
        case _:
            raise GraphError(f"{ast.unparse(tree)!r} is not a size")


def _parse_value(tree: ast.expr, number: int, line: str) -> object:
    match tree:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=items):
            return tuple(_parse_value(item, number, line) for item in items)
        case ast.Name(id="float32" | "float64" | "int32" | "int64" | "bool" as name):
            return as_dtype(name)
        case ast.Call(func=ast.Name(id=dtype), args=arguments):
            return _parse_array(dtype, arguments, number, line)
        case _:
            return _parse_dim(tree)


def _parse_array(dtype: str, arguments: list[ast.expr], number: int, line: str) -> Array:
    content = _number_value(arguments[0])
    if content is ...:
        raise _bad(number, line, "the constant is elided; print the graph with full=True")
    if isinstance(content, str):
        value: Array = np.frombuffer(base64.b85decode(content), dtype=as_dtype(dtype))
    else:
        value = np.array(content, dtype=as_dtype(dtype))
    shape = ast.literal_eval(arguments[1]) if len(arguments) > 1 else ()
    return value.reshape(shape)


def _number_value(tree: ast.expr) -> Any:
    match tree:
        case ast.List(elts=items):
            return [_number_value(item) for item in items]
        case ast.Call(args=[ast.Constant(value=str(value))]):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number_value(operand)
        case _:
            return ast.literal_eval(tree)
