"""Forward mode: tangents agree with reverse mode and with difference quotients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import symgrad as sg
from symgrad.autodiff.forward import push_forward
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.dags import SMOOTH, Dag, dags, steady
from tests.numeric import assert_close, evaluate, run, slope, value


def pushed(y: Tensor, x: Tensor, t: Tensor) -> Tensor:
    return Tensor(push_forward([y.node], {x.node: t.node})[y.node])


def test_a_seed_is_its_own_tangent() -> None:
    x, t = sg.scalar("x"), sg.scalar("t")
    assert pushed(x, x, t).node is t.node


def test_tangents_of_all_inputs_are_added() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    found = value(sg.jvp(x * y, [x, y], [3.0, 4.0]), [x, y], 5.0, 7.0)
    assert found == 7 * 3 + 5 * 4


def test_what_does_not_depend_on_the_seed_has_no_tangent() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    h = sg.sin(y)
    tangents = push_forward([(x * h).node], {x.node: sg.constant(1.0).node})
    assert h.node not in tangents and y.node not in tangents
    assert value(sg.jvp(h, x, 1.0), [y], 2.0) == 0


def test_stop_gradient_and_rounding_have_no_tangent() -> None:
    x = sg.scalar("x")
    for y in (sg.stop_gradient(x), np.floor(x), np.sign(x)):
        assert value(sg.jvp(y, x, 1.0), [x], 2.5) == 0
    assert value(sg.jvp(x * sg.stop_gradient(x), x, 1.0), [x], 2.5) == 2.5


def test_a_tangent_broadcasts_as_the_value_does() -> None:
    x, y = sg.tensor("x", (3, 1)), sg.tensor("y", (2,))
    t = sg.jvp(x + y, x, np.array([[1.0], [2.0], [3.0]]))
    assert t.shape == (3, 2)
    found = value(t, [x, y], np.zeros((3, 1)), np.zeros(2))
    assert found.tolist() == [[1, 1], [2, 2], [3, 3]]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_forward_mode_nests(order: int) -> None:
    x = sg.scalar("x")
    y = sg.exp(2 * x)
    for _ in range(order):
        y = sg.jvp(y, x, 1.0)
    assert_close(value(y, [x], 0.3), np.asarray(2**order * np.exp(0.6)), 1e-13)


@given(dags(SMOOTH))
@steady
def test_random_graphs_agree_with_difference_quotients_and_reverse_mode(dag: Dag) -> None:
    rng = np.random.default_rng(1)
    moves: list[Array] = [np.asarray(rng.normal(size=a.shape)) for a in dag.arrays]
    tangents = [sg.tensor(f"t{i}", x.shape) for i, x in enumerate(dag.inputs)]
    [forward] = evaluate(
        [*dag.inputs, *tangents], [sg.jvp(dag.loss, dag.inputs, tangents)], *dag.arrays, *moves
    )
    graph = Graph(dag.inputs, [dag.loss])
    expected = slope(
        lambda t: float(run(graph, *(a + t * m for a, m in zip(dag.arrays, moves, strict=True)))[0])
    )
    assert_close(forward, np.asarray(expected), 1e-7)
    gradients = evaluate(dag.inputs, sg.grad(dag.loss, dag.inputs), *dag.arrays)
    reverse = sum(float(np.sum(g * m)) for g, m in zip(gradients, moves, strict=True))
    assert_close(forward, np.asarray(reverse), 1e-11)
