"""The score of the gallery: how often we print the textbook's form, or a shorter one."""

from __future__ import annotations

import pytest

import symgrad as sg
from tests.show.gallery.entries import ENTRIES, Entry

MISSED = {
    "2^x log(2)",
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


def test_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    hits = sum(map(scores, ENTRIES))
    with capsys.disabled():
        print(f"\n{hits} of {len(ENTRIES)} gradients in the textbook's form, or a shorter one")
    assert len(ENTRIES) >= 100
    assert hits >= 0.9 * len(ENTRIES)
