"""How formulas are spelled: the same mathematics for a terminal and for LaTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GREEK = {
    name: chr(code)
    for name, code in {
        "alpha": 0x3B1, "beta": 0x3B2, "gamma": 0x3B3, "delta": 0x3B4, "epsilon": 0x3B5,
        "zeta": 0x3B6, "eta": 0x3B7, "theta": 0x3B8, "kappa": 0x3BA, "lambda": 0x3BB,
        "mu": 0x3BC, "nu": 0x3BD, "xi": 0x3BE, "pi": 0x3C0, "rho": 0x3C1, "sigma": 0x3C3,
        "tau": 0x3C4, "phi": 0x3C6, "chi": 0x3C7, "psi": 0x3C8, "omega": 0x3C9,
        "Delta": 0x394, "Theta": 0x398, "Lambda": 0x39B, "Sigma": 0x3A3, "Phi": 0x3A6,
        "Psi": 0x3A8, "Omega": 0x3A9,
    }.items()
}  # fmt: skip
_LATEX_OF = {letter: f"\\{name}" for name, letter in _GREEK.items()}
_SUBSCRIPTS = str.maketrans("0123456789aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_PLAIN_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def split_name(name: str) -> tuple[str, str]:
    """Return a name as letters and subscript: ``W1``, ``W_1`` and ``W₁`` are all ("W", "1")."""
    plain = name.translate(_PLAIN_DIGITS)
    found = re.fullmatch(r"(.*?)_?(\d+)('*)", plain)
    letters, digits, primes = (found[1], found[2], found[3]) if found else (plain, "", "")
    if not letters:
        return name, ""
    stem = letters.rstrip("_")
    return _GREEK.get(stem, letters) + primes, digits


@dataclass(frozen=True, slots=True)
class Style:
    """The spelling of each construct; ``latex`` decides which."""

    latex: bool

    @property
    def minus(self) -> str:
        """The minus sign."""
        return "-" if self.latex else "−"

    @property
    def times(self) -> str:
        """The elementwise product."""
        return r"\odot" if self.latex else "⊙"

    @property
    def dot(self) -> str:
        """What stands between two numbers that multiply."""
        return r"\cdot" if self.latex else "·"

    def length(self, text: str) -> int:
        """Return about how wide ``text`` is when one reads it."""
        return len(re.sub(r"\\[a-zA-Z]+|[{}\\]", "", text) if self.latex else text)

    def name(self, name: str) -> str:
        """Return a variable's name with its digits as a subscript."""
        letters, digits = split_name(name)
        if not self.latex:
            return letters + digits.translate(_SUBSCRIPTS)
        primes = len(letters) - len(letters.rstrip("'"))
        stem = letters.rstrip("'")
        text = _LATEX_OF.get(stem) or (stem if len(stem) == 1 and stem.isascii() else "")
        if not text:
            text = r"\mathrm{" + "".join(_escaped(c) for c in stem) + "}"
        return text + "'" * primes + (f"_{{{digits}}}" if digits else "")

    def transpose(self, text: str) -> str:
        """Return a transposed atom."""
        return f"{text}^\\top" if self.latex else f"{text}ᵀ"

    def power(self, base: str, exponent: str) -> str:
        """Return an atom raised to a power."""
        if self.latex:
            return f"{{{base}}}^{{{exponent}}}"
        small = exponent.replace("−", "-")
        if re.fullmatch(r"-?\d+", small):
            return base + small.translate(_SUPERSCRIPTS)
        return f"{base}^{exponent}" if re.fullmatch(r"\w+", exponent) else f"{base}^({exponent})"

    def root(self, text: str) -> str:
        """Return a square root."""
        return f"\\sqrt{{{text}}}" if self.latex else f"√({text})"

    def call(self, name: str, arguments: list[str]) -> str:
        """Return a function applied to arguments."""
        inner = ", ".join(arguments)
        if not self.latex:
            return f"{name}({inner})"
        return f"\\operatorname{{{_escaped_text(name)}}}({inner})"

    def brackets(self, text: str) -> str:
        """Return ``text`` in parentheses."""
        return f"\\left({text}\\right)" if self.latex else f"({text})"

    def indicator(self, condition: str) -> str:
        """Return 1 where a condition holds."""
        return f"\\mathbf{{1}}[{condition}]" if self.latex else f"1[{condition}]"

    def total(self, axes: list[str]) -> str:
        """Return a sum sign over these axes; over everything when there are none."""
        if not axes:
            return r"\sum" if self.latex else "Σ"
        if self.latex:
            return f"\\sum_{{{', '.join(axes)}}}"
        small = [axis.translate(_SUBSCRIPTS) for axis in axes]
        if all(a != b for a, b in zip(small, axes, strict=True)) and all(len(a) == 1 for a in axes):
            return "Σ" + "".join(small)
        return f"Σ[{', '.join(axes)}]"

    def fraction(self, top: str, bottom: str) -> str:
        """Return a quotient, whose parts are bracketed already where that is needed."""
        return f"\\frac{{{top}}}{{{bottom}}}" if self.latex else f"{top} / {bottom}"

    def partial(self, of: str, wrt: list[str]) -> str:
        """Return ∂of/∂wrt, of any order."""
        order = len(wrt)
        d = r"\partial " if self.latex else "∂"
        count = "" if order == 1 else (f"^{{{order}}}" if self.latex else str(order).translate(
            _SUPERSCRIPTS
        ))  # fmt: skip
        if order > 1 and len(set(wrt)) == 1:
            bottom = f"{d}{wrt[0]}{count}"
        else:
            bottom = "".join(f"{d}{x}" for x in wrt)
        top = f"{d.strip()}{count}{' ' if self.latex else ''}{of}"
        return f"\\frac{{{top}}}{{{bottom}}}" if self.latex else f"{top}/{bottom}"

    def number(self, value: bool | int | float) -> str:
        """Return a number in its shortest form."""
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            value = int(value)
        text = repr(value)
        if "e" in text:
            mantissa, exponent = text.split("e")
            power = self.power("10", str(int(exponent)))
            text = power if mantissa == "1" else f"{mantissa}{self.dot}{power}"
            text = text.replace("\\cdot", "\\cdot ")
        text = text.replace("inf", r"\infty" if self.latex else "∞")
        return text.replace("-", self.minus) if not self.latex else text


def _escaped(c: str) -> str:
    if c in _LATEX_OF:
        return f"\\text{{${_LATEX_OF[c]}$}}"
    return _escaped_text(c)


def _escaped_text(text: str) -> str:
    return re.sub(r"([#$%&_{}])", r"\\\1", text).replace("^", r"\hat{}").replace("~", r"\sim ")


UNICODE = Style(latex=False)
LATEX = Style(latex=True)
