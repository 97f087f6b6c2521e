"""symgrad: a differentiation compiler whose output a person can read.

Declare tensors, write the model with NumPy's functions, differentiate, print, compile:

>>> import symgrad as sg
>>> x = sg.scalar("x")
>>> y = sg.sin(x) ** 2
>>> print(sg.grad(y, x))
∂y/∂x = 2 sin(x) cos(x)
"""

from symgrad import errors, init
from symgrad.compile import Compiled, compile
from symgrad.derivatives import grad, hessian, hvp, jacobian, jvp, vjp
from symgrad.ir.graph import Graph
from symgrad.ir.text import graph_text, parse_graph
from symgrad.model import Model
from symgrad.ops import linalg, nn, special
from symgrad.ops.contract import diagonal, dot, inner, matmul, norm, outer, trace, vdot
from symgrad.ops.elementwise import (
    absolute,
    add,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    cbrt,
    ceil,
    clip,
    cos,
    cosh,
    divide,
    equal,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    reciprocal,
    remainder,
    rint,
    round,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    subtract,
    tan,
    tanh,
    trunc,
    where,
)
from symgrad.ops.index import one_hot, take, take_along_axis
from symgrad.ops.leaves import arange, matrix, parameter, scalar, tensor, vector
from symgrad.ops.nn import stop_gradient
from symgrad.ops.reduce import all, any, argmax, argmin, max, mean, min, prod, std, sum, var
from symgrad.ops.shape import (
    broadcast_to,
    column_stack,
    concatenate,
    expand_dims,
    flip,
    full_like,
    hstack,
    matrix_transpose,
    moveaxis,
    ones,
    ones_like,
    ravel,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
    vstack,
    zeros,
    zeros_like,
)
from symgrad.passes.pipeline import optimize
from symgrad.show.formula import latex, pretty
from symgrad.tensor import Printers, Tensor, constant

abs = absolute
Printers.pretty, Printers.latex = staticmethod(pretty), staticmethod(latex)
__version__ = "0.1.0"
