"""Formulas for terminals without Unicode: every sign spelled with what a keyboard has."""

from __future__ import annotations

import codecs
import re

from symgrad.show.notation import GREEK

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵀ", "0123456789-T", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789aehijklmnoprstuvx", strict=True))
_SIGNS = {
    "−": "-", "⊙": "*", "·": "*", "×": "x", "⊗": "(x)", "∘": "o", "∂": "d", "∇": "grad", "Σ": "sum",
    "√": "sqrt", "‖": "||", "≤": "<=", "≥": ">=", "≠": "!=", "∞": "inf", "→": "->", "′": "'",
    "…": "...", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")", "¬": "not ", "∧": "and",
    "∨": "or", "⊕": "xor", "½": "1/2", "¼": "1/4",
}  # fmt: skip
_LETTERS = {letter: name for name, letter in GREEK.items()}


def ascii_text(text: str) -> str:
    """Return a formula in ASCII: ``x²`` as ``x^2``, ``Aᵀ`` as ``A^T``, δ₁ as delta1."""
    raised, lowered = "".join(_RAISED), "".join(_LOWERED)
    text = re.sub(r"√([^\W\d_])(?![(\w])", r"sqrt(\1)", text)
    text = re.sub(f"[{raised}]+", lambda m: "^" + "".join(_RAISED[c] for c in m[0]), text)
    text = re.sub(f"Σ([{lowered}]+)", lambda m: "sum_" + _spelled(m[1]), text)
    return _spelled(text)


def _spelled(text: str) -> str:
    return "".join(_LOWERED.get(c) or _SIGNS.get(c) or _LETTERS.get(c) or _plain(c) for c in text)


def _plain(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()


def replace_unencodable() -> None:
    """Let output that cannot encode a sign spell it: for terminals that are not UTF-8."""

    def spelled(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        return ascii_text(error.object[error.start : error.end]), error.end

    codecs.register_error("symgrad.spelled", spelled)
