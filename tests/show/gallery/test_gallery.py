"""The score of the gallery: how often we print the textbook's form, or a shorter one."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import latex2mathml.converter
import pytest

import symgrad as sg
from tests.show.gallery.entries import ENTRIES, Entry

MISSED = {
    "det(A X B) X⁻ᵀ",
    "1",
    "softmax(z) − e(0)",
}
"""What is printed longer than in its source, by the source's form."""


def printed(entry: Entry) -> str:
    value, wrt = entry.build()
    return str(sg.grad(value, wrt)).split(" = ", 1)[1]


def scores(entry: Entry) -> bool:
    text = printed(entry)
    return text == entry.expected or len(text) <= len(entry.expected)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.expected)
def test_each(entry: Entry) -> None:
    if scores(entry):
        return
    assert entry.expected in MISSED, printed(entry)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.expected)
def test_latex_and_mathml_parse(entry: Entry) -> None:
    value, wrt = entry.build()
    gradient = sg.grad(value, wrt)
    for line in re.sub(r"\\(begin|end)\{aligned\}", "", sg.latex(gradient)).split(r"\\"):
        parses(line.replace("&", ""))
    ElementTree.fromstring(sg.mathml(gradient))


def test_the_latex_of_derivations_parses() -> None:
    x, t = sg.tensor("x", ("n", 6)), sg.tensor("t", ("n",), "int64")
    W1, W2 = sg.parameter("W1", (6, 4)), sg.parameter("W2", (4, 3))
    loss = sg.nn.cross_entropy(sg.tanh(x @ W1) @ W2, t)
    for derivation in (
        sg.derivation(loss, [W1, W2]),
        *(sg.derivation(*entry.build()) for entry in ENTRIES),
    ):
        cells = re.findall(r"\$\\displaystyle (.*?)\$", derivation.latex())
        assert cells
        for cell in cells:
            parses(cell)
        ElementTree.fromstring(f"<div>{derivation.html()}</div>")


def parses(text: str) -> None:
    """Parse LaTeX, and assert that no command was left and no letter has two subscripts."""
    found = ElementTree.fromstring(latex2mathml.converter.convert(text))
    assert "\\" not in "".join(found.itertext())
    assert not re.search(r"_\{[^{}]*\}_|\^\{[^{}]*\}\^|\^\\top *\^", text), text


def test_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    hits = sum(map(scores, ENTRIES))
    with capsys.disabled():
        print(f"\n{hits} of {len(ENTRIES)} gradients in the textbook's form, or a shorter one")
    assert len(ENTRIES) >= 100
    assert hits >= 0.9 * len(ENTRIES)
