"""One element of each elementwise op as Python source, for NumPy scalars and for Numba alike.

A template names NumPy's functions bare (``exp({0})``); helpers that NumPy lacks are functions
written out in the generated module, with ``T`` standing for the dtype.
"""

from __future__ import annotations

import re

from symgrad.ir.node import Node
from symgrad.ir.types import DType

_RENAMED = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip

HELPERS = {
    "sigmoid": '''
def sigmoid(x):
    """Return 1 / (1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return (T(1) if x >= 0 else e) / (T(1) + e)
''',
    "softplus": '''
def softplus(x):
    """Return log(1 + exp(x)) without overflow."""
    return np.maximum(x, T(0)) + np.log1p(np.exp(-np.abs(x)))
''',
    "logistic_loss": '''
def logistic_loss(z, y):
    """Return -y log σ(z) - (1 - y) log(1 - σ(z)) without overflow."""
    return (z * (T(1) - y) if z > 0 else -z * y) + np.log1p(np.exp(-np.abs(z)))
''',
    "relu": '''
def relu(x):
    """Return max(x, 0)."""
    return np.maximum(x, T(0))
''',
    "exp2": '''
def exp2(x):
    """Return 2 ** x."""
    return T(np.exp2(np.float64(x)))
''',
    "log2": '''
def log2(x):
    """Return the logarithm to base 2."""
    return T(np.log2(np.float64(x)))
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
    "erf": '''
def erf(x):
    """Return the error function."""
    return T(math.erf(x))
''',
    "erfc": '''
def erfc(x):
    """Return 1 - erf(x), accurate for large x."""
    return T(math.erfc(x))
''',
    "prod_others": '''
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


def dtype_code(dtype: DType) -> str:
    """Return a dtype as source: ``np.float32``; ``np.bool_`` for truth values."""
    return "np.bool_" if dtype.kind == "b" else f"np.{dtype.name}"


def helper_name(name: str, dtype: DType) -> str:
    """Return the name of a helper for one dtype."""
    return f"{name}_f32" if dtype.name == "float32" else name


def helper_source(name: str, dtype: DType) -> str:
    """Return the source of a helper for one dtype."""
    text = HELPERS[name].strip() + "\n"
    text = text.replace(f"def {name}(", f"def {helper_name(name, dtype)}(")
    return re.sub(r"\bT\(", f"{dtype_code(dtype)}(", text)


def scalar_code(node: Node, operands: list[str]) -> tuple[str, str | None]:
    """Return one element of ``node`` as an expression, and the helper that it calls, if any."""
    if node.op.name == "cast":
        return _cast(node, operands[0]), None
    used: list[str] = []
    dtype = node.inputs[0].type.dtype

    def function(match: re.Match[str]) -> str:
        name = match[1]
        if name in HELPERS and dtype.kind == "f":
            used.append(name)
            return f"{helper_name(name, dtype)}("
        return f"np.{_RENAMED.get(name, name)}("

    template = re.sub(r"\b([a-z][a-z0-9_]*)\(", function, node.op.scalar)
    text = template.format(*[_bracketed(o, template, i) for i, o in enumerate(operands)])
    if node.type.dtype.name == "int32":
        # Python's and Numba's integers are wider: wrap around where NumPy does.
        text = f"np.int32({text})"
    return text, used[0] if used else None


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
