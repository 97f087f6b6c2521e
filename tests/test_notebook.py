"""What notebooks show."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np

import symgrad as sg


def model() -> sg.Compiled:
    x, w = sg.vector("x", "n"), sg.parameter("w", ("n",))
    y = np.tanh(w * x)
    loss = np.sum(y**2)
    return sg.compile([x, w], [loss, sg.grad(loss, w)])


def test_a_compiled_function_is_a_summary_that_unfolds() -> None:
    page = ElementTree.fromstring(model()._repr_html_())
    titles = [e.text or "" for e in page.iter("summary")]
    assert [title.split(":")[0] for title in titles] == ["Passes", "Kernels", "Source"]
    assert page.find(".//{*}math") is not None
    assert "def " in "".join(page.itertext())


def test_a_large_one_is_not_unfolded() -> None:
    x = sg.scalar("x")
    y: Any = x
    for i in range(2000):
        y = np.sin(y) + float(i)
    page = ElementTree.fromstring(sg.compile(x, y, backend="numpy")._repr_html_())
    assert page.find(".//summary") is None


def test_a_graph_is_a_picture() -> None:
    text = model().graph._repr_svg_()
    assert text is not None
    assert ElementTree.fromstring(text).tag.endswith("svg")
