"""One element of each elementwise op as Python source, for NumPy scalars and for Numba alike.

A template names NumPy's functions bare (``exp({0})``). Those of `vectormath` are called by their
name for the dtype (``exp_f32``); helpers that NumPy lacks are functions written out in the
generated module, with ``T`` standing for the dtype and other functions named bare as well.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache

from symgrad.ir.node import Node
from symgrad.ir.types import FLOAT32, FLOAT64, DType
from symgrad.lower.vectormath import VECTOR, float32, float64

_RENAMED = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip

HELPERS = {
    "logistic_loss": '''
def logistic_loss(z, y):
    """Return -y log σ(z) - (1 - y) log(1 - σ(z)) without overflow."""
    return (z * (T(1) - y) if z > 0 else -z * y) + log1p(exp(-np.abs(z)))
''',
    "relu": '''
def relu(x):
    """Return max(x, 0)."""
    return np.maximum(x, T(0))
''',
    "floor_divide": '''
def floor_divide(a, b):
    """Return floor(a / b), exact where the quotient is rounded, as NumPy has it."""
    if b == 0:
        return a / b
    rest = np.fmod(a, b)
    quotient = (a - rest) / b
    if rest != 0 and (b < 0) != (rest < 0):
        quotient -= T(1)
    if quotient == 0:
        return np.copysign(T(0), a / b)
    whole = np.floor(quotient)
    return whole + T(1) if quotient - whole > T(0.5) else whole
''',
    "remainder": '''
def remainder(a, b):
    """Return a - b floor(a / b), with the sign of b, as NumPy has it."""
    rest = np.fmod(a, b)
    if rest == 0:
        return np.copysign(T(0), b)
    return rest + b if (b < 0) != (rest < 0) else rest
''',
}

LIBRARY = {
    "plus": '''
@njit(forceinline=True, fastmath={"contract", "reassoc"})
def plus(a, b):
    """Return a + b. Sums built of it may be taken in any order, so in vector registers."""
    return a + b
''',
    "gemm": '''
@njit(**OPTIONS)
def gemm(alpha, a, b, beta, c):
    """Set c to alpha a b + beta c."""
    product = np.dot(np.ascontiguousarray(a), np.ascontiguousarray(b))
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            c[i, j] = alpha * product[i, j] + (beta * c[i, j] if beta != 0 else beta)
''',
    "log_det": '''
@njit(**OPTIONS)
def log_det(a):
    """Return the logarithm of the determinant; NaN where that is negative."""
    sign, size = np.linalg.slogdet(a)
    return size * np.nan if sign < 0 else size
''',
    "prod_others": '''
@njit(**OPTIONS)
def prod_others(rows, out):
    """Fill out with, for each element, the product of the others in its row.

    rows[0] holds the factors; each further array is a direction u_j, and the result is then the
    coefficient of e_1 e_2 ... in the product of the others of x + e_1 u_1 + e_2 u_2 + ...
    """
    count, width = rows[0].shape
    size = 1 << (len(rows) - 1)
    before = np.empty((width + 1, size), out.dtype)
    after = np.empty(size, out.dtype)
    for r in range(count):
        before[0, :] = 0
        before[0, 0] = 1
        for k in range(width):
            for s in range(size):
                total = before[k, s] * rows[0][r, k]
                for j in range(len(rows) - 1):
                    if s >> j & 1:
                        total += before[k, s ^ (1 << j)] * rows[j + 1][r, k]
                before[k + 1, s] = total
        after[:] = 0
        after[0] = 1
        for k in range(width - 1, -1, -1):
            total = out.dtype.type(0)
            for s in range(size):
                total += before[k, s] * after[size - 1 - s]
            out[r, k] = total
            for s in range(size - 1, -1, -1):
                total = after[s] * rows[0][r, k]
                for j in range(len(rows) - 1):
                    if s >> j & 1:
                        total += after[s ^ (1 << j)] * rows[j + 1][r, k]
                after[s] = total
''',
}

FUNCTION_CALL = re.compile(rf"\b(?:near_)?({'|'.join(sorted(VECTOR))})_f(32|64)\(")
"""A call of an elementary function: its name, and the width of its dtype."""

NEAR = frozenset({"sin", "cos", "tan"})
"""Functions with a quick form for arguments that are not large."""
BOUNDED = frozenset(
    {
        *("log", "log2", "log10", "log1p", "sin", "cos", "tanh", "sigmoid", "erf", "erfc"),
        *("arcsin", "arccos", "arctan", "arctan2", "arcsinh", "arccosh", "arctanh"),
    }
)
"""Functions whose values are never large: such an argument needs no test."""
NEVER_EXTREME = frozenset({"log", "log2", "log10", "cos"})
"""Functions whose values have a reciprocal that is right to the last bit, or 0, or infinite."""

OPTIONS = 'OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}\n'
"""What functions are compiled with: fused multiply-add is allowed, other changes are not."""


def dtype_code(dtype: DType) -> str:
    """Return a dtype as source: ``np.float32``; ``np.bool_`` for truth values."""
    return "np.bool_" if dtype.kind == "b" else f"np.{dtype.name}"


@cache
def helper_names() -> frozenset[str]:
    """Return the name of every function that generated code may call."""
    own = {_typed(name, dtype) for name in HELPERS for dtype in (FLOAT32, FLOAT64)}
    return frozenset({*LIBRARY, *_vector_sources(), *own})


def function_name(name: str, dtype: DType) -> str:
    """Return what a function of a template is called in generated code, for a dtype."""
    name = _RENAMED.get(name, name)
    if dtype.kind == "f" and (name in HELPERS or _typed(name, dtype) in _vector_sources()):
        return _typed(name, dtype)
    return f"np.{name}"


def helpers(name: str) -> dict[str, str]:
    """Return the source of a helper function and of those that it calls, by name, in order."""
    if name in LIBRARY:
        return {name: LIBRARY[name].lstrip()}
    if name in _vector_sources():
        text = _vector_sources()[name]
    else:
        stem, _, suffix = name.rpartition("_")
        dtype = FLOAT32 if suffix == "f32" else FLOAT64
        text = HELPERS[stem].strip() + "\n"
        text = re.sub(r"\bT\(", f"{dtype_code(dtype)}(", text)
        head, summary, *code = text.splitlines()
        head = head.replace(f"def {stem}(", f"def {name}(")
        text = "\n".join([head, summary, *(_called(line, dtype) for line in code)]) + "\n"
    found: dict[str, str] = {}
    for called in re.findall(r"(?<![\w.])(\w+_f(?:32|64))\(", text):
        if called != name and called not in found:
            found.update(helpers(called))
    found[name] = f"@njit(forceinline=True, **OPTIONS)\n{text}"
    return found


def scalar_code(node: Node, operands: list[str]) -> str:
    """Return one element of ``node`` as an expression of its operands' elements."""
    if node.op.name == "cast":
        return _cast(node, operands[0])
    template = _called(node.op.scalar, node.inputs[0].type.dtype)
    text = template.format(*[_bracketed(o, template, i) for i, o in enumerate(operands)])
    if node.type.dtype.name == "int32":
        # Python's and Numba's integers are wider: wrap around where NumPy does.
        text = f"np.int32({text})"
    return text


def called_helpers(text: str) -> list[str]:
    """Return the names of the helper functions that an expression calls."""
    names = re.findall(r"(?<![\w.])(\w+)\(", text)
    return [name for name in names if name in helper_names()]


def near_name(name: str, dtype: DType) -> str:
    """Return the name of the quick form of a function, for a dtype."""
    return _typed(f"near_{name}", dtype)


def far_source(lines: list[str], far: str) -> list[str]:
    """Return lines that use quick forms as lines that do not."""
    kept = [line for line in lines if not re.match(rf"\s*{far}\b", line)]
    return [re.sub(r"\bnear_(\w+\()", r"\1", line) for line in kept]


def _typed(name: str, dtype: DType) -> str:
    return f"{name}_f{8 * dtype.itemsize}"


def _called(template: str, dtype: DType) -> str:
    """Return a template with its functions called by their full names."""
    return re.sub(
        r"(?<![\w.])([a-z][a-z0-9_]*)\(",
        lambda match: f"{function_name(match[1], dtype)}(",
        template,
    )


@cache
def _vector_sources() -> dict[str, str]:
    """Return the source of each function of `vectormath`, by name."""
    found = {}
    for module in (float64, float32):
        text = inspect.getsource(module)
        lines = text.splitlines()
        for item in ast.parse(text).body:
            if isinstance(item, ast.FunctionDef):
                found[item.name] = "\n".join(lines[item.lineno - 1 : item.end_lineno]) + "\n"
    return found


def _bracketed(operand: str, template: str, position: int) -> str:
    """Return an operand, in parentheses unless it is atomic or an argument by itself."""
    if re.fullmatch(r"[\w.]+(\[[^\[\]]*\])?|[\w.]+\([\w.]*\)", operand):
        return operand
    alone = re.search(rf"[(,]\s*\{{{position}\}}\s*[,)]", template)
    return operand if alone else f"({operand})"


def _cast(node: Node, operand: str) -> str:
    target = node.type.dtype
    if target.kind == "b":
        return f"{operand} != 0"
    return f"{dtype_code(target)}({operand})"
