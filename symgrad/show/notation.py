"""How formulas are spelled: the same mathematics for a terminal and for LaTeX."""

from __future__ import annotations

import re
from html import escape
from itertools import pairwise

GREEK = {
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
_LATEX_OF = {letter: f"\\{name}" for name, letter in GREEK.items()}
_SUBSCRIPTS = str.maketrans("0123456789aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_PLAIN_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


_LATEX_SIGNS = {
    "×": r"$\times$", "∘": r"$\circ$", "∂": r"$\partial$", "Σ": r"$\sum$", "−": "$-$",
    "→": r"$\to$", "′": "$'$", "…": r"\dots{}", "<": "$<$", ">": "$>$", "|": "$|$",
}  # fmt: skip


def split_name(name: str) -> tuple[str, str]:
    """Return a name as letters and subscript: ``W1``, ``W_1`` and ``W₁`` are all ("W", "1")."""
    plain = name.translate(_PLAIN_DIGITS)
    found = re.fullmatch(r"(.*?)_?(\d+)('*)", plain)
    letters, digits, primes = (found[1], found[2], found[3]) if found else (plain, "", "")
    if not letters:
        return name, ""
    stem = letters.rstrip("_")
    return GREEK.get(stem, letters) + primes, digits


class Style:
    """How each construct is spelled in a terminal; other targets override what differs.

    Attributes:
        plus, minus, times, dot, kron: The signs between terms and factors.
        equals, increased: The signs of a definition, and of what is added to a value.
        stacked: Whether fractions are drawn, so that their parts need no brackets.
    """

    plus = "+"
    minus = "−"
    times = "⊙"
    dot = "·"
    kron = "⊗"
    equals = "="
    increased = "+="
    comma = ", "
    stacked = False

    # What texts are made of

    def name(self, name: str) -> str:
        """Return a variable's name with its digits as a subscript."""
        letters, digits = split_name(name)
        return letters + digits.translate(_SUBSCRIPTS)

    def number(self, value: bool | int | float) -> str:
        """Return a number in its shortest form."""
        mantissa, exponent = shortest(value)
        if not exponent:
            return mantissa.replace("-", self.minus).replace("inf", "∞")
        power = self.power("10", exponent)
        return power if mantissa == "1" else f"{mantissa}{self.dot}{power}"

    def literal(self, text: str) -> str:
        """Return text that is no formula, such as ``axis=1``."""
        return text

    def plain(self, text: str) -> str:
        """Return what a reader sees of a text, without markup."""
        return text

    def length(self, text: str) -> int:
        """Return about how wide a text is when one reads it."""
        return len(self.plain(text))

    def is_name(self, text: str) -> bool:
        """Return whether a text is one name, which may be raised to a power."""
        return re.fullmatch(r"[^\W\d_][^\W_⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ]*'*", text) is not None

    # Putting texts together

    def infix(self, left: str, sign: str, right: str) -> str:
        """Return two operands with a sign between them."""
        return f"{left} {sign} {right}"

    def prefix(self, sign: str, text: str) -> str:
        """Return an operand after its sign."""
        return f"{sign}{text}"

    def spaced(self, sign: str, text: str) -> str:
        """Return an operand after an operator such as a sum sign."""
        return f"{sign} {text}"

    def product(self, factors: list[str]) -> str:
        """Return factors side by side, with a dot between two numbers."""
        text = factors[0]
        for before, factor in pairwise(factors):
            last, first = self.plain(before), self.plain(factor)
            touching = last[0].isdigit() and last[-1].isdigit() and first[0].isdigit()
            text = self.infix(text, self.dot, factor) if touching else self.beside(text, factor)
        return text

    def beside(self, left: str, right: str) -> str:
        """Return two factors side by side."""
        return f"{left} {right}"

    def transpose(self, text: str) -> str:
        """Return a transposed atom."""
        return f"{text}ᵀ"

    def inverse(self, text: str, transposed: bool) -> str:
        """Return the inverse of an atom, or of its transpose."""
        return f"{text}⁻ᵀ" if transposed else f"{text}⁻¹"

    def power(self, base: str, exponent: str) -> str:
        """Return an atom raised to a power."""
        small = exponent.replace("−", "-")
        if re.fullmatch(r"-?\d+", small):
            return base + small.translate(_SUPERSCRIPTS)
        plain = self.is_name(exponent) or exponent.isdecimal()
        return f"{base}^{exponent}" if plain else f"{base}^({exponent})"

    def root(self, text: str) -> str:
        """Return a square root."""
        return f"√{text}" if self.is_name(text) and len(text) == 1 else f"√({text})"

    def norm(self, text: str) -> str:
        """Return the Euclidean norm of a value."""
        return f"‖{text}‖"

    def call(self, name: str, arguments: list[str]) -> str:
        """Return a function applied to arguments."""
        return f"{name}({', '.join(arguments)})"

    def filled(self, text: str, latex: str, operands: list[str]) -> str:
        """Return an op's own template, in the form for this target, with operands filled in."""
        return text.format(*operands)

    def index(self, text: str, keys: list[str]) -> str:
        """Return an indexed value, or a list when there is none."""
        return f"{text}[{', '.join(keys)}]"

    def brackets(self, text: str) -> str:
        """Return a text in parentheses."""
        return f"({text})"

    def indicator(self, condition: str) -> str:
        """Return 1 where a condition holds."""
        return f"1[{condition}]"

    def total(self, axes: list[str]) -> str:
        """Return a sum sign over these axes; over everything when there are none."""
        small = [axis.translate(_SUBSCRIPTS) for axis in axes]
        if all(len(a) == 1 and s != a for s, a in zip(small, axes, strict=True)):
            return "Σ" + "".join(small)
        return f"Σ[{', '.join(axes)}]"

    def fraction(self, top: str, bottom: str) -> str:
        """Return a quotient, whose parts are bracketed already where that is needed."""
        return f"{top} / {bottom}"

    def partial(self, of: str, wrt: list[str]) -> str:
        """Return ∂of/∂wrt, of any order."""
        top, bottom = self._partials("∂", of, wrt)
        return f"{top}/{bottom}"

    def _partials(self, d: str, of: str, wrt: list[str]) -> tuple[str, str]:
        order = len(wrt)
        head = d if order == 1 else self.power(d, self.number(order))
        if order > 1 and len(set(wrt)) == 1:
            return f"{head}{of}", f"{d}{self.power(wrt[0], self.number(order))}"
        return f"{head}{of}", "".join(f"{d}{x}" for x in wrt)


class Latex(Style):
    """LaTeX in math mode, of the subset that KaTeX and MathJax know."""

    minus = "-"
    times = r"\odot"
    dot = r"\cdot"
    kron = r"\otimes"
    increased = r"\mathrel{+}="
    stacked = True

    def name(self, name: str) -> str:
        letters, digits = split_name(name)
        stem = letters.rstrip("'")
        text = _LATEX_OF.get(stem) or (stem if len(stem) == 1 and stem.isascii() else "")
        if not text:
            text = r"\mathrm{" + "".join(_escaped(c) for c in stem) + "}"
        return text + "'" * (len(letters) - len(stem)) + (f"_{{{digits}}}" if digits else "")

    def number(self, value: bool | int | float) -> str:
        mantissa, exponent = shortest(value)
        if not exponent:
            return mantissa.replace("inf", r"\infty")
        power = f"10^{{{exponent}}}"
        return power if mantissa == "1" else f"{mantissa} \\cdot {power}"

    def literal(self, text: str) -> str:
        return f"\\text{{{_escaped_text(text)}}}"

    def words(self, text: str) -> str:
        """Return words as LaTeX's text mode has them."""
        escaped = _escaped_text(text.replace("\\", "/"))
        return "".join(_LATEX_SIGNS.get(c, _LATEX_OF.get(c, c)) for c in escaped)

    def plain(self, text: str) -> str:
        return re.sub(r"\\[a-zA-Z]+|[{}\\]", "", text) or "?"

    def is_name(self, text: str) -> bool:
        return re.fullmatch(r"(\\?[A-Za-z]+|\\mathrm\{[^{}]*\})(_\{\d+\})?", text) is not None

    def transpose(self, text: str) -> str:
        return f"{text}^\\top"

    def inverse(self, text: str, transposed: bool) -> str:
        exponent = r"\top" if transposed else "1"
        return f"{text}^{{-{exponent}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{{{base}}}^{{{exponent}}}"

    def root(self, text: str) -> str:
        return f"\\sqrt{{{text}}}"

    def norm(self, text: str) -> str:
        return f"\\left\\lVert {text} \\right\\rVert"

    def call(self, name: str, arguments: list[str]) -> str:
        return f"\\operatorname{{{_escaped_text(name)}}}({', '.join(arguments)})"

    def filled(self, text: str, latex: str, operands: list[str]) -> str:
        if latex:
            return latex.format(*operands)
        # A template without a LaTeX form of its own is a call by a plain name.
        return self.call(text.partition("(")[0], operands)

    def brackets(self, text: str) -> str:
        return f"\\left({text}\\right)"

    def indicator(self, condition: str) -> str:
        return f"\\mathbf{{1}}[{condition}]"

    def total(self, axes: list[str]) -> str:
        return f"\\sum_{{{', '.join(map(self.name, axes))}}}" if axes else r"\sum"

    def fraction(self, top: str, bottom: str) -> str:
        return f"\\frac{{{top}}}{{{bottom}}}"

    def partial(self, of: str, wrt: list[str]) -> str:
        d = r"\partial"
        order = len(wrt)
        head = d if order == 1 else f"{d}^{{{order}}}"
        below = [f"{d} {x}" for x in wrt]
        if order > 1 and len(set(wrt)) == 1:
            below = [f"{d} {wrt[0]}^{{{order}}}"]
        return self.fraction(f"{head} {of}", " ".join(below))


class MathMl(Style):
    """Presentation MathML, of the core that browsers draw."""

    plus = "<mo>+</mo>"
    minus = "<mo>−</mo>"
    times = "<mo>⊙</mo>"
    dot = "<mo>·</mo>"
    kron = "<mo>⊗</mo>"
    equals = "<mo>=</mo>"
    comma = "<mo>,</mo>"
    increased = "<mo>+=</mo>"
    stacked = True

    def name(self, name: str) -> str:
        letters, digits = split_name(name)
        text = f"<mi>{escape(letters)}</mi>"
        return f"<msub>{text}<mn>{digits}</mn></msub>" if digits else text

    def number(self, value: bool | int | float) -> str:
        mantissa, exponent = shortest(value)
        text = f"<mn>{mantissa.replace('-', '−').replace('inf', '∞')}</mn>"
        if not exponent:
            return text
        power = self.power("<mn>10</mn>", f"<mn>{exponent.replace('-', '−')}</mn>")
        return power if mantissa == "1" else f"{text}{self.dot}{power}"

    def literal(self, text: str) -> str:
        return f"<mtext>{escape(text)}</mtext>"

    def plain(self, text: str) -> str:
        return re.sub(r"<[^>]*>", "", text) or "?"

    def is_name(self, text: str) -> bool:
        return re.fullmatch(r"(<msub>)?<mi>[^<]*</mi>(<mn>\d+</mn></msub>)?", text) is not None

    def infix(self, left: str, sign: str, right: str) -> str:
        return f"{left}{sign}{right}"

    def spaced(self, sign: str, text: str) -> str:
        return f"{sign}{text}"

    def beside(self, left: str, right: str) -> str:
        return f"{left}<mo>\N{INVISIBLE TIMES}</mo>{right}"

    def transpose(self, text: str) -> str:
        return f"<msup><mrow>{text}</mrow><mo>⊤</mo></msup>"

    def inverse(self, text: str, transposed: bool) -> str:
        exponent = "<mo>⊤</mo>" if transposed else "<mn>1</mn>"
        return f"<msup><mrow>{text}</mrow><mrow><mo>−</mo>{exponent}</mrow></msup>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup><mrow>{base}</mrow><mrow>{exponent}</mrow></msup>"

    def root(self, text: str) -> str:
        return f"<msqrt>{text}</msqrt>"

    def norm(self, text: str) -> str:
        return f"<mrow><mo>‖</mo>{text}<mo>‖</mo></mrow>"

    def call(self, name: str, arguments: list[str]) -> str:
        inner = "<mo>,</mo>".join(arguments)
        return f"<mi>{escape(name)}</mi><mo>\N{FUNCTION APPLICATION}</mo>{self.brackets(inner)}"

    def filled(self, text: str, latex: str, operands: list[str]) -> str:
        pieces = re.split(r"(\{\d\})", text)
        return "".join(
            operands[int(piece[1])] if re.fullmatch(r"\{\d\}", piece) else _marked_up(piece)
            for piece in pieces
        )

    def index(self, text: str, keys: list[str]) -> str:
        return f"<mrow>{text}<mo>[</mo>{'<mo>,</mo>'.join(keys)}<mo>]</mo></mrow>"

    def brackets(self, text: str) -> str:
        return f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"

    def indicator(self, condition: str) -> str:
        return f"<mrow><mn>1</mn><mo>[</mo>{condition}<mo>]</mo></mrow>"

    def total(self, axes: list[str]) -> str:
        if not axes:
            return "<mo>∑</mo>"
        below = "<mo>,</mo>".join(map(self.name, axes))
        return f"<munder><mo>∑</mo><mrow>{below}</mrow></munder>"

    def fraction(self, top: str, bottom: str) -> str:
        return f"<mfrac><mrow>{top}</mrow><mrow>{bottom}</mrow></mfrac>"

    def partial(self, of: str, wrt: list[str]) -> str:
        return self.fraction(*self._partials("<mo>∂</mo>", of, wrt))


def shortest(value: bool | int | float) -> tuple[str, str]:
    """Return a number's shortest digits, and its power of ten where those are written apart."""
    if isinstance(value, bool):
        return str(value), ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    mantissa, _, exponent = repr(value).partition("e")
    return mantissa, str(int(exponent)) if exponent else ""


def _marked_up(text: str) -> str:
    """Return the fixed part of a template as MathML: words are names, the rest operators."""
    tokens = re.findall(r"\d+|\w+|[^\w\s]", text)
    kinds = ("mn" if t.isdigit() else "mi" if t.isalnum() else "mo" for t in tokens)
    return "".join(f"<{k}>{escape(t)}</{k}>" for k, t in zip(kinds, tokens, strict=True))


def _escaped(c: str) -> str:
    if c in _LATEX_OF:
        return f"\\text{{${_LATEX_OF[c]}$}}"
    return _escaped_text(c)


def _escaped_text(text: str) -> str:
    return re.sub(r"([#$%&_{}])", r"\\\1", text).replace("^", r"\hat{}").replace("~", r"\sim ")


UNICODE = Style()
LATEX = Latex()
MATHML = MathMl()
