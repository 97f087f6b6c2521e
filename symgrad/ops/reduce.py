"""Reductions over axes, and the stable forms built on them: softmax and its relatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.ir.call import Call, apply
from symgrad.ir.cost import per_element
from symgrad.ir.op import Case, Op, define
from symgrad.ir.origin import here
from symgrad.ir.size import product
from symgrad.ir.types import BOOL, FLOAT64, INT64, Array, TensorType
from symgrad.ops.elementwise import equal, indicator, sqrt, square
from symgrad.ops.samples import SPECIALS, fixed, spread
from symgrad.ops.shape import axes_of, axis_of, broadcast_to, expand_dims, ravel
from symgrad.tensor import Tensor, as_tensor, implements, size_tensor

Axes = tuple[int, ...]
_NAN_ROWS = np.array([[1.0, np.nan, 2.0], [np.inf, 1.0, -np.inf], [-0.0, 0.0, 0.0]])


def _kept(call: Call, axes: Axes) -> tuple[Any, ...]:
    return tuple(dim for i, dim in enumerate(call.types[0].shape) if i not in axes)


def _sum_type(call: Call) -> TensorType:
    dtype = call.types[0].dtype
    return TensorType(dtype if dtype.kind == "f" else INT64, _kept(call, call.attrs["axis"]))


def _same_type(call: Call) -> TensorType:
    return TensorType(call.one_dtype(), _kept(call, call.attrs["axis"]))


def _extremum_type(call: Call) -> TensorType:
    for axis in call.attrs["axis"]:
        call.at_least(call.types[0].shape[axis], 1, f"size of axis {axis}, which needs an extremum")
    return _same_type(call)


def _reduction_samples(*, smooth: bool = True, extremes: bool = True) -> Any:
    """Return cases over one, several and all axes."""
    cases = [
        Case((spread(3, 4),), {"axis": (1,)}, smooth),
        Case((spread(2, 3, 4),), {"axis": (0, 2)}, smooth),
        Case((spread(3, 4),), {"axis": (0, 1)}, smooth),
        Case((spread(3, 4),), {"axis": (0,)}, smooth),
    ]
    if extremes:
        cases.append(Case((_NAN_ROWS,), {"axis": (1,)}, smooth=False))
    return fixed(*cases)


def spread_back(g: Tensor, x: Tensor, axis: Axes) -> Tensor:
    """Return ``g``, which lacks the axes ``axis`` of ``x``, repeated along them: sum's adjoint."""
    return broadcast_to(expand_dims(g, axis), x.shape)


SUM = define(
    Op(
        "sum",
        _sum_type,
        lambda x, axis: np.sum(x, axis=axis),
        bprop=(lambda g, y, x, axis: spread_back(g, x, axis),),
        linear="each",
        flops=per_element(1),
        samples=_reduction_samples(),
        summary="The sum over axes.",
    )
)


def sum_axes(x: Tensor, axis: Axes) -> Tensor:
    """Return the sum over these axes, counted from the front."""
    return Tensor(apply(SUM, (x.node,), {"axis": axis})) if axis else x


def _reduced(op: Op, x: Any, axis: Any, keepdims: bool) -> Tensor:
    tensor = as_tensor(x)
    axes = axes_of(axis, tensor.ndim, op.name)
    if not axes:
        return tensor.astype(INT64) if tensor.dtype == BOOL and op is SUM else tensor
    out = Tensor(apply(op, (tensor.node,), {"axis": axes}))
    return expand_dims(out, axes) if keepdims else out


@implements(np.sum)
def sum(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the sum over ``axis``, as `numpy.sum`; truth values are counted."""
    return _reduced(SUM, x, axis, keepdims)


def _extremum_bprop(g: Tensor, y: Tensor, x: Tensor, axis: Axes) -> Tensor:
    mask = indicator(equal(x, expand_dims(y, axis)), x)
    return expand_dims(g / sum_axes(mask, axis), axis) * mask


def _extremum_jvp(tangents: Sequence[Tensor], y: Tensor, x: Tensor, axis: Axes) -> Tensor:
    mask = indicator(equal(x, expand_dims(y, axis)), x)
    return sum_axes(mask * tangents[0], axis) / sum_axes(mask, axis)


def _extremum(name: str, reference: Any) -> Op:
    return define(
        Op(
            name,
            _extremum_type,
            lambda x, axis: reference(x, axis=axis),
            bprop=(_extremum_bprop,),
            jvp=_extremum_jvp,
            kinks="ties split the gradient evenly",
            flops=per_element(1),
            samples=_reduction_samples(),
            summary=f"The {name}imum over axes.",
        )
    )


MAX = _extremum("max", np.max)
MIN = _extremum("min", np.min)


@implements(np.max, np.amax)
def max(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the maximum over ``axis``, as `numpy.max`; ties split the gradient evenly."""
    return _reduced(MAX, x, axis, keepdims)


@implements(np.min, np.amin)
def min(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the minimum over ``axis``, as `numpy.min`; ties split the gradient evenly."""
    return _reduced(MIN, x, axis, keepdims)


# Products. Dividing the product by a factor fails at zeros, so the derivative of a product has an
# op of its own. Let P(x) be the product over the axes and let u_1 ... u_m be directions. Then
#
#     prod_others(x, u_1, ..., u_m)_i = [e_1 ... e_m] prod over k != i of (x_k + sum_j e_j u_jk),
#
# the coefficient of e_1 ... e_m. With m = 0 it is the gradient of P, and the family is closed
# under differentiation: a derivative in x adds a direction, one in u_j replaces it. So gradients
# of products are exact at every order, with any number of zeros.

Subset = frozenset[int]
Polynomial = dict[Subset, Array]


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    out: Polynomial = {}
    for s, left in a.items():
        for t, right in b.items():
            if not s & t:
                out[s | t] = out[s | t] + left * right if s | t in out else left * right
    return out


def _prod_others(x: Array, *directions: Array, axis: Axes) -> Array:
    moved = [np.moveaxis(a, axis, range(-len(axis), 0)) for a in (x, *directions)]
    kept = moved[0].shape[: x.ndim - len(axis)]
    rows = [a.reshape(*kept, math.prod(x.shape[i] for i in axis)) for a in moved]
    count, top = rows[0].shape[-1], frozenset(range(len(directions)))
    one = np.ones(kept, dtype=x.dtype)
    factors: list[Polynomial] = [
        {frozenset(): rows[0][..., k]}
        | {frozenset([j]): row[..., k] for j, row in enumerate(rows[1:])}
        for k in range(count)
    ]
    before: list[Polynomial] = [{frozenset(): one}]
    for factor in factors[:-1]:
        before.append(_times(before[-1], factor))
    after: Polynomial = {frozenset(): one}
    out = np.empty_like(rows[0])
    for k in reversed(range(count)):
        out[..., k] = _times(before[k], after).get(top, 0)
        after = _times(after, factors[k])
    return np.moveaxis(out.reshape(moved[0].shape), range(-len(axis), 0), axis)


def _prod_others_type(call: Call) -> TensorType:
    first = call.types[0]
    for other in call.types[1:]:
        if other.ndim != first.ndim:
            call.fail("numbers of axes differ")
        for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
            call.same(a, b, f"sizes of axis {i}")
    return TensorType(call.one_dtype("f"), first.shape)


def _prod_others_bprop(g: Tensor, y: Tensor, *x: Tensor, index: int, axis: Axes) -> Tensor:
    base, *directions = x
    if index == 0:
        return prod_others(base, *directions, g, axis=axis)
    directions[index - 1] = g
    return prod_others(base, *directions, axis=axis)


def _prod_others_jvp(
    tangents: Sequence[Tensor | None], y: Tensor, *x: Tensor, axis: Axes
) -> Tensor:
    # The map is the gradient of a function of (x, u), so its derivative is symmetric in the
    # positions: the tangent rule is the cotangent rule.
    terms = [
        _prod_others_bprop(t, y, *x, index=i, axis=axis)
        for i, t in enumerate(tangents)
        if t is not None
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


PROD_OTHERS = define(
    Op(
        "prod_others",
        _prod_others_type,
        _prod_others,
        bprop=(_prod_others_bprop,),
        jvp=_prod_others_jvp,
        variadic=True,
        flops=per_element(3),
        samples=fixed(
            Case((spread(3, 4),), {"axis": (1,)}),
            Case((np.array([[0.0, 2.0, 0.0], [0.0, 3.0, 1.5]]),), {"axis": (1,)}),
            Case((spread(2, 3), spread(2, 3) + 1), {"axis": (0,)}),
            Case((np.array([0.0, 2.0, 0.0]), spread(3), spread(3) - 0.5), {"axis": (0,)}),
        ),
        summary="The product of all other elements over axes (and its directional derivatives).",
    )
)


def prod_others(x: Tensor, *directions: Tensor, axis: Axes) -> Tensor:
    """Return, for each element, the product of the others over ``axis``: exact at zeros."""
    nodes = [x.node, *(d.node for d in directions)]
    return Tensor(apply(PROD_OTHERS, nodes, {"axis": axis}))


PROD = define(
    Op(
        "prod",
        _sum_type,
        lambda x, axis: np.prod(x, axis=axis),
        bprop=(lambda g, y, x, axis: expand_dims(g, axis) * prod_others(x, axis=axis),),
        jvp=lambda t, y, x, axis: sum_axes(t[0] * prod_others(x, axis=axis), axis),
        text="prod({0})",
        flops=per_element(1),
        samples=fixed(
            Case((spread(3, 4) + 2,), {"axis": (1,)}),
            Case((np.array([[0.0, 2.0, 0.0], [0.0, 3.0, 1.5]]),), {"axis": (1,)}),
            Case((spread(2, 3),), {"axis": (0, 1)}),
        ),
        summary="The product over axes; its gradient is exact at zeros.",
    )
)


@implements(np.prod)
def prod(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the product over ``axis``, as `numpy.prod`; the gradient is exact at zeros."""
    return _reduced(PROD, x, axis, keepdims)


# Positions


def _position_type(call: Call) -> TensorType:
    axis = call.attrs["axis"]
    call.at_least(call.types[0].shape[axis], 1, f"size of axis {axis}, which needs an extremum")
    return TensorType(INT64, _kept(call, (call.attrs["axis"],)))


def _position(name: str, reference: Any) -> Op:
    return define(
        Op(
            name,
            _position_type,
            lambda x, axis: np.asarray(reference(x, axis=axis), dtype=INT64),
            bprop=(None,),
            why_zero="a position is an integer",
            flops=per_element(1),
            samples=fixed(
                Case((spread(3, 4),), {"axis": 1}),
                Case((_NAN_ROWS,), {"axis": 1}),
                Case((spread(3, 4),), {"axis": 0}),
            ),
            summary=f"The index of the first {name[3:]}imum along an axis.",
        )
    )


ARGMAX = _position("argmax", np.argmax)
ARGMIN = _position("argmin", np.argmin)


def _positioned(op: Op, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    if axis is None:
        flat = Tensor(apply(op, (ravel(x).node,), {"axis": 0}))
        return expand_dims(flat, tuple(range(x.ndim))) if keepdims else flat
    at = axis_of(axis, x.ndim, op.name)
    out = Tensor(apply(op, (x.node,), {"axis": at}))
    return expand_dims(out, at) if keepdims else out


@implements(np.argmax)
def argmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Return the index of the first maximum, as `numpy.argmax`."""
    return _positioned(ARGMAX, x, axis, keepdims)


@implements(np.argmin)
def argmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Return the index of the first minimum, as `numpy.argmin`."""
    return _positioned(ARGMIN, x, axis, keepdims)


# Averages and spreads


@implements(np.mean, np.average)
def mean(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return the mean over ``axis``, as `numpy.mean`."""
    x = as_tensor(x)
    total = sum(x if x.dtype.kind == "f" else x.astype("float64"), axis, keepdims=keepdims)
    axes = axes_of(axis, x.ndim, "mean")
    return total / size_tensor(product(x.shape[a] for a in axes), total.dtype)


@implements(np.var)
def var(x: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Return the variance over ``axis``, with ``size - ddof`` as divisor, as `numpy.var`."""
    x = as_tensor(x)
    centred = x - mean(x, axis, keepdims=True)
    axes = axes_of(axis, x.ndim, "var")
    count = size_tensor(product(x.shape[a] for a in axes), centred.dtype)
    return sum(square(centred), axis, keepdims=keepdims) / (count - ddof)


@implements(np.std)
def std(x: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Return the standard deviation over ``axis``, as `numpy.std`.

    Where all elements are equal the gradient is 0/0: not a number, since there is none.
    """
    return sqrt(var(x, axis, ddof=ddof, keepdims=keepdims))


@implements(np.any)
def any(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return whether any element is true, as `numpy.any`."""
    count = sum(as_tensor(x).astype(BOOL), axis, keepdims=keepdims)
    return count != 0


@implements(np.all)
def all(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return whether all elements are true, as `numpy.all`."""
    count = sum(~as_tensor(x).astype(BOOL), axis, keepdims=keepdims)
    return count == 0


# Softmax and its relatives: ops of their own, since their obvious forms overflow


def _float_same_shape(call: Call) -> TensorType:
    return TensorType(call.one_dtype("f"), call.types[0].shape)


def _float_reduced(call: Call) -> TensorType:
    return TensorType(call.one_dtype("f"), _kept(call, call.attrs["axis"]))


def _top(x: Array, axis: Axes) -> Array:
    """Return the maximum over ``axis``; 0 where it is infinite and cannot be subtracted."""
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    out: Array = np.where(np.isinf(top), x.dtype.type(0), top)
    return out


def _logsumexp(x: Array, axis: Axes) -> Array:
    top = _top(x, axis)
    total = np.sum(np.exp(x - top), axis=axis, keepdims=True)
    out: Array = np.squeeze(np.log(total) + top, axis)
    return out


def _softmax(x: Array, axis: Axes) -> Array:
    e = np.exp(x - _top(x, axis))
    out: Array = e / np.sum(e, axis=axis, keepdims=True)
    return out


def _log_softmax(x: Array, axis: Axes) -> Array:
    shifted = x - _top(x, axis)
    out: Array = shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    return out


def _total(x: Tensor, axis: Axes) -> Tensor:
    return expand_dims(sum_axes(x, axis), axis)


_SOFTMAX_CASES = fixed(
    Case((spread(3, 4) * 3,), {"axis": (1,)}),
    Case((spread(3, 4),), {"axis": (0,)}),
    Case((spread(2, 3, 4),), {"axis": (1, 2)}),
    Case((np.array([[1000.0, 0.0, -1000.0], [-np.inf, 0.0, 1.0]]),), {"axis": (1,)}, smooth=False),
    Case((np.array(SPECIALS),), {"axis": (0,)}, smooth=False),
)

SOFTMAX = define(
    Op(
        "softmax",
        _float_same_shape,
        _softmax,
        bprop=(lambda g, y, x, axis: y * (g - _total(g * y, axis)),),
        jvp=lambda t, y, x, axis: y * (t[0] - _total(t[0] * y, axis)),
        latex=r"\operatorname{{softmax}}({0})",
        flops=per_element(5),
        samples=_SOFTMAX_CASES,
        summary="exp(x) / sum(exp(x)) over axes, never overflowing.",
    )
)
LOG_SOFTMAX = define(
    Op(
        "log_softmax",
        _float_same_shape,
        _log_softmax,
        bprop=(lambda g, y, x, axis: g - softmax(x, axis) * _total(g, axis),),
        jvp=lambda t, y, x, axis: t[0] - _total(softmax(x, axis) * t[0], axis),
        text="log softmax({0})",
        latex=r"\log \operatorname{{softmax}}({0})",
        flops=per_element(5),
        samples=_SOFTMAX_CASES,
        summary="log(softmax(x)) over axes, accurate where the softmax underflows.",
    )
)
LOGSUMEXP = define(
    Op(
        "logsumexp",
        _float_reduced,
        _logsumexp,
        bprop=(lambda g, y, x, axis: expand_dims(g, axis) * softmax(x, axis),),
        jvp=lambda t, y, x, axis: sum_axes(softmax(x, axis) * t[0], axis),
        latex=r"\operatorname{{logsumexp}}({0})",
        flops=per_element(4),
        samples=_SOFTMAX_CASES,
        summary="log(sum(exp(x))) over axes, never overflowing.",
    )
)


def _float_tensor(x: Any, what: str) -> Tensor:
    tensor = as_tensor(x)
    if tensor.ndim == 0:
        raise errors.ShapeError(errors.worded(f"{what}: {tensor!r} has no axes", made_at=here()))
    return tensor if tensor.type.is_float else tensor.astype(FLOAT64)


def softmax(x: Any, axis: Any = -1) -> Tensor:
    """Return exp(x) / sum(exp(x)) over ``axis``, as `scipy.special.softmax`."""
    x = _float_tensor(x, "softmax")
    return Tensor(apply(SOFTMAX, (x.node,), {"axis": axes_of(axis, x.ndim, "softmax")}))


def log_softmax(x: Any, axis: Any = -1) -> Tensor:
    """Return log(softmax(x)) over ``axis``, as `scipy.special.log_softmax`."""
    x = _float_tensor(x, "log_softmax")
    return Tensor(apply(LOG_SOFTMAX, (x.node,), {"axis": axes_of(axis, x.ndim, "log_softmax")}))


def logsumexp(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over ``axis``, as `scipy.special.logsumexp`."""
    return _reduced(LOGSUMEXP, _float_tensor(x, "logsumexp"), axis, keepdims)
