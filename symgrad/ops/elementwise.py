"""Elementwise ops: one table entry each. Everything else follows from the record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply, broadcast
from symgrad.ir.cost import per_element
from symgrad.ir.node import scalar_value
from symgrad.ir.op import Case, Op, Rule, define, lookup
from symgrad.ir.origin import here
from symgrad.ir.types import BOOL, FLOAT64, Array, TensorType
from symgrad.ops.samples import (
    Domain,
    booleans,
    elementwise_samples,
    fixed,
    nonzero,
    reals,
    spread,
)
from symgrad.tensor import Tensor, as_tensor, common_dtype, elementwise, implements

Partial = Rule | None
Function = Callable[..., Tensor]


def _numeric(call: Call) -> TensorType:
    dtype = call.one_dtype()
    return TensorType(dtype, broadcast(call, [t.shape for t in call.types]))


def _predicate(call: Call) -> TensorType:
    call.one_dtype()
    return TensorType(BOOL, broadcast(call, [t.shape for t in call.types]))


def entry(
    name: str,
    reference: Callable[..., Any],
    partials: Sequence[Partial] = (),
    *,
    scalar: str,
    domain: Sequence[Domain] | Domain | None = None,
    numpy: Sequence[object] = (),
    infer: Callable[[Call], TensorType] = _numeric,
    floats: bool = True,
    **record: Any,
) -> Function:
    """Define an elementwise op and return the function that applies it to tensors.

    The record needs the meaning on arrays, the partial derivatives ``(y, *x)``, and one element
    as an expression. Type rule, reverse and forward mode, fusion, tests and docs follow.
    """
    count = max(len(partials), 1)
    domains = [domain or reals()] * count if not isinstance(domain, Sequence) else list(domain)
    op = define(
        Op(
            name,
            infer,
            reference,
            partials=tuple(partials),
            elementwise=True,
            scalar=scalar,
            floats=floats,
            samples=elementwise_samples(domains),
            **{"summary": f"`np.{name}`, elementwise.", **record},
        )
    )
    arity = len(domains)

    @implements(*([reference] if isinstance(reference, np.ufunc) else []), *numpy)
    def function(*values: Any) -> Tensor:
        if len(values) != arity:
            raise errors.ArgumentError(
                errors.worded(
                    f"{name} takes {arity} argument{'s' * (arity > 1)}, got {len(values)}",
                    made_at=here(),
                )
            )
        return elementwise(op, *values)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = record.get("summary") or f"Return {name}, elementwise, as NumPy does."
    return function


def indicator(condition: Tensor, like: Tensor) -> Tensor:
    """Return 1 where the condition holds and 0 elsewhere, in the dtype of ``like``."""
    return condition.astype(like.dtype)


# Arithmetic

add = entry(
    "add", np.add, [lambda y, a, b: 1, lambda y, a, b: 1],
    scalar="{0} + {1}", floats=False, commutative=True,
)  # fmt: skip
subtract = entry(
    "subtract", np.subtract, [lambda y, a, b: 1, lambda y, a, b: -1],
    scalar="{0} - {1}", floats=False,
)  # fmt: skip
multiply = entry(
    "multiply", np.multiply, [lambda y, a, b: b, lambda y, a, b: a],
    scalar="{0} * {1}", floats=False, commutative=True,
)  # fmt: skip
divide = entry(
    "divide", np.divide, [lambda y, a, b: 1 / b, lambda y, a, b: -(y / b)],
    scalar="{0} / {1}", domain=[reals(), nonzero()],
)  # fmt: skip
negative = entry(
    "negative", np.negative, [lambda y, x: -1], scalar="-{0}", steepest=1, floats=False
)  # fmt: skip
floor_divide = entry(
    "floor_divide", np.floor_divide, [None, None], scalar="floor_divide({0}, {1})",
    domain=[reals(), nonzero()], floats=False, text="⌊{0} / {1}⌋",
    latex=r"\left\lfloor {0} / {1} \right\rfloor", why_zero="rounding is piecewise constant",
)  # fmt: skip
remainder = entry(
    "remainder", np.remainder,
    [lambda y, a, b: 1, lambda y, a, b: -floor_divide(a, b)],
    scalar="remainder({0}, {1})", domain=[reals(0.1, 0.9), nonzero(1.0, 2.0)], floats=False,
    text="{0} mod {1}", latex=r"{0} \bmod {1}",
    kinks="continuous pieces: the jumps at multiples of b have no part in the derivative",
)  # fmt: skip


def _power_base(y: Tensor, a: Tensor, b: Tensor) -> Tensor | int:
    exponent = scalar_value(b.node)
    if exponent is not None:
        return exponent * power(a, exponent - 1) if exponent else 0
    # At 0 ** 0 the derivative is 0, not 0 * inf. Only there is the base replaced, so that the
    # expression keeps its derivatives in both arguments.
    return b * power(where(logical_and(a == 0, b == 0), 1.0, a), b - 1)


def _power_exponent(y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    base = scalar_value(a.node)
    if base is not None and 0 < base < math.inf:
        return y * math.log(base)
    # y log a tends to 0 with y where a does; y alone is 0 there.
    return where(y == 0, 0.0, y * log(a))


_power = entry(
    "power", np.power, [_power_base, _power_exponent],
    scalar="power({0}, {1})", domain=[reals(0.3, 2.0), reals()], floats=False,
    kinks="the derivative in the exponent is 0 where the power is 0",
)  # fmt: skip


@implements(np.power)
def power(base: Any, exponent: Any) -> Tensor:
    """Return ``base ** exponent``, as `numpy.power`; a negative integer power needs floats."""
    if common_dtype("power", [base, exponent]).kind != "f" and not _is_natural(exponent):
        raise errors.DtypeError(
            errors.worded(
                "power: integers to an exponent that may be negative",
                made_at=here(),
                fix="use a float base: x.astype('float64') ** k",
            )
        )
    return _power(base, exponent)


@implements(np.float_power)
def float_power(base: Any, exponent: Any) -> Tensor:
    """Return ``base ** exponent`` in float64, as `numpy.float_power`."""
    return power(as_tensor(base).astype(FLOAT64), as_tensor(exponent).astype(FLOAT64))


def _is_natural(exponent: Any) -> bool:
    node = as_tensor(exponent).node
    return node.op.name == "constant" and bool(np.all(node.attrs["value"] >= 0))


@implements(np.square)
def square(x: Any) -> Tensor:
    """Return ``x ** 2``."""
    return power(x, 2)


@implements(np.reciprocal)
def reciprocal(x: Any) -> Tensor:
    """Return ``1 / x``."""
    return divide(1, x)


# Exponentials and logarithms

exp = entry("exp", np.exp, [lambda y, x: y], scalar="exp({0})", latex=r"\exp({0})")
exp2 = entry("exp2", np.exp2, [lambda y, x: y * math.log(2)], scalar="exp2({0})",
             text="2^({0})", latex="2^{{{0}}}")  # fmt: skip
expm1 = entry("expm1", np.expm1, [lambda y, x: exp(x)], scalar="expm1({0})", text="expm1({0})")
log = entry("log", np.log, [lambda y, x: 1 / x], scalar="log({0})",
            domain=reals(0.3, 3.0), latex=r"\log({0})")  # fmt: skip
log2 = entry("log2", np.log2, [lambda y, x: 1 / (x * math.log(2))], scalar="log2({0})",
             domain=reals(0.3, 3.0), text="log₂({0})", latex=r"\log_2({0})")  # fmt: skip
log10 = entry("log10", np.log10, [lambda y, x: 1 / (x * math.log(10))], scalar="log10({0})",
              domain=reals(0.3, 3.0), text="log₁₀({0})", latex=r"\log_{{10}}({0})")  # fmt: skip
log1p = entry("log1p", np.log1p, [lambda y, x: 1 / (1 + x)], scalar="log1p({0})",
              domain=reals(-0.6, 3.0))  # fmt: skip
sqrt = entry("sqrt", np.sqrt, [lambda y, x: 0.5 / y], scalar="sqrt({0})",
             domain=reals(0.3, 3.0), text="√({0})", latex=r"\sqrt{{{0}}}")  # fmt: skip
cbrt = entry("cbrt", np.cbrt, [lambda y, x: 1 / (3 * y * y)], scalar="cbrt({0})",
             domain=nonzero(), text="∛({0})", latex=r"\sqrt[3]{{{0}}}")  # fmt: skip
logaddexp = entry(
    "logaddexp", np.logaddexp,
    [lambda y, a, b: sigmoid(a - b), lambda y, a, b: sigmoid(b - a)],
    scalar="logaddexp({0}, {1})", commutative=True,
)  # fmt: skip

# Trigonometric and hyperbolic functions

sin = entry("sin", np.sin, [lambda y, x: cos(x)], scalar="sin({0})",
            latex=r"\sin({0})", steepest=1)  # fmt: skip
cos: Function = entry(
    "cos", np.cos, [lambda y, x: -sin(x)], scalar="cos({0})", steepest=1, latex=r"\cos({0})"
)
tan = entry("tan", np.tan, [lambda y, x: 1 + y * y], scalar="tan({0})",
            domain=reals(-1.2, 1.2), latex=r"\tan({0})")  # fmt: skip
arcsin = entry("arcsin", np.arcsin, [lambda y, x: 1 / sqrt(1 - x * x)], scalar="asin({0})",
               domain=reals(-0.8, 0.8), latex=r"\arcsin({0})")  # fmt: skip
arccos = entry("arccos", np.arccos, [lambda y, x: -1 / sqrt(1 - x * x)], scalar="acos({0})",
               domain=reals(-0.8, 0.8), latex=r"\arccos({0})")  # fmt: skip
arctan = entry("arctan", np.arctan, [lambda y, x: 1 / (1 + x * x)], scalar="atan({0})", steepest=1,
               latex=r"\arctan({0})")  # fmt: skip
arctan2 = entry(
    "arctan2", np.arctan2,
    [lambda y, a, b: b / (a * a + b * b), lambda y, a, b: -a / (a * a + b * b)],
    scalar="atan2({0}, {1})", domain=[nonzero(), nonzero()],
)  # fmt: skip
hypot = entry(
    "hypot", np.hypot, [lambda y, a, b: a / y, lambda y, a, b: b / y],
    scalar="hypot({0}, {1})", domain=[nonzero(), nonzero()], commutative=True,
)  # fmt: skip
sinh = entry("sinh", np.sinh, [lambda y, x: cosh(x)], scalar="sinh({0})", latex=r"\sinh({0})")
cosh: Function = entry(
    "cosh", np.cosh, [lambda y, x: sinh(x)], scalar="cosh({0})", latex=r"\cosh({0})"
)
tanh = entry(
    "tanh", np.tanh, [lambda y, x: 1 - y * y], scalar="tanh({0})", steepest=1, latex=r"\tanh({0})"
)
arcsinh = entry(
    "arcsinh", np.arcsinh, [lambda y, x: 1 / sqrt(x * x + 1)], scalar="asinh({0})", steepest=1
)
arccosh = entry("arccosh", np.arccosh, [lambda y, x: 1 / sqrt(x * x - 1)], scalar="acosh({0})",
                domain=reals(1.3, 3.0))  # fmt: skip
arctanh = entry("arctanh", np.arctanh, [lambda y, x: 1 / (1 - x * x)], scalar="atanh({0})",
                domain=reals(-0.8, 0.8))  # fmt: skip

# Neural-network functions that need a stable form of their own


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


sigmoid: Function = entry(
    "sigmoid", _sigmoid, [lambda y, x: y * (1 - y)], scalar="sigmoid({0})", steepest=0.25,
    text="σ({0})", latex=r"\sigma({0})", summary="Return 1 / (1 + exp(-x)), never overflowing.",
)  # fmt: skip
softplus = entry(
    "softplus", _softplus, [lambda y, x: sigmoid(x)], scalar="softplus({0})", steepest=1,
    text="softplus({0})", latex=r"\operatorname{{softplus}}({0})",
    summary="Return log(1 + exp(x)), never overflowing.",
)  # fmt: skip


def _logistic_loss(z: Array, y: Array) -> Array:
    # Not max(z, 0) - z y: at z = inf that would be inf - inf.
    return np.where(z > 0, z * (1 - y), -z * y) + np.log1p(np.exp(-np.abs(z)))


logistic_loss = entry(
    "logistic_loss", _logistic_loss,
    [lambda loss, z, y: sigmoid(z) - y, lambda loss, z, y: -z], scalar="logistic_loss({0}, {1})",
    domain=[reals(), reals(0.1, 0.9)],
    summary="Return -y log σ(z) - (1 - y) log(1 - σ(z)) from the logit z, accurate for any z.",
)  # fmt: skip
relu = entry(
    "relu", lambda x: np.maximum(x, 0), [lambda y, x: indicator(x > 0, x)],
    scalar="relu({0})", steepest=1, domain=nonzero(), floats=False, kinks="relu'(0) = 0",
    latex=r"\operatorname{{relu}}({0})", summary="Return max(x, 0).",
)  # fmt: skip


def _erf(x: Array) -> Any:
    from scipy.special import erf

    return erf(x)


def _erfc(x: Array) -> Any:
    from scipy.special import erfc

    return erfc(x)


erf = entry(
    "erf", _erf, [lambda y, x: (2 / math.sqrt(math.pi)) * exp(-(x * x))], scalar="erf({0})",
    steepest=2 / math.sqrt(math.pi),
    summary="Return the error function.",
)  # fmt: skip
erfc = entry(
    "erfc", _erfc, [lambda y, x: (-2 / math.sqrt(math.pi)) * exp(-(x * x))], scalar="erfc({0})",
    summary="Return 1 - erf(x), accurate for large x.",
)  # fmt: skip

# Kinks

absolute = entry(
    "absolute", np.absolute, [lambda y, x: sign(x)], scalar="abs({0})", domain=nonzero(),
    steepest=1,
    floats=False, text="|{0}|", latex=r"\left|{0}\right|", kinks="|x|'(0) = 0",
)  # fmt: skip
sign: Function = entry(
    "sign", np.sign, [None], scalar="sign({0})", domain=nonzero(), floats=False,
    latex=r"\operatorname{{sign}}({0})", kinks="sign'(0) = 0",
    why_zero="sign is piecewise constant",
)  # fmt: skip


def _larger(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 where a > b, and one half of it where they tie."""
    return indicator(a > b, a) + 0.5 * indicator(equal(a, b), a)


maximum = entry(
    "maximum", np.maximum, [lambda y, a, b: _larger(a, b), lambda y, a, b: _larger(b, a)],
    scalar="maximum({0}, {1})", floats=False, commutative=True, text="max({0}, {1})",
    latex=r"\max({0}, {1})", kinks="a tie splits the gradient evenly",
)  # fmt: skip
minimum = entry(
    "minimum", np.minimum, [lambda y, a, b: _larger(b, a), lambda y, a, b: _larger(a, b)],
    scalar="minimum({0}, {1})", floats=False, commutative=True, text="min({0}, {1})",
    latex=r"\min({0}, {1})", kinks="a tie splits the gradient evenly",
)  # fmt: skip

_clip = entry(
    "clip", lambda x, low, high: np.minimum(np.maximum(x, low), high),
    [
        lambda y, x, low, high: indicator(logical_and(x >= low, x <= high), x),
        lambda y, x, low, high: indicator(logical_and(x < low, low <= high), x),
        lambda y, x, low, high: indicator(logical_or(x > high, low > high), x),
    ],
    scalar="minimum(maximum({0}, {1}), {2})",
    domain=[reals(), reals(-1.6, -1.0), reals(0.9, 1.5)], floats=False,
    kinks="the derivative in x is 1 at both ends of the interval and 0 outside",
)  # fmt: skip


@implements(np.clip)
def clip(
    x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None
) -> Tensor:
    """Return ``x`` limited to an interval, as `numpy.clip`; None leaves a side open."""
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    if low is None and high is None:
        return as_tensor(x)
    dtype = common_dtype("clip", [x, *[bound for bound in (low, high) if bound is not None]])
    if dtype.kind == "f":
        least, most = -math.inf, math.inf
    else:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    return _clip(x, least if low is None else low, most if high is None else high)


# Rounding

_ROUNDING = "rounding is piecewise constant"
floor = entry("floor", np.floor, [None], scalar="floor({0})", text="⌊{0}⌋",
              latex=r"\left\lfloor {0} \right\rfloor", why_zero=_ROUNDING)  # fmt: skip
ceil = entry("ceil", np.ceil, [None], scalar="ceil({0})", text="⌈{0}⌉",
             latex=r"\left\lceil {0} \right\rceil", why_zero=_ROUNDING)  # fmt: skip
trunc = entry("trunc", np.trunc, [None], scalar="trunc({0})", why_zero=_ROUNDING)
rint = entry("rint", np.rint, [None], scalar="rint({0})", text="round({0})", why_zero=_ROUNDING)


def _whole(rounding: Function, *numpy: object) -> Function:
    """Return a rounding function that leaves integers as they are, as NumPy 2 does."""

    @implements(*numpy)
    def function(x: Any) -> Tensor:
        tensor = as_tensor(x)
        return tensor if tensor.dtype.kind == "i" else rounding(tensor)

    function.__name__ = function.__qualname__ = rounding.__name__
    function.__doc__ = rounding.__doc__
    return function


floor = _whole(floor, np.floor)
ceil = _whole(ceil, np.ceil)
trunc = _whole(trunc, np.trunc, np.fix)


@implements(np.fabs)
def fabs(x: Any) -> Tensor:
    """Return ``|x|`` as a float, as `numpy.fabs`."""
    tensor = as_tensor(x)
    return absolute(tensor if tensor.type.is_float else tensor.astype(FLOAT64))


@implements(np.round, np.around)
def round(x: Any, decimals: int = 0) -> Tensor:
    """Return ``x`` rounded to ``decimals`` digits, half to even; the derivative is zero."""
    tensor = as_tensor(x)
    if tensor.dtype.kind == "i" and decimals >= 0:
        return tensor
    if decimals == 0:
        return rint(tensor)
    scale = 10.0**decimals
    return rint(multiply(tensor, scale)) / scale


# Comparison and logic

_COMPARED = "a comparison is piecewise constant"


def _comparison(name: str, function: np.ufunc, sign: str, latex: str, **record: Any) -> Any:
    return entry(
        name, function, [None, None], scalar=f"{{0}} {sign} {{1}}", infer=_predicate,
        floats=False, latex=f"{{0}} {latex} {{1}}", why_zero=_COMPARED, **record,
    )  # fmt: skip


equal = _comparison("equal", np.equal, "==", "=", text="{0} = {1}", commutative=True)
not_equal = _comparison("not_equal", np.not_equal, "!=", r"\ne", text="{0} ≠ {1}", commutative=True)
less = _comparison("less", np.less, "<", "<", text="{0} < {1}")
less_equal = _comparison("less_equal", np.less_equal, "<=", r"\le", text="{0} ≤ {1}")
greater = _comparison("greater", np.greater, ">", ">", text="{0} > {1}")
greater_equal = _comparison("greater_equal", np.greater_equal, ">=", r"\ge", text="{0} ≥ {1}")


def _test(name: str, function: np.ufunc, scalar: str) -> Any:
    return entry(name, function, [None], scalar=scalar, infer=_predicate, floats=False,
                 why_zero=_COMPARED)  # fmt: skip


isnan = _test("isnan", np.isnan, "{0} != {0}")
isfinite = _test("isfinite", np.isfinite, "isfinite({0})")
isinf = _test("isinf", np.isinf, "isinf({0})")


def _logical(call: Call) -> TensorType:
    call.one_dtype("b")
    return TensorType(BOOL, broadcast(call, [t.shape for t in call.types]))


def _logic(name: str, function: np.ufunc, scalar: str, count: int, text: str, latex: str) -> Any:
    record = entry(
        name, function, [None] * count, scalar=scalar, infer=_logical, floats=False,
        domain=[booleans] * count, text=text, latex=latex,
        numpy=[getattr(np, name.replace("logical", "bitwise"))], why_zero=_COMPARED,
    )  # fmt: skip

    @implements(function, getattr(np, name.replace("logical", "bitwise")))
    def logical(*values: Any) -> Tensor:
        return record(*[_truth(value) for value in values])

    logical.__name__ = name
    logical.__doc__ = f"Return {name.removeprefix('logical_')} of truth values; nonzero is true."
    return logical


def _truth(value: Any) -> Tensor:
    tensor = as_tensor(value)
    return tensor if tensor.dtype == BOOL else not_equal(tensor, 0)


logical_and: Function = _logic(
    "logical_and", np.logical_and, "{0} and {1}", 2, "{0} ∧ {1}", r"{0} \wedge {1}"
)
logical_or: Function = _logic(
    "logical_or", np.logical_or, "{0} or {1}", 2, "{0} ∨ {1}", r"{0} \vee {1}"
)
logical_xor = _logic("logical_xor", np.logical_xor, "{0} != {1}", 2, "{0} ⊕ {1}", r"{0} \oplus {1}")
logical_not = _logic("logical_not", np.logical_not, "not {0}", 1, "¬({0})", r"\neg ({0})")

# Choice and conversion


def _where_type(call: Call) -> TensorType:
    condition, *branches = call.types
    if condition.dtype != BOOL:
        call.fail("the condition is not bool", "compare it: x > 0", errors.DtypeError)
    dtype = call.one_dtype(types=branches)
    return TensorType(dtype, broadcast(call, [t.shape for t in call.types]))


def _where_true(g: Tensor, y: Tensor, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    # The branch that is not taken must not spread its inf or nan: 0 * inf is nan.
    return where(c, g, 0.0)


def _where_false(g: Tensor, y: Tensor, c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return where(c, 0.0, g)


_where = entry(
    "where", np.where,
    [None, lambda y, c, a, b: indicator(c, a), lambda y, c, a, b: indicator(logical_not(c), a)],
    scalar="{1} if {0} else {2}", domain=[booleans, reals(), reals()], infer=_where_type,
    floats=False, text="where({0}, {1}, {2})", latex=r"\operatorname{{where}}({0}, {1}, {2})",
    why_zero="a condition is piecewise constant", flops=per_element(0),
    bprop=(
        None,
        _where_true,
        _where_false,
    ),
)  # fmt: skip


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None) -> Tensor:
    """Return ``x`` where the condition holds and ``y`` elsewhere, as `numpy.where`."""
    if x is None or y is None:
        raise errors.UnsupportedError(
            errors.worded(
                "where: the positions of a condition have no known number",
                made_at=here(),
                fix="give both choices: np.where(condition, a, b)",
            )
        )
    dtype = common_dtype("where", [x, y])
    choices = (_truth(condition), as_tensor(x, dtype), as_tensor(y, dtype))
    return Tensor(apply(lookup("where"), [choice.node for choice in choices]))


def _cast_type(call: Call) -> TensorType:
    return TensorType(call.attrs["dtype"], call.types[0].shape)


def _cast_bprop(g: Tensor, y: Tensor, x: Tensor, dtype: object) -> Tensor:
    return g.astype(x.dtype)


CAST = define(
    Op(
        "cast",
        _cast_type,
        lambda x, dtype: x.astype(dtype),
        bprop=(_cast_bprop,),
        linear="each",
        elementwise=True,
        scalar="cast({0})",
        text="{0}",
        why_zero="an integer or a truth value has no derivative",
        flops=per_element(0),
        samples=fixed(
            Case((spread(3, 4),), {"dtype": FLOAT64}),
            Case((np.arange(4),), {"dtype": FLOAT64}),
            Case((np.array([True, False]),), {"dtype": FLOAT64}),
        ),
        summary="The same values as another dtype.",
    )
)
