"""The pipeline computes the same values with fewer nodes, and says what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import symgrad as sg
from symgrad.ir.graph import NODES_REMOVED, Graph, verify
from symgrad.passes.cse import cse
from symgrad.passes.factor import factor
from symgrad.passes.fold_constants import fold_constants
from symgrad.passes.pipeline import NAMES, PIPELINE, Pass, optimize
from symgrad.passes.prune import prune
from symgrad.passes.simplify import simplify
from symgrad.passes.stabilize import stabilize
from symgrad.tensor import Tensor
from tests.dags import ROUGH, SMOOTH, Dag, dags, steady
from tests.numeric import assert_close, run

PASSES: list[Pass] = [cse, fold_constants, simplify, stabilize, factor, prune]


def counts(graph: Graph) -> Counter[str]:
    return Counter(node.op.name for node in graph.nodes)


def everything(dag: Dag) -> Graph:
    """Return the graph of the values and of the gradient."""
    real = [v for v in dag.values if v.type.is_float]
    return Graph(dag.inputs, [*real, dag.loss, *sg.grad(dag.loss, dag.inputs)])


def agree(before: Graph, after: Graph, arrays: list[Any]) -> None:
    for a, b in zip(run(before, *arrays), run(after, *arrays), strict=True):
        assert a.dtype == b.dtype
        assert_close(b, a, 1e-10)


@given(dags([*SMOOTH, *ROUGH]))
@settings(steady, max_examples=100)
def test_random_graphs_keep_their_values(dag: Dag) -> None:
    graph = everything(dag)
    small = optimize(graph, check=True)
    assert len(small) <= len(graph)
    assert [n.type for n in small.outputs] == [n.type for n in graph.outputs]
    assert small.derivatives == graph.derivatives
    agree(graph, small, dag.arrays)


@pytest.mark.parametrize("stage", PASSES)
@given(dag=dags([*SMOOTH, *ROUGH]))
@settings(steady, max_examples=25)
def test_each_pass_alone_keeps_values(stage: Pass, dag: Dag) -> None:
    graph = everything(dag)
    agree(graph, verify(stage(graph), stage.__name__), dag.arrays)


@pytest.mark.parametrize("name", NAMES)
@given(dag=dags([*SMOOTH, *ROUGH]))
@settings(steady, max_examples=10)
def test_any_pass_can_be_left_out(name: str, dag: Dag) -> None:
    graph = everything(dag)
    small = optimize(graph, without=[name], check=True)
    assert name not in {entry.stage for entry in small.ledger}
    agree(graph, small, dag.arrays)


@given(dags([*SMOOTH, *ROUGH]))
@settings(steady, max_examples=40)
def test_provenance_maps_nodes_to_equal_values(dag: Dag) -> None:
    graph = everything(dag)
    small = optimize(graph)
    pairs = list(small.provenance.items())
    assert {node for node, _ in pairs} <= set(graph.nodes)
    before = graph.replaced([a for a, _ in pairs])
    after = graph.replaced([b for _, b in pairs])
    for (a, b), x, y in zip(pairs, run(before, *dag.arrays), run(after, *dag.arrays), strict=True):
        assert a.type == b.type
        assert_close(y, x, 1e-10)


@given(dags([*SMOOTH, *ROUGH]))
@settings(steady, max_examples=40)
def test_a_second_run_adds_nothing(dag: Dag) -> None:
    small = optimize(everything(dag))
    assert len(optimize(small)) <= len(small)


def f(x: Tensor) -> Tensor:
    return sg.exp(sg.sin(x))


def test_values_written_again_are_computed_once() -> None:
    """f(f(f(w))), f(f(w)) and f(w): three times f, not six."""
    w = sg.scalar("w")
    graph = Graph([w], [f(f(f(w))), f(f(w)), f(w)])
    assert counts(graph)["exp"] == 6
    small = optimize(graph, check=True)
    assert counts(small)["exp"] == counts(small)["sin"] == 3


def test_a_gradient_shares_what_the_value_has_computed() -> None:
    """d f(f(f(w))) / dw needs f(w) and f(f(w)), which are there already."""
    w = sg.scalar("w")
    z = f(f(f(w)))
    small = optimize(Graph([w], [z, sg.grad(z, w)]), check=True)
    assert counts(small)["exp"] == counts(small)["sin"] == counts(small)["cos"] == 3
    merged = [e for e in small.ledger if e.stage == "cse"]
    assert merged == [] or all("merged" in e.action for e in merged)


@pytest.mark.parametrize(
    "step",
    [
        lambda x: sg.exp(sg.sin(x)),
        lambda x: x * sg.tanh(x),
        lambda x: x * x + x,
        lambda x: sg.nn.softplus(x) / (1 + x * x),
        lambda x: sg.prod(sg.tanh(x[None] * np.arange(1.0, 4.0))) + x,
    ],
)
@pytest.mark.parametrize("order", [1, 2])
def test_node_counts_are_linear_in_depth(step: Callable[[Tensor], Tensor], order: int) -> None:
    def nodes(depth: int) -> int:
        x = sg.scalar("x")
        z = x
        for _ in range(depth):
            z = step(z)
        outputs = [z]
        for _ in range(order):
            outputs.append(sg.grad(outputs[-1], x))
        return len(optimize(Graph([x], outputs)))

    few, some, more = nodes(8), nodes(16), nodes(24)
    assert more - some <= (some - few) + 2


def test_without_takes_names_and_refuses_unknown_ones() -> None:
    x = sg.scalar("x")
    graph = Graph([x], [sg.sin(x) + sg.sin(x)])
    assert counts(optimize(graph, without="cse"))["sin"] == 2
    assert counts(optimize(graph))["sin"] == 1
    with pytest.raises(sg.errors.ArgumentError, match="no pass is called 'csee'; there are: cse"):
        optimize(graph, without=["csee"])


def test_names_are_those_of_the_pipeline() -> None:
    assert [stage.__name__ for stage in PIPELINE if stage not in PASSES] == []
    assert set(NAMES) == {stage.__name__ for stage in PASSES}


def test_the_ledger_says_what_was_done_and_where() -> None:
    x = sg.scalar("x")
    y = sg.log(1 + sg.exp(x)) * 1 + sg.cos(x) * sg.constant(2.0) * sg.constant(3.0)
    z = y + sg.cos(x)
    small = optimize(Graph([x], [z]))
    lines = [str(entry) for entry in small.ledger]
    assert any("stabilize: log(1 + exp(x)) -> softplus(x)" in line for line in lines)
    assert any("simplify: x * 1 -> x" in line for line in lines)
    assert any(line.startswith("cse: merged cos (forward with forward)") for line in lines)
    assert any(line.startswith("prune: dropped, needed by no output") for line in lines)
    assert all("test_pipeline.py:" in line for line in lines if NODES_REMOVED not in line)


def test_the_ledger_counts_repeated_actions() -> None:
    x = sg.scalar("x")
    z = x
    for _ in range(5):
        z = sg.tanh(z * 1)
    [entry] = [e for e in optimize(Graph([x], [z])).ledger if e.action == "x * 1 -> x"]
    assert entry.count == 5
    assert "×5" in str(entry)


def test_a_broken_pass_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(graph: Graph) -> Graph:
        from symgrad.ir.node import Node
        from symgrad.ir.types import FLOAT32, TensorType

        out = graph.outputs[0]
        wrong = Node(out.op, out.inputs, out.attrs, TensorType(FLOAT32, ()), out.origin)
        return graph.replaced([wrong])

    x = sg.scalar("x")
    monkeypatch.setattr("symgrad.passes.pipeline.PIPELINE", [cse, breaks])
    with pytest.raises(sg.errors.GraphError, match="broken after pass 'breaks'"):
        optimize(Graph([x], [sg.sin(x)]), check=True)


# One pass at a time


def test_cse_tells_constants_apart_by_bits_and_dtype() -> None:
    x = sg.scalar("x")
    zero, minus = sg.constant(0.0), sg.constant(-0.0)
    graph = cse(Graph([x], [x / zero, x / minus, x / sg.constant(0.0)]))
    assert [float(v) for v in run(graph, 1.0)] == [np.inf, -np.inf, np.inf]
    assert counts(graph)["constant"] == 2
    assert graph.outputs[0] is graph.outputs[2]


def test_cse_orders_the_operands_of_commutative_ops() -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    graph = cse(Graph([x, y], [x * y, y * x, x - y, y - x]))
    assert graph.outputs[0] is graph.outputs[1]
    assert graph.outputs[2] is not graph.outputs[3]


def test_cse_never_merges_declared_tensors() -> None:
    x, y = sg.vector("x", "n"), sg.vector("y", "n")
    graph = cse(Graph([x, y], [x, y]))
    assert graph.outputs == (x.node, y.node)


def test_constants_are_folded() -> None:
    x = sg.scalar("x")
    y = x + sg.exp(sg.constant(0.0)) * sg.sum(sg.constant([1.0, 2.0]))
    small = fold_constants(Graph([x], [y]))
    assert counts(small) == {"input": 1, "constant": 1, "add": 1}
    assert run(small, 1.0)[0] == 4


def test_large_constants_are_not_folded() -> None:
    table = sg.constant(np.arange(100.0))
    graph = Graph([], [table[:, None] * table])
    assert counts(optimize(graph))["multiply"] == 1


def test_what_fails_to_fold_fails_at_the_call_with_its_line() -> None:
    labels = sg.constant([5])
    graph = Graph([], [sg.one_hot(labels, 3)])
    small = optimize(graph)
    with pytest.raises(sg.errors.ValueRangeError, match=r"label 5 is not in 0 ... 2\n.*_pipeline"):
        run(small)


def test_stop_gradient_survives_until_it_is_differentiated() -> None:
    x = sg.scalar("x")
    y = optimize(Graph([x], [x * sg.stop_gradient(sg.sin(x))])).outputs[0]
    assert counts(Graph([x], [y]))["stop_gradient"] == 1


def test_named_sizes_are_collected_into_one_factor() -> None:
    """Half a mean of squares: its gradient is xᵀ r / n, divided once, after the product."""
    x, w = sg.tensor("x", ("n", 3)), sg.vector("w", 3)
    z = sg.mean((x @ w) ** 2) / 2
    small = optimize(Graph([x, w], [sg.grad(z, w)]), check=True)
    assert counts(small) == {
        "input": 2,
        "matmul": 2,
        "transpose": 1,
        "size": 1,
        "divide": 1,
    }


@pytest.mark.parametrize(
    "half",
    [
        lambda r: sg.sum(r**2) / 2,
        lambda r: sg.sum(r * r) / 2,
        lambda r: 0.5 * sg.sum(sg.square(r)),
        lambda r: r @ r / 2,
    ],
)
def test_least_squares_gradient_is_the_textbook_one(half: Callable[[Tensor], Tensor]) -> None:
    x, w, y = sg.tensor("x", ("n", 3)), sg.vector("w", 3), sg.tensor("y", ("n",))
    r = x @ w - y
    small = optimize(Graph([x, w, y], [sg.grad(half(r), w)]), check=True)
    assert counts(small) == {"input": 3, "matmul": 2, "transpose": 1, "subtract": 1}


def test_cross_entropy_gradient_is_softmax_minus_one_hot() -> None:
    h, t = sg.tensor("h", ("n", 5)), sg.tensor("t", ("n",), "int64")
    z = sg.nn.cross_entropy(h, t)
    small = optimize(Graph([h, t], [sg.grad(z, h)]), check=True)
    assert counts(small) == {
        "input": 2,
        "softmax": 1,
        "one_hot": 1,
        "subtract": 1,
        "size": 1,
        "divide": 1,
    }


def test_logistic_gradient_is_sigmoid_minus_target() -> None:
    z, y = sg.vector("z", "n"), sg.vector("y", "n")
    p = 1 / (1 + sg.exp(-z))
    loss = -sg.sum(y * sg.log(p) + (1 - y) * sg.log(1 - p))
    small = optimize(Graph([z, y], [sg.grad(loss, z)]), check=True)
    assert counts(small) == {"input": 2, "sigmoid": 1, "subtract": 1}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_factors_that_cannot_be_represented_stay_apart(dtype: str) -> None:
    x = sg.scalar("x", dtype)
    tiny, huge = sg.constant(1e-30, dtype), sg.constant(1e30, dtype)
    graph = Graph([x], [(x * tiny) * tiny, (x * huge) * huge, (x * tiny) * huge])
    agree(graph, optimize(graph, check=True), [np.asarray(2.0, dtype)])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 0,
        lambda x: 0 * x,
        lambda x: x - x,
        lambda x: x / x,
        lambda x: (x / x) * x,
        lambda x: x + 0,
        lambda x: 0 / x,
        lambda x: x * 2 - x * 2,
        lambda x: x / 3 * 3,
        lambda x: (2 * x) / (3 * x),
        lambda x: sg.sum(0 * x[None]),
        lambda x: -(0 - x),
        lambda x: 0 - x,
        lambda x: (x * 2) * (x * 3),
        lambda x: 2 * x + 2 * x,
        lambda x: 2 * x - 3 * x,
        lambda x: -x - x,
        lambda x: x / -1,
        lambda x: -x + 2 * x,
        lambda x: 1 / (1 / x),
        lambda x: sg.relu(-x) * -1 if hasattr(sg, "relu") else sg.nn.relu(-x) * -1,
    ],
)
def test_special_values_survive_the_pipeline(function: Callable[[Tensor], Tensor]) -> None:
    """Infinities, NaN and the signs of infinities made from zeros are those of the original."""
    x = sg.scalar("x")
    graph = Graph([x], [function(x)])
    small = optimize(graph, check=True)
    for at in (0.0, -0.0, 1.0, -3.0, 7.1, 1e-300, 1e300, np.inf, -np.inf, np.nan):
        agree(graph, small, [at])


def test_rules_for_finite_values_are_off_unless_asked_for() -> None:
    x, y = sg.vector("x", 3), sg.vector("y", 3)
    graph = Graph([x, y], [(x - x) * y + (x / y) * y])
    assert len(optimize(graph)) > 6
    small = optimize(graph, finite=True)
    np.testing.assert_array_equal(run(small, np.arange(3.0), np.ones(3))[0], np.arange(3.0))
    assert len(small) <= 5
