"""Every op in the registry keeps what its record promises, on every one of its own cases."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

import symgrad as sg
from symgrad.autodiff.forward import push_forward
from symgrad.autodiff.reverse import build_grad, differentiable
from symgrad.ir.call import apply
from symgrad.ir.graph import Graph
from symgrad.ir.op import Case, Op, lookup, registered
from symgrad.ir.size import evaluate as size_value
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import (
    assert_close,
    declared,
    evaluate,
    finite_difference,
    reference,
    run,
    slope,
)

OPS = [op.name for op in registered()]
WITH_INPUTS = [name for name in OPS if name not in ("input", "constant", "size", "iota")]


def random(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


@cache
def cases(name: str) -> list[Case]:
    return list(lookup(name).samples(random(name)))


def smooth(name: str) -> list[Case]:
    return [case for case in cases(name) if case.smooth]


def applied(op: Op, case: Case) -> tuple[list[Tensor], Tensor]:
    inputs = declared(case)
    return inputs, Tensor(apply(op, [x.node for x in inputs], case.attrs))


def in_float64(case: Case) -> Case:
    arrays = tuple(a.astype(np.float64) if a.dtype.kind == "f" else a for a in case.arrays)
    return Case(arrays, case.attrs)


def single(*values: Tensor | Array) -> bool:
    return any(value.dtype == np.float32 for value in values)


def tolerance(*values: Tensor | Array) -> float:
    return 2e-4 if single(*values) else 2e-8


def by_reverse(y: Tensor, cotangent: Tensor, wrt: list[Tensor]) -> list[Tensor]:
    table = build_grad({y.node: cotangent.node}, [x.node for x in wrt])
    return [Tensor(table[x.node]) for x in wrt]


def by_forward(y: Tensor, wrt: list[Tensor], tangents: list[Tensor]) -> Tensor:
    seeds = {x.node: t.node for x, t in zip(wrt, tangents, strict=True)}
    return Tensor(push_forward([y.node], seeds)[y.node])


def moving(inputs: list[Tensor], y: Tensor) -> list[int]:
    """Return the positions of the inputs by which ``y`` can be differentiated."""
    return [i for i in range(len(inputs)) if differentiable(y.node, i)]


def like(name: str, x: Tensor) -> Tensor:
    return sg.tensor(name, x.shape, x.dtype)


def test_every_op_with_inputs_has_cases() -> None:
    assert [name for name in WITH_INPUTS if not smooth(name) and name != "stop_gradient"] == []
    assert [name for name in OPS if cases(name) and name not in WITH_INPUTS] == []


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_type_rule_agrees_with_the_reference(name: str) -> None:
    op = lookup(name)
    for case in cases(name):
        _, y = applied(op, case)
        result = reference(op, case)
        assert (y.shape, y.dtype) == (result.shape, result.dtype)


@pytest.mark.parametrize("name", [name for name in OPS if lookup(name).view])
def test_views_compute_nothing(name: str) -> None:
    op = lookup(name)
    for case in cases(name):
        assert len(case.arrays) == 1
        assert np.isin(reference(op, case), case.arrays[0]).all()


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_type_rule_agrees_when_sizes_are_named(name: str) -> None:
    op = lookup(name)
    for case in cases(name):
        sizes = {f"n{dim}": dim for a in case.arrays for dim in a.shape}
        shapes = [[dim if dim == 1 else f"n{dim}" for dim in a.shape] for a in case.arrays]
        inputs = [
            sg.tensor(f"x{i}", shape, a.dtype)
            for i, (a, shape) in enumerate(zip(case.arrays, shapes, strict=True))
        ]
        y = Tensor(apply(op, [x.node for x in inputs], case.attrs))
        result = reference(op, case)
        assert (size_value(y.shape, sizes), y.dtype) == (result.shape, result.dtype)
        assert_close(evaluate(inputs, [y], *case.arrays)[0], result, 0)


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    op, rng = lookup(name), random(name)
    for case in smooth(name):
        inputs, y = applied(op, case)
        wrt = moving(inputs, y)
        if not wrt:
            continue
        u = like("u", y)
        weights = rng.normal(size=y.shape).astype(y.dtype)
        found = by_reverse(y, u, [inputs[i] for i in wrt])
        gradients = evaluate([*inputs, u], found, *case.arrays, weights)
        for i, gradient in zip(wrt, gradients, strict=True):
            assert gradient.dtype == case.arrays[i].dtype
            expected = difference_quotients(op, in_float64(case), i, weights)
            assert_close(gradient, expected, tolerance(y, case.arrays[i]))


def difference_quotients(op: Op, case: Case, i: int, weights: Array) -> Array:
    def weighted(x: Array) -> float:
        arrays = (*case.arrays[:i], x, *case.arrays[i + 1 :])
        return float(np.sum(weights * reference(op, Case(arrays, case.attrs))))

    return finite_difference(weighted, case.arrays[i])


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_forward_and_reverse_mode_are_adjoint(name: str) -> None:
    op, rng = lookup(name), random(name)
    for case in smooth(name):
        inputs, y = applied(op, case)
        wrt = [inputs[i] for i in moving(inputs, y)]
        if not wrt:
            continue
        u, tangents = like("u", y), [like(f"v{i}", x) for i, x in enumerate(wrt)]
        forward, reverse = by_forward(y, wrt, tangents), by_reverse(y, u, wrt)
        assert forward.type == y.type
        assert [g.type for g in reverse] == [x.type for x in wrt]
        arrays = [rng.normal(size=x.shape).astype(x.dtype) for x in (u, *tangents)]
        pushed, *pulled = evaluate(
            [*inputs, u, *tangents], [forward, *reverse], *case.arrays, *arrays
        )
        left = np.sum(arrays[0] * pushed)
        right = inner(arrays[1:], pulled)
        scale = np.sum(np.abs(arrays[0] * pushed)) + 1
        assert abs(left - right) <= scale * (1e-4 if single(*inputs, y) else 1e-12)


def inner(a: Sequence[Array], b: Sequence[Array]) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(a, b, strict=True)))


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_second_derivative_agrees_with_finite_differences_of_the_first(name: str) -> None:
    op = lookup(name)
    for case in smooth(name):
        inputs, y = applied(op, case)
        wrt = [inputs[i] for i in moving(inputs, y)]
        # In float32 the expressions are the same, and differences of no use.
        if wrt and not single(*case.arrays):
            check_second(case, inputs, y, wrt, random(name))


def check_second(
    case: Case, inputs: list[Tensor], y: Tensor, wrt: list[Tensor], rng: np.random.Generator
) -> None:
    """Differentiate <w, vjp(u)> by the inputs and by u, in both modes."""
    u, w = like("u", y), [like(f"w{i}", x) for i, x in enumerate(wrt)]
    terms = [sg.sum(g * d) for g, d in zip(by_reverse(y, u, wrt), w, strict=True)]
    z = sum(terms[1:], terms[0])
    arguments = [*inputs, u, *w]
    values = [*case.arrays, *(rng.normal(size=x.shape) for x in (u, *w))]
    targets = [*wrt, u]
    moves = [rng.normal(size=x.shape) for x in targets]
    graph = Graph(arguments, [z])

    def along(t: float) -> float:
        moved = list(values)
        for x, move in zip(targets, moves, strict=True):
            at = [a is x for a in arguments].index(True)
            moved[at] = moved[at] + t * move
        return float(run(graph, *moved)[0])

    table = build_grad({z.node: sg.constant(1.0).node}, [x.node for x in targets])
    second = [Tensor(table.get(x.node, sg.zeros_like(x).node)) for x in targets]
    reverse = inner(evaluate(arguments, second, *values), moves)
    expected = slope(along)
    assert abs(reverse - expected) <= 1e-6 * (1 + abs(expected))

    tangents = [like(f"t{i}", x) for i, x in enumerate(targets)]
    pushed = by_forward(z, targets, tangents)
    [forward] = evaluate([*arguments, *tangents], [pushed], *values, *moves)
    assert abs(forward - reverse) <= 1e-9 * (1 + abs(reverse))


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_an_op_that_stops_a_derivative_says_why(name: str) -> None:
    op = lookup(name)
    stops = False
    for case in cases(name):
        inputs, y = applied(op, case)
        stops |= len(moving(inputs, y)) < len(inputs)
    if stops and name not in ("cast",):
        assert op.why_zero
    if op.why_zero:
        assert stops


@pytest.mark.parametrize("name", [n for n in WITH_INPUTS if lookup(n).commutative])
def test_commutative_ops_commute(name: str) -> None:
    op = lookup(name)
    for case in cases(name):
        swapped = Case(case.arrays[::-1], case.attrs)
        rtol = 1e-6 if single(*case.arrays) else 1e-15
        assert_close(reference(op, case), reference(op, swapped), rtol, 0)


@pytest.mark.parametrize("name", [n for n in WITH_INPUTS if lookup(n).linear])
def test_linear_ops_are_linear(name: str) -> None:
    op, rng = lookup(name), random(name)
    for case in smooth(name):
        inputs, y = applied(op, case)
        wrt = moving(inputs, y)
        groups = [wrt] if op.linear == "jointly" else [[i] for i in wrt]
        for group in groups:
            other = [
                rng.normal(size=a.shape).astype(a.dtype) if i in group else a
                for i, a in enumerate(case.arrays)
            ]
            both = [a - 2 * b if i in group else a for i, (a, b) in enumerate(
                zip(case.arrays, other, strict=True))]  # fmt: skip
            f, g, h = (
                reference(op, Case(tuple(arrays), case.attrs))
                for arrays in (case.arrays, other, both)
            )
            assert_close(h, f - 2 * g, 1e-5 if single(*inputs, y) else 1e-12)


@pytest.mark.parametrize("name", WITH_INPUTS)
def test_backend_agrees_with_the_reference_everywhere(name: str, backend: str) -> None:
    """Values, and gradients, at smooth points and at zeros, infinities, NaN and extremes."""
    op = lookup(name)
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    arrays: list[Array] = []
    absolute: list[float] = []
    for k, case in enumerate(cases(name)):
        mine = [sg.tensor(f"x{k}_{i}", a.shape, a.dtype) for i, a in enumerate(case.arrays)]
        y = Tensor(apply(op, [x.node for x in mine], case.attrs))
        # Gradients of two smooth cases are enough: each costs a kernel to compile.
        wrt = [mine[i] for i in moving(mine, y)] if k < 2 or not case.smooth else []
        found = [y, *(by_reverse(y, sg.ones_like(y), wrt) if wrt else [])]
        rounding = 1e-6 if single(*mine, y) else 1e-14
        absolute += [rounding if case.smooth else 0.0, *[rounding] * (len(found) - 1)]
        inputs, outputs, arrays = inputs + mine, outputs + found, arrays + list(case.arrays)
    expected = evaluate(inputs, outputs, *arrays)
    got = sg.compile(inputs, outputs, backend=backend)(*arrays)
    for y, a, b, atol in zip(outputs, got, expected, absolute, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        smallest = np.finfo(y.dtype).tiny if y.type.is_float else 0
        with np.errstate(all="ignore"):
            assert_close(a, b, 1e-5 if single(y) else 1e-12, max(atol, float(smallest)))


def gradients_at(function: Callable[..., Tensor], *at: float) -> list[float]:
    inputs = [sg.scalar(f"x{i}") for i in range(len(at))]
    return [float(g) for g in evaluate(inputs, sg.grad(function(*inputs), inputs), *at)]


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (sg.nn.relu, (0.0,), [0]),
        (sg.absolute, (0.0,), [0]),
        (sg.sign, (0.0,), [0]),
        (sg.maximum, (1.0, 1.0), [0.5, 0.5]),
        (sg.minimum, (1.0, 1.0), [0.5, 0.5]),
        (sg.clip, (1.0, 1.0, 2.0), [1, 0, 0]),
        (sg.clip, (2.0, 1.0, 2.0), [1, 0, 0]),
        (sg.clip, (3.0, 1.0, 2.0), [0, 0, 1]),
        (sg.clip, (0.0, 1.0, 2.0), [0, 1, 0]),
        (sg.clip, (1.5, 2.0, 1.0), [0, 0, 1]),
        (sg.power, (0.0, 0.0), [0, -np.inf]),
        (sg.power, (0.0, 2.0), [0, 0]),
        (sg.power, (0.0, 1.0), [1, 0]),
        (lambda x: x**2, (0.0,), [0]),
        (lambda x: x**0, (0.0,), [0]),
        (lambda x: x**1, (0.0,), [1]),
        (sg.nn.leaky_relu, (0.0,), [0.01]),
        (sg.nn.hinge, (1.0, 1.0), [0, 0]),
        (sg.nn.step, (0.0,), [0]),
    ],
)
def test_kinks(
    function: Callable[..., Tensor], at: tuple[float, ...], expected: list[float]
) -> None:
    assert gradients_at(function, *at) == expected


@pytest.mark.parametrize("function", [sg.max, sg.min])
def test_ties_over_an_axis_split_evenly(function: Callable[..., Tensor]) -> None:
    x = sg.matrix("x", (2, 3))
    gradient = sg.grad(sg.sum(function(x, axis=1)), x)
    [found] = evaluate([x], [gradient], [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    assert_close(found, np.full((2, 3), 1 / 3), 1e-15)


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (sg.nn.sigmoid, (1e3,), [0]),
        (sg.nn.sigmoid, (-1e3,), [0]),
        (sg.nn.softplus, (1e30,), [1]),
        (sg.nn.softplus, (-1e30,), [0]),
        (sg.logaddexp, (1e30, -1e30), [1, 0]),
        (sg.logaddexp, (-1e3, -1e3), [0.5, 0.5]),
        (sg.tanh, (1e30,), [0]),
        (sg.arctan, (1e200,), [0]),
        (sg.hypot, (3e200, 4e200), [0.6, 0.8]),
        (sg.hypot, (3e-200, 4e-200), [0.6, 0.8]),
        (sg.nn.binary_cross_entropy_with_logits, (1e4, 1.0), [0, -1e4]),
        (sg.nn.binary_cross_entropy_with_logits, (-1e4, 1.0), [-1, 1e4]),
    ],
)
def test_gradients_far_out(
    function: Callable[..., Tensor], at: tuple[float, ...], expected: list[float]
) -> None:
    np.testing.assert_allclose(gradients_at(function, *at), expected, rtol=1e-14)


@pytest.mark.parametrize("op", [op for op in registered() if op.steepest is not None], ids=str)
def test_the_steepest_slope_is_the_largest(op: Op) -> None:
    """No slope is larger, and one comes close: by differences of the reference."""
    x = np.linspace(-30, 30, 60_001) + 1e-7
    step = 1e-5
    slopes = np.abs(op.reference(x + step) - op.reference(x - step)) / (2 * step)
    assert op.steepest is not None
    assert np.max(slopes) <= op.steepest * (1 + 1e-6)
    assert np.max(slopes) >= op.steepest * 0.999
