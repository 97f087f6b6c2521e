"""build_grad: Algorithms 6.5 and 6.6, edge by edge and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings

import symgrad as sg
from symgrad.autodiff.reverse import build_grad, influenced
from symgrad.ir.graph import Graph, verify
from symgrad.ir.node import Node
from symgrad.ir.sweep import Sweep
from symgrad.ir.types import Array
from symgrad.ir.walk import reachable
from symgrad.tensor import Tensor
from tests.dags import SMOOTH, Dag, dags, steady
from tests.numeric import assert_close, evaluate, finite_difference, run, value


def table(z: Tensor, *targets: Tensor) -> dict[Node, Node]:
    return build_grad({z.node: sg.constant(1.0).node}, [t.node for t in targets])


def gradient(z: Tensor, wrt: Tensor, inputs: list[Tensor], *at: object) -> Array:
    return value(Tensor(table(z, wrt)[wrt.node]), inputs, *at)


def test_the_target_itself_has_gradient_one() -> None:
    x = sg.scalar("x")
    assert gradient(x, x, [x], 5.0) == 1
    assert value(sg.grad(x, x), [x], 5.0) == 1
    y = x * x
    assert value(sg.grad(y, y), [x], 5.0) == 1


def test_a_value_used_by_many_gets_the_sum_over_its_consumers() -> None:
    x = sg.scalar("x")
    y = sg.exp(x)
    z = y * 2 + sg.sin(y) + y
    assert_close(gradient(z, y, [x], 0.3), np.asarray(3 + np.cos(np.exp(0.3))), 1e-14)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x * x, lambda x: 2 * x),
        (lambda x: x + x, lambda x: 2.0),
        (lambda x: x - x, lambda x: 0.0),
        (lambda x: x / x, lambda x: 0.0),
        (lambda x: x**x, lambda x: x**x * (np.log(x) + 1)),
        (lambda x: np.concatenate([x[None], x[None]]).sum(), lambda x: 2.0),
        (lambda x: np.where(x > 0, x, x), lambda x: 1.0),
        (lambda x: np.maximum(x, x), lambda x: 1.0),
        (lambda x: (x * x) * (x * x), lambda x: 4 * x**3),
    ],
)
def test_an_op_that_uses_a_value_twice_contributes_twice(
    function: Callable[[Tensor], Tensor], expected: Callable[[float], float]
) -> None:
    x = sg.scalar("x")
    assert_close(gradient(function(x), x, [x], 1.7), np.asarray(expected(1.7)), 1e-14)


def test_matrix_product_of_a_matrix_with_itself() -> None:
    a = np.random.default_rng(0).normal(size=(3, 3))
    A = sg.matrix("A", (3, 3))
    expected = np.ones((3, 3)) @ a.T + a.T @ np.ones((3, 3))
    assert_close(gradient(sg.sum(A @ A), A, [A], a), expected, 1e-14)


def test_with_respect_to_an_intermediate() -> None:
    x = sg.scalar("x")
    h = sg.tanh(x)
    z = h**2 + x
    assert_close(gradient(z, h, [x], 0.4), np.asarray(2 * np.tanh(0.4)), 1e-14)
    assert_close(value(sg.grad(z, h), [x], 0.4), np.asarray(2 * np.tanh(0.4)), 1e-14)


def test_intermediate_and_its_input_together() -> None:
    x = sg.scalar("x")
    h = x * 3
    gx, gh = evaluate([x], sg.grad(h * h, [x, h]), 2.0)
    assert [float(gx), float(gh)] == [36, 12]


def test_the_graph_is_pruned_to_paths_between_targets_and_z() -> None:
    """G' holds ancestors of z that a target influences; constants and labels are not in it."""
    x, w, unused = sg.scalar("x"), sg.scalar("w"), sg.scalar("unused")
    h = sg.sin(x) * w
    other = sg.cos(x)
    z = h + 2 * other + 0 * unused
    g_prime = influenced(reachable([z.node]), [w.node])
    assert w.node in g_prime and h.node in g_prime and z.node in g_prime
    assert x.node not in g_prime and other.node not in g_prime
    sweep = Sweep()
    build_grad({z.node: sg.constant(1.0).node}, [w.node], sweep)
    contributions = sweep.contributions
    assert {c.of for c in contributions} <= g_prime
    assert {c.consumer for c in contributions} <= g_prime


def test_each_edge_contributes_once() -> None:
    x = sg.scalar("x")
    y = x * x
    z = y * sg.exp(y) + y
    sweep = Sweep()
    build_grad({z.node: sg.constant(1.0).node}, [x.node], sweep)
    contributions = sweep.contributions
    edges = [(c.consumer, c.position) for c in contributions]
    nodes = reachable([z.node])
    assert len(edges) == len(set(edges))
    assert set(edges) == {(n, i) for n in nodes for i in range(len(n.inputs))}
    assert all(c.of is c.consumer.inputs[c.position] for c in contributions)


def test_new_nodes_say_whose_gradient_they_form() -> None:
    x = sg.scalar("x")
    h = sg.sin(x)
    z = h * h
    before = set(reachable([z.node]))
    added = set(reachable([sg.grad(z, x).node])) - before
    assert added
    assert {n.origin.gradient_of for n in added} <= {x.node, h.node, z.node}
    assert all(n.origin.place.startswith("test_reverse.py") for n in added)


def test_no_path_gives_zeros_of_the_target() -> None:
    x, y = sg.tensor("x", ("n", 2), "float32"), sg.scalar("y")
    g = sg.grad(y * 2, x)
    assert g.type == x.type
    assert_close(value(g, [x], np.ones((3, 2), "float32")), np.zeros((3, 2)), 0)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x, y: y * 2, "never used"),
        (lambda x, y: y * sg.stop_gradient(x), "stop_gradient"),
        (lambda x, y: y * np.floor(x), "rounding is piecewise constant"),
        (lambda x, y: y * x.astype("int64"), "an integer or a truth value has no derivative"),
        (lambda x, y: y * np.where(x > 0, 1.0, 2.0), "a comparison is piecewise constant"),
        (lambda x, y: y * np.sign(x), "sign is piecewise constant"),
        (lambda x, y: y * (x // 2), "rounding is piecewise constant"),
        (lambda x, y: y * sg.argmax(np.stack([x, y])), "a position is an integer"),
    ],
)
def test_a_path_that_ends_says_why(
    function: Callable[[Tensor, Tensor], Tensor], reason: str
) -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    z = function(x, y)
    assert value(sg.grad(z, x), [x], 0.5) == 0
    with pytest.raises(sg.errors.GradientError, match=reason) as caught:
        sg.grad(z, [y, x], disconnected="raise")
    assert "with respect to x is zero" in str(caught.value)
    assert "test_reverse.py:" in str(caught.value)


def test_stop_gradient_stops_only_its_own_path() -> None:
    x = sg.scalar("x")
    assert gradient(x * sg.stop_gradient(x), x, [x], 3.0) == 3


def test_integer_inputs_have_no_gradient() -> None:
    x, t = sg.vector("x", 4), sg.tensor("t", (2,), "int64")
    g = gradient(sg.sum(x[t] ** 2), x, [x, t], [1.0, 2.0, 3.0, 4.0], [2, 2])
    assert g.tolist() == [0, 0, 12, 0]


def test_a_gradient_is_differentiated_by_the_same_call() -> None:
    x = sg.scalar("x")
    z = sg.sin(x)
    for expected in (np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7)):
        z = sg.grad(z, x)
        assert_close(value(z, [x], 0.7), np.asarray(expected), 1e-13)


def test_seeds_may_depend_on_each_other() -> None:
    """The cotangent of a value that is also an ancestor of another seed is added."""
    x = sg.scalar("x")
    h = x * x
    y = h * 3
    found = sg.vjp([h, y], x, [sg.constant(1.0), sg.constant(1.0)])
    assert value(found, [x], 2.0) == 4 + 12


def test_broadcast_operands_get_sums() -> None:
    a, b = sg.tensor("a", ("n", 1)), sg.tensor("b", (3,))
    z = sg.sum(a * b)
    ga, gb = evaluate([a, b], sg.grad(z, [a, b]), [[1.0], [2.0]], [1.0, 2.0, 3.0])
    assert ga.tolist() == [[6], [6]]
    assert gb.tolist() == [3, 3, 3]


def test_gradient_of_a_product_with_zeros_is_exact() -> None:
    x = sg.vector("x", 3)
    assert gradient(sg.prod(x), x, [x], [0.0, 2.0, 3.0]).tolist() == [6, 0, 0]
    assert gradient(sg.prod(x), x, [x], [0.0, 0.0, 3.0]).tolist() == [0, 0, 0]
    hessian = value(sg.hessian(sg.prod(x), x), [x], [0.0, 0.0, 3.0])
    assert hessian.tolist() == [[0, 3, 0], [3, 0, 0], [0, 0, 0]]


def _at(graph: Graph, arrays: list[Array], i: int, x: Array) -> float:
    return float(run(graph, *arrays[:i], x, *arrays[i + 1 :])[0])


@given(dags(SMOOTH))
@steady
def test_random_graphs_agree_with_finite_differences(dag: Dag) -> None:
    graph = Graph(dag.inputs, [dag.loss])
    gradients = evaluate(dag.inputs, sg.grad(dag.loss, dag.inputs), *dag.arrays)
    for i, found in enumerate(gradients):
        expected = finite_difference(partial(_at, graph, dag.arrays, i), dag.arrays[i])
        assert_close(found, expected, 1e-7)


@given(dags(SMOOTH, 6))
@settings(steady, max_examples=30)
def test_random_graphs_have_the_second_derivatives_of_finite_differences(dag: Dag) -> None:
    z = sum((sg.sum(g) for g in sg.grad(dag.loss, dag.inputs)), sg.constant(0.0))
    graph = verify(Graph(dag.inputs, [z]))
    gradients = evaluate(dag.inputs, sg.grad(z, dag.inputs), *dag.arrays)
    for i, found in enumerate(gradients):
        expected = finite_difference(partial(_at, graph, dag.arrays, i), dag.arrays[i])
        assert_close(found, expected, 1e-6)


@given(dags(SMOOTH))
@settings(steady, max_examples=30)
def test_gradient_by_an_intermediate_is_that_of_the_rest_of_the_graph(dag: Dag) -> None:
    """Perturbing a value in place of an input gives its gradient."""
    middle = dag.values[len(dag.values) // 2]
    nudge = sg.tensor("nudge", middle.shape)
    node = (middle + nudge).node
    z = Tensor(_replaced(dag.loss.node, middle.node, node))
    zero = np.zeros(value(middle, dag.inputs, *dag.arrays).shape)
    inputs = [*dag.inputs, nudge]
    expected = value(Tensor(table(z, nudge)[nudge.node]), inputs, *dag.arrays, zero)
    found = value(Tensor(table(dag.loss, middle)[middle.node]), dag.inputs, *dag.arrays)
    assert_close(found, expected, 1e-12)


def _replaced(root: Node, old: Node, new: Node) -> Node:
    image = {old: new}
    for node in reachable([root]):
        if node not in image:
            image[node] = node.with_inputs(tuple(image[x] for x in node.inputs))
    return image[root]
