"""Random scalar expressions, and their printed form read back by SymPy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from hypothesis import strategies as st
from sympy.parsing.sympy_parser import (
    implicit_multiplication,
    parse_expr,
    standard_transformations,
)

import symgrad as sg

Tree = tuple[Any, ...]
_BINARY = ("add", "subtract", "multiply", "divide")
_UNARY = ("negative", "sin", "exp", "log", "square", "cube", "root")
_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def expressions(names: Sequence[str]) -> st.SearchStrategy[Tree]:
    """Return random expressions over these names and small numbers."""
    leaf = st.sampled_from([("name", n) for n in names]) | st.sampled_from(
        [("number", v) for v in (2.0, 0.5, 3.0, -1.5)]
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.tuples(st.sampled_from(_BINARY), inner, inner)
            | st.tuples(st.sampled_from(_UNARY), inner)
        ),
        max_leaves=12,
    )


def build(tree: Tree, tensors: Mapping[str, sg.Tensor]) -> sg.Tensor:
    """Return the expression on tensors; logarithms and roots are taken of positive values."""
    op, *operands = tree
    if op == "name":
        return tensors[operands[0]]
    if op == "number":
        return sg.constant(operands[0])
    values = [build(operand, tensors) for operand in operands]
    match op:
        case "divide":
            return values[0] / (values[1] * values[1] + 1)
        case "log" | "root":
            return (sg.log if op == "log" else sg.sqrt)(values[0] * values[0] + 1)
        case "exp":
            return sg.exp(sg.sin(values[0]))
        case "square" | "cube":
            return sg.power(values[0], 2 if op == "square" else 3)
        case _:
            return getattr(sg, op)(*values)  # type: ignore[no-any-return]


def read_back(lines: Sequence[str], at: Mapping[str, float]) -> float:
    """Return the value of a printed formula: what its names stand for first, then the answer."""
    answer, *lets = lines
    values: dict[str, Any] = dict(at)
    pending = [line.replace("where", "").split(" = ", 1) for line in lets]
    for _ in range(len(pending) ** 2):
        if not pending:
            break
        name, text = pending.pop(0)
        found = value_of(text, values)
        if found is None:
            pending.append([name, text])
        else:
            values[name.strip().translate(_DIGITS)] = found
    value = value_of(answer.split(" = ", 1)[-1], values)
    assert value is not None
    return value


def value_of(text: str, values: Mapping[str, Any]) -> float | None:
    """Return the value of a text, None if a name in it has none yet.

    SymPy's implicit products bind as they do in print: x / y z is x z / y for neither of them.
    """
    text = text.translate(_DIGITS).replace("−", "-").replace("·", "*").replace("√", "sqrt")
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda m: f"**({m[0].translate(_POWERS)})", text)
    functions = {name: getattr(sympy, name) for name in ("sin", "cos", "exp", "log", "sqrt")}
    functions["log1p"] = lambda x: sympy.log(1 + x)
    symbols = {name: sympy.Symbol(name) for name in re.findall(r"[a-z]\w*", text)}
    expression = parse_expr(
        text,
        local_dict={**symbols, **functions},
        transformations=(*standard_transformations, implicit_multiplication),
    )
    if not {str(s) for s in expression.free_symbols} <= set(values):
        return None
    return float(expression.evalf(30, subs=values))
