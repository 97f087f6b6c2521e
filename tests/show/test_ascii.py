"""Formulas in ASCII."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from symgrad.show.ascii import ascii_text
from tests.show.gallery.entries import ENTRIES, Entry


@pytest.mark.parametrize(
    "text, spelled",
    [
        ("∂loss/∂W₁ = Xᵀ δ₁", "dloss/dW1 = X^T delta1"),
        ("−X⁻ᵀ a bᵀ X⁻¹", "-X^-T a b^T X^-1"),
        ("2 σ(x) (1 − σ(x))²", "2 sigma(x) (1 - sigma(x))^2"),
        ("x / √(1 + x²)", "x / sqrt(1 + x^2)"),
        ("1 / (2 √x)", "1 / (2 sqrt(x))"),
        ("Σₙ (a ⊙ b)", "sum_n (a * b)"),
        ("(x − a) / ‖x − a‖", "(x - a) / ||x - a||"),
        ("10⁻⁶·x", "10^-6*x"),
        ("größe", "gr\\xf6\\xdfe"),
    ],
)
def test_signs_are_spelled(text: str, spelled: str) -> None:
    assert ascii_text(text) == spelled


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.expected)
def test_the_gallery_is_ascii_with_every_sign_spelled(entry: Entry) -> None:
    value, wrt = entry.build()
    text = sg.pretty(sg.grad(value, wrt), ascii=True)
    assert text.isascii()
    assert "\\" not in text


def test_every_op_can_be_spelled() -> None:
    x = sg.vector("x", "n")
    for y in (np.floor(x), np.ceil(x), x <= 1, x != 1, np.logical_xor(x > 1, x < 2), np.sqrt(x)):
        assert "\\" not in sg.pretty(y, ascii=True)  # type: ignore[arg-type]
