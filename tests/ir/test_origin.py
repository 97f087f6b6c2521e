"""Where a node was written: file, line, source, and the variable it was assigned to."""

from __future__ import annotations

import inspect
import linecache
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.ir.graph import Graph
from symgrad.ir.origin import Origin, using
from symgrad.ir.walk import reachable
from symgrad.tensor import Tensor


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_file_line_and_text() -> None:
    x, at = sg.scalar("x"), line()
    y = sg.sin(x)
    assert x.node.origin.line == at
    assert y.node.origin.line == at + 1
    assert y.node.origin.file == __file__
    assert y.node.origin.place == f"test_origin.py:{at + 1}"
    assert y.node.origin.text == "y = sg.sin(x)"
    assert str(y.node.origin) == f"test_origin.py:{at + 1}   y = sg.sin(x)"


def test_calls_through_numpy_are_the_users() -> None:
    x: Any = sg.vector("x", 3)
    results: list[Any] = [np.sum(x), np.linalg.norm(x), np.mean(x), x.std(), np.concatenate([x, x])]
    for y in results:
        assert all(n.origin.file == __file__ for n in reachable([y.node]))


def test_the_variable_an_expression_is_assigned_to() -> None:
    x = sg.vector("x", 3)
    hidden = sg.tanh(x)
    total: Tensor = sg.sum(hidden)
    if (walrus := sg.cos(x)) is not None:
        assert walrus.name == "walrus"
    assert hidden.name == "hidden"
    assert total.name == "total"
    assert sg.sin(x).name is None


def test_only_the_whole_expression_has_the_name() -> None:
    x = sg.scalar("x")
    y = sg.sin(sg.cos(x)) + 1
    assert y.name == "y"
    assert [n.name for n in reachable([y.node]) if n.op.name in ("sin", "cos")] == [None, None]


def test_an_expression_over_several_lines() -> None:
    x, at = sg.scalar("x"), line()
    y = (
        sg.sin(x)
        + sg.cos(x)
    )  # fmt: skip
    assert y.name == "y"
    assert at < y.node.origin.line <= at + 4


def test_declared_names_win() -> None:
    other = sg.scalar("x")
    assert other.name == "x"


def test_gradients_have_the_place_of_what_they_are_gradients_of() -> None:
    x = sg.scalar("x")
    y = sg.sin(x)
    g = sg.grad(y * y, x)
    assert g.name is None
    made = [n for n in reachable([g.node]) if n.origin.gradient_of is not None]
    assert y.node in {n.origin.gradient_of for n in made}
    assert {n.origin.file for n in made} == {__file__}


def test_passes_keep_origins() -> None:
    x = sg.scalar("x")
    y = sg.log(1 + sg.exp(x)) * 1
    small = sg.optimize(Graph([x], [y]))
    assert small.outputs[0].op.name == "softplus"
    assert small.outputs[0].origin.line == y.node.origin.line


def test_using_forces_an_origin() -> None:
    origin = Origin("model.txt", 12)
    with using(origin):
        assert sg.scalar("x").node.origin is origin
    assert sg.scalar("x").node.origin.file == __file__
    with pytest.raises(ZeroDivisionError), using(origin):
        1 / 0  # noqa: B018
    assert sg.scalar("x").node.origin.file == __file__


def test_code_without_a_file() -> None:
    space: dict[str, Tensor] = {}
    exec(compile("import symgrad as sg\ny = sg.sin(sg.scalar('x'))", "<made up>", "exec"), space)
    origin = space["y"].node.origin
    assert (origin.place, origin.text, origin.variable) == ("<made up>:2", "", None)


def test_a_notebook_cell() -> None:
    source = "import symgrad as sg\ny = sg.sin(sg.scalar('x'))\n"
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    space: dict[str, Tensor] = {}
    exec(compile(source, "<cell>", "exec"), space)
    assert space["y"].name == "y"
    assert space["y"].node.origin.text == "y = sg.sin(sg.scalar('x'))"


def test_a_cell_that_was_edited_has_its_own_names() -> None:
    for name in ("first", "second"):
        source = f"import symgrad as sg\n{name} = sg.sin(sg.scalar('x'))\n"
        linecache.cache["<again>"] = (
            len(source),
            None,
            source.splitlines(keepends=True),
            "<again>",
        )
        space: dict[str, Tensor] = {}
        exec(compile(source, "<again>", "exec"), space)
        assert space[name].name == name


def test_a_file_that_is_no_python() -> None:
    linecache.cache["<broken>"] = (5, None, ["def :\n"], "<broken>")
    assert Origin("<broken>", 1, None, None, 0, (1, 1, 0, 3)).variable is None


def test_lines_with_wide_characters() -> None:
    x = sg.scalar("x")
    größe = sg.sin(x) if "größe" else x
    δ = sg.sin(x)
    assert δ.name == "δ"
    assert größe.node.op.name == "sin"
