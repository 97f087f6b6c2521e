"""Pictures of graphs: what is drawn, what is told apart, and that it parses."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import symgrad as sg
from symgrad.ir.graph import Graph
from symgrad.show.picture import Box, boxes, dot, mermaid, svg

SVG = "{http://www.w3.org/2000/svg}"


def classifier() -> Graph:
    x, t = sg.tensor("x", ("n", 6)), sg.tensor("t", ("n",), "int64")
    W1, b1 = sg.parameter("W1", (6, 4)), sg.parameter("b1", (4,))
    W2 = sg.parameter("W2", (4, 3))
    h = np.tanh(x @ W1 + b1)
    z = h @ W2
    loss = sg.nn.cross_entropy(z, t)
    return sg.optimize(Graph([x, t, W1, b1, W2], [loss, *sg.grad(loss, [W1, b1, W2])]))


def deep(layers: int) -> Graph:
    x, w = sg.scalar("x"), sg.scalar("w")
    y: Any = x
    for _ in range(layers):
        y = np.tanh(y * w)
    return sg.optimize(Graph([x, w], [y, sg.grad(y, w)]))


def by_name(graph: Graph, most: int = 100) -> dict[str, Box]:
    return {box.lines[0].split(" = ")[0]: box for box in boxes(graph, most)}


def test_values_have_their_names_and_definitions() -> None:
    found = by_name(classifier())
    assert found["h"].lines == ["h = tanh(u₂)", "float64[n, 4]"]
    assert found["h"].kind == "forward"
    assert found["W₁"].lines == ["W₁", "float64[6, 4]"]
    assert [found[name].kind for name in ("x", "t", "W₁")] == ["input", "input", "parameter"]
    assert found["∂loss/∂W₂"].lines[0] == "∂loss/∂W₂ = hᵀ (∂loss/∂z)"
    assert found["∂loss/∂W₂"].kind == "gradient"
    assert {x.lines[0] for x in found["∂loss/∂W₂"].inputs} == {
        found["h"].lines[0],
        found["∂loss/∂z"].lines[0],
    }
    results = {name for name, box in found.items() if box.result}
    assert results == {"loss", "∂loss/∂W₁", "∂loss/∂b₁", "∂loss/∂W₂"}


def test_a_value_whose_stable_form_is_differentiated_keeps_its_name() -> None:
    x, z = sg.scalar("x"), sg.scalar("z")
    y: Any = np.exp(x * z) + x * z / np.log(x)
    found = by_name(sg.optimize(Graph([x, z], [y, *sg.grad(y, [x, z])])))
    assert {name for name, box in found.items() if box.result} == {"y", "∂y/∂x", "∂y/∂z"}


def test_only_the_gradient_itself_is_called_so() -> None:
    """What is left of a step after simplifying it is not the gradient that the step formed."""
    found = by_name(classifier())
    [labels] = [name for name, box in found.items() if box.lines[0].endswith("= onehot(t)")]
    assert "∂" not in labels
    assert found["∂loss/∂z"].lines[0].endswith("/ n")


def test_what_is_seen_through_is_not_drawn() -> None:
    texts = [box.lines[0] for box in boxes(classifier())]
    assert not any("transpose" in text or "broadcast" in text for text in texts)
    x = sg.matrix("X", (3, 2))
    [given, output] = boxes(Graph([x], [sg.sum(x.T)]))
    assert output.inputs == [given]
    [only] = boxes(Graph([x], [x.T]))
    assert only.result


@pytest.mark.parametrize("layers", [3, 400])
def test_svg(layers: int) -> None:
    graph = deep(layers)
    root = ElementTree.fromstring(svg(graph))
    drawn = list(root.iter(f"{SVG}g"))
    assert len(drawn) == len(boxes(graph))
    assert len(drawn) < 130
    for group in drawn:
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        x, y, width, height = (float(rect.get(k) or "nan") for k in ("x", "y", "width", "height"))
        assert x >= 0 and y >= 0
        assert x + width <= float(root.get("width") or 0)
        assert y + height <= float(root.get("height") or 0)
    edges = sum(len(box.inputs) for box in boxes(graph))
    assert sum(path.get("class") == "edge" for path in root.iter(f"{SVG}path")) == edges


def test_boxes_do_not_overlap() -> None:
    root = ElementTree.fromstring(svg(classifier()))
    areas = [
        tuple(float(rect.get(k) or 0) for k in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
    ]
    for i, (x, y, w, h) in enumerate(areas):
        for a, b, c, d in areas[:i]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_a_large_graph_is_drawn_by_lines_of_the_model() -> None:
    found = boxes(deep(400))
    sums = 'x, w = sg.scalar("x"), sg.scalar("w")'  # of what all layers add to ∂y/∂w
    lines = [box.lines for box in found if box.kind in ("forward", "gradient")]
    assert [line[0] for line in lines] == ["y = np.tanh(y * w)", "y = np.tanh(y * w)", sums]
    assert all(re.fullmatch(r"test_picture.py:\d+ · \d+ values", line[1]) for line in lines)
    assert len(boxes(deep(400), most=10**6)) > 1000


def test_dot_and_mermaid() -> None:
    graph = classifier()
    count, edges = len(boxes(graph)), sum(len(box.inputs) for box in boxes(graph))
    assert dot(graph).count("[label=") == count
    assert dot(graph).count(" -> ") == edges
    assert mermaid(graph).count(":::") == count
    assert mermaid(graph).count(" --> ") == edges
    quoted = sg.tensor('a"b<c>\\', ())
    for text in (dot, mermaid, svg):
        written = text(Graph([quoted], [quoted * 2]))
        assert 'a"b' not in written.replace('a\\"b', "")
    ElementTree.fromstring(svg(Graph([quoted], [quoted * 2])))
