"""Every rewrite rule is true, at special values too, and still fires in the pipeline."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import GraphError
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.types import Array
from symgrad.passes import simplify, stabilize
from symgrad.passes.pipeline import optimize
from symgrad.passes.rule import Applied, Number, Pattern, Rule, Variable, build, rules
from symgrad.tensor import Tensor
from tests.numeric import assert_close, evaluate, run

ALL = [*simplify.RULES, *simplify.FINITE_RULES, *stabilize.RULES]
PROPER = [*simplify.RULES, *stabilize.RULES]
VALUES = [0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 1e-30, -1e-30, 1e30, -1e30, np.inf, -np.inf, np.nan]
CONSTANTS = [2.0, -0.5, 1.0, 3.0]


def name_of(rule: Rule) -> str:
    return rule.text


def variables(pattern: Pattern) -> list[str]:
    match pattern:
        case Variable(name):
            return [name]
        case Number():
            return []
        case Applied(_, operands):
            return list(dict.fromkeys(n for operand in operands for n in variables(operand)))


def is_truth(rule: Rule, name: str) -> bool:
    return name == "b"


def instances(rule: Rule, dtype: str) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
    """Yield the inputs and both sides of a rule, for each choice of its constants."""
    names = variables(rule.left)
    constants = [name for name in names if name in ("c", "d")]
    like = sg.scalar("like", dtype).node
    for chosen in itertools.product(CONSTANTS, repeat=len(constants)):
        free = [name for name in names if name not in constants]
        inputs = [sg.vector(n, "n", "bool" if is_truth(rule, n) else dtype) for n in free]
        bound: dict[str, Node] = dict(zip(free, [x.node for x in inputs], strict=True))
        bound |= {
            name: sg.constant(value, dtype).node
            for name, value in zip(constants, chosen, strict=True)
        }
        yield inputs, side(rule.left, bound, like), side(rule.right, bound, like)


def side(pattern: Pattern, bound: dict[str, Node], like: Node) -> Tensor:
    match pattern:
        case Applied("where", operands):
            return sg.where(*(side(operand, bound, like) for operand in operands))
        case _:
            return build(pattern, bound, like)


def grid(inputs: list[Tensor], values: list[float]) -> list[Array]:
    """Return every combination of values, one array per input."""
    choices: list[Any] = [[False, True] if x.dtype == bool else values for x in inputs]
    combined = list(itertools.product(*choices))
    return [np.array([row[i] for row in combined], dtype=x.dtype) for i, x in enumerate(inputs)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", simplify.RULES, ids=name_of)
def test_simplify_rules_hold_for_every_value(rule: Rule, dtype: str) -> None:
    """Both sides agree, NaN and infinities included, up to one rounding.

    Excluded: values at which an intermediate result of the left side alone overflows or
    underflows, so that the right side is the better one.
    """
    eps = float(np.finfo(dtype).eps)
    for inputs, left, right in instances(rule, dtype):
        largest = float(np.finfo(dtype).max)
        arrays = grid(inputs, [*VALUES, largest, -largest])
        a, b = evaluate(inputs, [left, sg.broadcast_to(right, left.shape)], *arrays)
        assert a.dtype == b.dtype
        exact = in_high_precision(rule, inputs, left, arrays)
        improved = ~same(a, exact, eps) & same(b, exact, eps)
        assert_close(b[~improved], a[~improved], 2 * eps, 0)
        zeros = (a == 0) & ~improved
        assert (np.signbit(a[zeros]) == np.signbit(b[zeros])).all()


def in_high_precision(rule: Rule, inputs: list[Tensor], left: Tensor, arrays: list[Array]) -> Array:
    """Return the left side in long double, in which nothing here overflows, rounded back."""
    wide = [a.astype(np.longdouble) if a.dtype.kind == "f" else a for a in arrays]
    values = {x.node: a for x, a in zip(inputs, wide, strict=True)}
    graph = Graph(inputs, [left])
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.op.name == "constant":
                values[node] = node.attrs["value"].astype(np.longdouble)
            elif not node.is_input:
                values[node] = node.op.reference(*(values[x] for x in node.inputs), **node.attrs)
        return np.asarray(values[left.node]).astype(left.dtype)


def same(a: Array, b: Array, eps: float) -> Any:
    with np.errstate(all="ignore"):
        return np.isclose(a, b, rtol=8 * eps, atol=0, equal_nan=True)


@pytest.mark.parametrize("rule", simplify.FINITE_RULES, ids=name_of)
def test_finite_rules_hold_for_finite_values_and_are_off(rule: Rule) -> None:
    assert rule.finite_only
    assert rule not in simplify.RULES
    for inputs, left, right in instances(rule, "float64"):
        arrays = grid(inputs, [0.3, -2.5, 7.0])
        a, b = evaluate(inputs, [left, sg.broadcast_to(right, left.shape)], *arrays)
        assert_close(b, a, 1e-15)
        graph = Graph(inputs, [left])
        special = grid(inputs, [0.0, np.inf, np.nan])
        assert_close(run(optimize(graph), *special)[0], run(graph, *special)[0], 0)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "negative": lambda a: -a,
    "exp": mpmath.exp,
    "log": mpmath.log,
    "log1p": lambda a: mpmath.log(1 + a),
    "expm1": lambda a: mpmath.exp(a) - 1,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log(1 + mpmath.exp(a)),
}


def exactly(pattern: Pattern, at: dict[str, Any]) -> Any:
    """Evaluate a side with mpmath."""
    match pattern:
        case Variable(name):
            return at[name]
        case Number(value):
            return mpmath.mpf(value)
        case Applied(op, operands):
            return FUNCTIONS[op](*(exactly(operand, at) for operand in operands))


FINITE = [0.0, 1e-30, 1e-9, 1e-3, 0.25, 0.5, 0.999, 1.0, 2.0, 30.0, 87.0, 100.0, 500.0, 1000.0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", stabilize.RULES, ids=name_of)
def test_stabilize_rules_are_accurate(rule: Rule, dtype: str) -> None:
    """The right side in floating point is the left side in 600 digits, to a few roundings.

    600 digits leave 60 after the cancellation in 1 + exp(-1000). Excluded: points where the left
    side is no real number, such as log(1 - x) at 1.
    """
    info = np.finfo(dtype)
    for inputs, _, right in instances(rule, dtype):
        arrays = grid(inputs, [*FINITE, *(-x for x in FINITE)])
        [found] = evaluate(inputs, [right], *arrays)
        for i, got in enumerate(found):
            row = {str(x.name): float(a[i]) for x, a in zip(inputs, arrays, strict=True)}
            with mpmath.workdps(600):
                try:
                    exact = exactly(rule.left, {n: mpmath.mpf(v) for n, v in row.items()})
                except (ValueError, ZeroDivisionError):
                    continue
                if isinstance(exact, mpmath.mpc) or not mpmath.isfinite(exact):
                    continue
                scale = abs(exact) + sum(abs(v) for v in row.values()) * (len(row) > 1)
                if exact > float(info.max):
                    assert got == np.inf
                    continue
                error = abs(mpmath.mpf(float(got)) - exact)
                assert error <= 4 * float(info.eps) * scale + float(info.tiny), (row, got)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", stabilize.RULES, ids=name_of)
def test_stabilize_rules_agree_at_infinities_and_nan(rule: Rule, dtype: str) -> None:
    """Excluded: points where the left side is NaN for numbers, which the right side mends."""
    for inputs, left, right in instances(rule, dtype):
        arrays = grid(inputs, [0.5, np.inf, -np.inf, np.nan])
        a, b = evaluate(inputs, [left, right], *arrays)
        number = ~np.any(np.isnan(arrays), axis=0)
        assert np.isnan(b[~number]).all()
        kept = number & ~np.isnan(a)
        assert_close(b[kept], a[kept], 1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", PROPER, ids=name_of)
def test_rules_are_reachable(rule: Rule, dtype: str) -> None:
    """The rule fires in the pipeline, or another reaches a graph no larger than its right side."""
    for inputs, left, right in instances(rule, dtype):
        small = optimize(Graph(inputs, [left]), check=True)
        fired = rule.text in {entry.action for entry in small.ledger}
        assert fired or len(small) <= len(Graph(inputs, [right]))


@pytest.mark.parametrize(
    ("written", "op", "text"),
    [
        (lambda x: sg.log(sg.nn.softmax(x)), "log_softmax", "log(softmax(x)) -> log_softmax(x)"),
        (
            lambda x: sg.log(sg.sum(sg.exp(x), axis=1)),
            "logsumexp",
            "log(sum(exp(x))) -> logsumexp(x)",
        ),
        (
            lambda x: sg.exp(x) / sg.sum(sg.exp(x), axis=1, keepdims=True),
            "softmax",
            "exp(x) / sum(exp(x)) -> softmax(x)",
        ),
        (
            lambda x: sg.log(sg.exp(x) / sg.sum(sg.exp(x), axis=-1, keepdims=True)),
            "log_softmax",
            "log(softmax(x)) -> log_softmax(x)",
        ),
        (
            lambda x: x - sg.log(sg.sum(sg.exp(x), axis=1, keepdims=True)),
            "logsumexp",
            "log(sum(exp(x))) -> logsumexp(x)",
        ),
    ],
)
def test_softmax_and_its_relatives_are_recognised(
    written: Callable[[Tensor], Tensor], op: str, text: str
) -> None:
    x = sg.matrix("x", (2, 3))
    y = written(x)
    small = optimize(Graph([x], [y]), check=True)
    assert op in {node.op.name for node in small.nodes}
    assert text in {entry.action for entry in small.ledger}
    at = np.array([[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]])
    assert_close(run(small, at)[0], evaluate([x], [y], at)[0], 1e-14)
    assert np.isfinite(run(small, at * 1000)[0]).all()


def test_a_softmax_over_other_axes_is_not_one() -> None:
    x = sg.matrix("x", (3, 3))
    wrong = sg.exp(x) / sg.sum(sg.exp(x), axis=0)[:, None]
    small = optimize(Graph([x], [wrong]))
    at = np.random.default_rng(0).normal(size=(3, 3))
    assert_close(run(small, at)[0], evaluate([x], [wrong], at)[0], 1e-14)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: sg.transpose(sg.transpose(x)), "transpose(transpose(x)) -> transpose(x)"),
        (lambda x: sg.reshape(sg.reshape(x, (2, 3)), (6, 1)), "reshape(reshape(x)) -> reshape(x)"),
        (lambda x: sg.squeeze(sg.expand_dims(x, 0), 0), "squeeze(expand_dims(x)) -> x"),
        (lambda x: sg.sum(sg.expand_dims(x, 1), axis=1), "sum(expand_dims(x)) -> x"),
        (
            lambda x: sg.broadcast_to(sg.broadcast_to(x, (2, 3, 2)), (4, 2, 3, 2)),
            "broadcast(broadcast(x)) -> broadcast(x)",
        ),
        (lambda x: sg.broadcast_to(x[0], (3, 2)) * sg.tanh(x), "broadcast(x) ∘ y -> x ∘ y"),
    ],
)
def test_structural_rules(function: Callable[[Tensor], Tensor], text: str) -> None:
    x = sg.matrix("x", (3, 2))
    y = function(x)
    small = optimize(Graph([x], [y]), check=True)
    assert text in {entry.action for entry in small.ledger}
    at = np.arange(6.0).reshape(3, 2)
    assert_close(run(small, at)[0], evaluate([x], [y], at)[0], 0)


def test_rules_are_parsed_from_readable_identities() -> None:
    [rule] = rules("  -(x - y)  ->  y - x   # a comment")
    assert rule.text == "-(x - y) -> y - x"
    assert rule.left == Applied("negative", (Applied("subtract", (Variable("x"), Variable("y"))),))
    for wrong in ("x -> 1", "x < y -> x", "f(*x) -> x"):
        with pytest.raises(GraphError):
            rules(wrong)


def test_every_op_of_a_rule_is_registered() -> None:
    for rule in ALL:
        for inputs, left, _ in instances(rule, "float64"):
            assert Graph(inputs, [left]).outputs
