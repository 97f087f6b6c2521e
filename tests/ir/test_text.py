"""IR text: printing, parsing and printing again is stable, and means the same numbers."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import symgrad as sg
from symgrad import errors
from symgrad.ir.call import apply
from symgrad.ir.graph import Graph, verify
from symgrad.ir.op import lookup, registered
from symgrad.ir.text import graph_text, parse_graph
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.dags import ROUGH, SMOOTH, Dag, dags, steady
from tests.numeric import assert_close, declared, run


def without_places(text: str) -> str:
    return "\n".join(line.split("  # ")[0].rstrip() for line in text.splitlines())


def check_round_trip(graph: Graph, *arrays: Array) -> Graph:
    text = graph_text(graph, full=True)
    parsed = verify(parse_graph(text))
    again = graph_text(parsed, full=True)
    assert without_places(again) == without_places(text)
    for a, b in zip(run(graph, *arrays), run(parsed, *arrays), strict=True):
        assert_close(b, a, 0)
    return parsed


@pytest.mark.parametrize("name", [op.name for op in registered() if op.name != "input"])
def test_every_op_prints_and_parses(name: str) -> None:
    op = lookup(name)
    for case in op.samples(np.random.default_rng(zlib.crc32(name.encode()))):
        inputs = declared(case)
        y = Tensor(apply(op, [x.node for x in inputs], case.attrs))
        check_round_trip(Graph(inputs, [y]), *case.arrays)


@given(dags([*SMOOTH, *ROUGH], 8))
@settings(steady, max_examples=40)
def test_random_graphs_print_and_parse(dag: Dag) -> None:
    graph = Graph(dag.inputs, [dag.loss, *sg.grad(dag.loss, dag.inputs)])
    check_round_trip(graph, *dag.arrays)
    check_round_trip(sg.optimize(graph), *dag.arrays)


def test_text_of_a_small_model() -> None:
    x, W = sg.tensor("x", ("n", 64), "float32"), sg.parameter("W", (64, 10), "float32")
    text = str(Graph([x, W], [sg.tanh(x @ W)]))
    lines = text.splitlines()
    assert lines[0] == "graph(x: float32[n, 64], W: float32[64, 10] parameter) {"
    assert lines[1].startswith("  %0 = matmul(x, W) : float32[n, 10]  # test_text.py:")
    assert lines[2].startswith("  %1 = tanh(%0) : float32[n, 10]")
    assert lines[3:] == ["  return %1", "}"]


def test_the_same_graph_always_gives_the_same_text() -> None:
    def build() -> str:
        x = sg.scalar("x")
        return str(Graph([x], [sg.sin(x) * 2, sg.grad(sg.sin(x) * 2, x)]))

    assert build() == build()


@pytest.mark.parametrize(
    "name",
    [
        "weird name",
        "δ",
        "class",
        "a'b",
        'a"b',
        "# x",
        "%0",
        "_v0",
        "graph",
        "float64",
        "a, b: c",
        "(",
        "\\",
    ],
)
def test_names_of_any_kind(name: str) -> None:
    x = sg.tensor(name, (2,))
    parsed = check_round_trip(Graph([x], [x * 2]), np.array([1.0, 2.0]))
    assert parsed.inputs[0].name == name


@pytest.mark.parametrize(
    "value",
    [
        np.array(np.nan),
        np.array(-np.inf),
        np.array(-0.0),
        np.array([np.inf, -np.inf, np.nan, -0.0, 1e-320]),
        np.array([np.nan, 1.5], dtype=np.float32),
        np.array(1 / 3),
        np.array(2**62),
        np.array([-(2**63)]),
        np.array(True),
        np.array([[True, False], [False, False]]),
        np.zeros((0, 3)),
        np.array([], dtype=np.int32),
        np.linspace(0, 1, 100).reshape(4, 25),
        np.arange(20, dtype=np.int32).reshape(1, 20, 1),
        np.array([3], dtype=np.int32),
    ],
)
def test_constants_keep_their_bits(value: Array) -> None:
    graph = Graph([], [sg.constant(value)])
    [node] = parse_graph(graph_text(graph, full=True)).outputs
    found = node.attrs["value"]
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    kept = ~np.isnan(value)
    assert found[kept].tobytes() == value[kept].tobytes() and (np.isnan(found) == ~kept).all()


def test_large_constants_are_elided_unless_asked_for() -> None:
    graph = Graph([], [sg.constant(np.arange(100.0))])
    text = str(graph)
    assert "constant(value=float64(..., (100,)))" in text
    with pytest.raises(errors.GraphError, match=r"line 2: the constant is elided"):
        parse_graph(text)


def test_symbolic_sizes_parse() -> None:
    x = sg.tensor("x", ("n", "m"))
    rows: Any = x.shape[0]
    y = sg.reshape(x[1:, ::2], -1) / (rows - 1)
    check_round_trip(Graph([x], [y]), np.arange(15.0).reshape(3, 5))


def test_hand_written_text() -> None:
    graph = parse_graph("""
        graph(x: float64[n, 3], w: float64[3] parameter) {

          %0 = matmul(x, w) : float64[n]
          %7 = multiply(%0, %0) : float64[n]   # a comment
          %3 = sum(%7, axis=(0,)) : float64[]
          return %3, x
        }
    """)
    assert graph.inputs[1].is_parameter and not graph.inputs[0].is_parameter
    assert len(graph.outputs) == 2
    assert run(graph, [[1.0, 2.0, 3.0]], [1.0, 1.0, 1.0])[0] == 36


def test_a_graph_without_inputs_or_nodes() -> None:
    check_round_trip(Graph([], [sg.constant(1.0)]))
    x = sg.scalar("x")
    check_round_trip(Graph([x], [x]), np.array(1.0))


HEAD = "graph(x: float64[n]) {\n"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("", 0, "header"),
        ("garph(x: float64[]) {\nreturn x\n}", 1, "expected 'graph"),
        ("graph(x float64[]) {\nreturn x\n}", 1, "cannot read a declaration"),
        ("graph(x: float64[]) {\n%0 = sin(x) : float64[]\n}", 2, "expected 'return'"),
        (HEAD + "  %0 = sin(y) : float64[n]\n  return %0\n}", 2, "y is not defined above"),
        (HEAD + "  %0 = sin(%1) : float64[n]\n  return %0\n}", 2, "%1 is not defined above"),
        (HEAD + "  %0 = sin(x) : float64[n]\n  return %1\n}", 3, "%1 is not defined above"),
        (HEAD + "  %0 = sin(x)\n  return %0\n}", 2, "expected '%N = op"),
        (HEAD + "  %0 = sin(x : float64[n]\n  return %0\n}", 2, "cannot read the operation"),
        (
            HEAD + "  %0 = sin(x) : float32[n]\n  return %0\n}",
            2,
            r"the operation gives float64\[n\]",
        ),
        (HEAD + "  %0 = sine(x) : float64[n]\n  return %0\n}", 2, "no op called 'sine'"),
        (HEAD + "  %0 = sum(x) : float64[]\n  return %0\n}", 2, "attributes missing or wrong"),
        (HEAD + "  %0 = sum(x, axis=(3,)) : float64[]\n  return %0\n}", 2, "line 2"),
        (HEAD + "  %0 = sin(x, x) : float64[n]\n  return %0\n}", 2, "line 2"),
        (HEAD + "  %0 = add(x) : float64[n]\n  return %0\n}", 2, "line 2"),
        (HEAD + "  %0 = sin(x) : float65[n]\n  return %0\n}", 2, "line 2"),
        (HEAD + "  %0 = sin(x) : float64[n**2]\n  return %0\n}", 2, "not a size"),
        (HEAD + "  %0 = 3 : float64[n]\n  return %0\n}", 2, "expected an operation"),
        (HEAD + "  %0 = add(x, 3) : float64[n]\n  return %0\n}", 2, "3 is not defined"),
        (HEAD + "  %0 = matmul(x, %0) : float64[n]\n  return %0\n}", 2, "not defined above"),
    ],
)
def test_errors_name_the_line(text: str, line: int, why: str) -> None:
    with pytest.raises(errors.GraphError, match=why) as caught:
        parse_graph(text)
    if line:
        assert f"line {line}" in str(caught.value)


def test_nothing_is_evaluated() -> None:
    evil = HEAD + "  %0 = cast(x, dtype=__import__('os').getcwd()) : float64[n]\n  return %0\n}"
    with pytest.raises(errors.GraphError):
        parse_graph(evil)
