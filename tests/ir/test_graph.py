"""Nodes and graphs: order, interface, verification, pickling, and no leaks."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import symgrad as sg
from symgrad import errors
from symgrad.ir.graph import Entry, Graph, graph_of, verify
from symgrad.ir.node import Node, meaning, scalar_value
from symgrad.ir.op import Op, define, lookup
from symgrad.ir.types import FLOAT32, FLOAT64, TensorType
from symgrad.ir.walk import consumers, reachable
from tests.dags import ROUGH, SMOOTH, Dag, dags, steady
from tests.numeric import assert_close, run


def test_nodes_are_immutable() -> None:
    x = sg.scalar("x")
    with pytest.raises(errors.GraphError, match="immutable"):
        x.node.op = lookup("sin")
    with pytest.raises(TypeError):
        x.node.attrs["name"] = "y"  # type: ignore[index]


def test_inputs_have_smaller_numbers() -> None:
    x = sg.scalar("x")
    y = sg.sin(x) + x
    for node in reachable([y.node]):
        assert all(i.number < node.number for i in node.inputs)


@given(dags([*SMOOTH, *ROUGH]))
@settings(steady, max_examples=30)
def test_nodes_are_in_topological_order(dag: Dag) -> None:
    graph = Graph(dag.inputs, [dag.loss])
    seen: set[Node] = set()
    for node in graph.nodes:
        assert set(node.inputs) <= seen
        seen.add(node)
    assert len(seen) == len(graph) == len(graph.nodes)
    assert set(graph.inputs) | set(graph.outputs) <= seen
    verify(graph)


def test_walking() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    s = sg.sin(x)
    z = s * s + y
    nodes = reachable([z.node])
    assert [n.op.name for n in nodes] == ["input", "input", "sin", "multiply", "add"]
    assert len(consumers(nodes)[s.node]) == 2
    assert consumers(nodes)[z.node] == []


def test_a_graph_lists_inputs_that_nothing_uses() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    assert Graph([x, y], [x * 2]).inputs == (x.node, y.node)
    assert y.node in Graph([x, y], [x * 2]).nodes


def test_graph_of_finds_the_inputs() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    assert graph_of([y * x]).inputs == (x.node, y.node)


def test_a_missing_input_is_named_with_its_line() -> None:
    x, weights = sg.scalar("x"), sg.scalar("weights")
    with pytest.raises(
        errors.GraphError, match=r"not among the inputs: weights \(made at test_graph.py:\d+\)"
    ):
        Graph([x], [x * weights])


def test_inputs_are_declared_tensors() -> None:
    x = sg.scalar("x")
    with pytest.raises(errors.ArgumentError, match=r"must be a declared tensor.*\n.*test_graph.py"):
        Graph([x * 2], [x])


def test_two_inputs_of_one_name() -> None:
    with pytest.raises(
        errors.ArgumentError, match=r"two inputs are called 'x'\n  made at test_graph.*test_graph"
    ):
        Graph([sg.scalar("x"), sg.scalar("x")], [])


@pytest.mark.parametrize("wrong", [1.5, None, "x", np.zeros(3)])
def test_outputs_are_tensors(wrong: Any) -> None:
    x = sg.scalar("x")
    with pytest.raises(errors.ArgumentError, match="output of a graph is a tensor"):
        Graph([x], [x, wrong])
    with pytest.raises(errors.ArgumentError, match="list of tensors"):
        Graph(x, [x])


def test_no_outputs_is_an_empty_graph() -> None:
    assert len(Graph([], [])) == 0


def broken(node: Node, type_: TensorType) -> Node:
    return Node(node.op, node.inputs, node.attrs, type_, node.origin)


def test_verify_finds_wrong_types() -> None:
    x = sg.vector("x", 3)
    good = sg.sin(x).node
    for wrong in (
        TensorType(FLOAT32, (3,)),
        TensorType(FLOAT64, (4,)),
        TensorType(FLOAT64, (3, 1)),
    ):
        with pytest.raises(errors.GraphError, match=r"its type rule says float64\[3\]"):
            verify(Graph([x], [broken(good, wrong)]))
    with pytest.raises(errors.GraphError, match="broken after pass 'squash'"):
        verify(Graph([x], [broken(good, TensorType(FLOAT32, (3,)))]), "squash")
    verify(Graph([x], [good]))


def test_verify_finds_wrong_order() -> None:
    x = sg.scalar("x")
    node = sg.sin(x).node
    object.__setattr__(node, "number", 0)
    with pytest.raises(errors.GraphError, match="an input was made after it"):
        verify(Graph([x], [node]))


def test_verify_finds_lost_derivatives() -> None:
    x = sg.scalar("x")
    with pytest.raises(errors.GraphError, match="differ in number"):
        verify(Graph([x], [x, x], derivatives=[None]))


def test_nodes_have_one_meaning() -> None:
    x = sg.scalar("x")
    assert meaning(sg.sin(x).node) == meaning(sg.sin(x).node)
    assert meaning(sg.sin(x).node) != meaning(sg.cos(x).node)
    assert meaning(sg.constant(0.0).node) != meaning(sg.constant(-0.0).node)
    assert meaning(sg.constant(1).node) != meaning(sg.constant(1.0).node)
    assert meaning(sg.constant([1.0, 2.0]).node) != meaning(sg.constant([[1.0, 2.0]]).node)
    assert meaning(sg.scalar("x").node) != meaning(x.node)


def test_the_value_of_a_constant() -> None:
    assert scalar_value(sg.constant(2.5).node) == 2.5
    assert scalar_value(sg.ones(("n", 3)).node) == 1
    assert scalar_value(sg.constant([2, 2, 2]).node) == 2
    assert scalar_value(sg.constant([1, 2]).node) is None
    assert scalar_value(sg.scalar("x").node) is None
    assert scalar_value(sg.constant(np.zeros(0)).node) is None


def test_ops_are_defined_once() -> None:
    with pytest.raises(errors.GraphError, match="'sin' is defined already"):
        define(Op("sin", lambda call: call.types[0], np.sin))
    with pytest.raises(errors.GraphError, match="no op called 'sine'"):
        lookup("sine")
    assert pickle.loads(pickle.dumps(lookup("sin"))) is lookup("sin")


def test_ledger_entries_print() -> None:
    entry = Entry("simplify", "x * 1 -> x", ("model.py:3", "model.py:7"), 4)
    assert str(entry) == "simplify: x * 1 -> x ×4  (model.py:3, model.py:7)"


# Pickling


@given(dags([*SMOOTH, *ROUGH], 6))
@settings(steady, max_examples=25)
def test_a_pickled_graph_is_the_same_graph(dag: Dag) -> None:
    graph = Graph(dag.inputs, [dag.loss, *sg.grad(dag.loss, dag.inputs)])
    copy = pickle.loads(pickle.dumps(graph))
    verify(copy)
    assert str(copy) == str(graph)
    for a, b in zip(run(graph, *dag.arrays), run(copy, *dag.arrays), strict=True):
        assert_close(b, a, 0)
    kept = [d and (d.of.op.name, [w.name for w in d.wrt]) for d in copy.derivatives]
    assert kept == [d and (d.of.op.name, [w.name for w in d.wrt]) for d in graph.derivatives]


def test_a_pickled_optimised_graph_keeps_its_ledger() -> None:
    x = sg.scalar("x")
    small = sg.optimize(Graph([x], [sg.log(1 + sg.exp(x)) * 1]))
    copy = pickle.loads(pickle.dumps(small))
    assert copy.ledger == small.ledger
    assert str(copy) == str(small)


def test_shared_nodes_stay_shared() -> None:
    x = sg.scalar("x")
    s = sg.sin(x)
    copy = pickle.loads(pickle.dumps((s * s).node))
    assert copy.inputs[0] is copy.inputs[1]


def test_pickled_origins_keep_place_variable_and_gradient() -> None:
    x = sg.scalar("x")
    hidden = sg.sin(x)
    g = sg.grad(hidden, x)
    copied, gradient = pickle.loads(pickle.dumps(Graph([x], [hidden, g]))).outputs
    assert copied.name == "hidden"
    assert copied.origin.place == hidden.node.origin.place
    assert gradient.origin.gradient_of is not None
    assert gradient.origin.gradient_of.op.name == g.node.origin.gradient_of.op.name  # type: ignore[union-attr]


# No global graph


def test_graphs_and_tensors_are_freed() -> None:
    def build() -> list[Any]:
        x = sg.vector("x", "n")
        z = sg.sum(sg.tanh(x) ** 2)
        graph = Graph([x], [z, sg.grad(z, x)])
        small = sg.optimize(graph, check=True)
        f = sg.compile([x], z, backend="numpy")
        f(np.ones(3))
        return [weakref.ref(o) for o in (x, z, x.node, z.node, graph, small, f)]

    gc.collect()
    refs = build()
    gc.collect()
    assert [r() for r in refs] == [None] * len(refs)


def test_what_is_not_used_is_freed_without_the_collector() -> None:
    x = sg.scalar("x")
    gc.disable()
    try:
        y = sg.sin(x)
        ref = weakref.ref(y.node)
        del y
        assert ref() is None
    finally:
        gc.enable()
