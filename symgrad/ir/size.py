"""Symbolic sizes: integer polynomials in named sizes, such as ``n - 1`` or ``2*n``.

A dimension is an ``int`` when it is known and a `Size` when it is not; arithmetic returns
whichever fits. Sizes compare by value: ``n + 1 == 1 + n``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from symgrad.errors import ShapeError, SymbolicError

Monomial = tuple[object, ...]
"""Atoms in a product, in a fixed order; a square is an atom twice."""


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """``numerator // divisor`` as an opaque factor, with a positive known divisor."""

    numerator: Size
    divisor: int

    def __str__(self) -> str:
        return f"(({self.numerator}) // {self.divisor})"


class Size:
    """A polynomial with integer coefficients over named sizes; never a constant."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int]):
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(
            sorted(terms.items(), key=lambda term: (-len(term[0]), tuple(map(str, term[0]))))
        )
        self._hash = hash(self.terms)

    @classmethod
    def named(cls, name: str) -> Size:
        """Return the size called ``name``."""
        return cls({(name,): 1})

    @property
    def names(self) -> frozenset[str]:
        """The named sizes this one is made of."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                found |= atom.numerator.names if isinstance(atom, FloorDiv) else {str(atom)}
        return frozenset(found)

    @property
    def degree(self) -> int:
        """The degree of the polynomial: how fast it grows with the named sizes."""
        return max(len(monomial) for monomial, _ in self.terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, int | Size):
            return NotImplemented
        return add(self, other)

    def __sub__(self, other: Dim) -> Dim:
        if not isinstance(other, int | Size):
            return NotImplemented
        return add(self, multiply(other, -1))

    def __rsub__(self, other: Dim) -> Dim:
        return add(other, multiply(self, -1))

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, int | Size):
            return NotImplemented
        return multiply(self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Dim:
        return multiply(self, -1)

    def __floordiv__(self, other: int) -> Dim:
        return floordiv(self, other)

    def _no_value(self, wanted: str) -> NoReturn:
        raise SymbolicError(
            f"the size {self} has no value before a call, so it cannot be used {wanted}\n"
            "  fix: divide or multiply a tensor by it (np.sum(x) / x.shape[0]), "
            "or declare the size as an integer"
        )

    def __int__(self) -> int:
        self._no_value("as an integer")

    def __index__(self) -> int:
        self._no_value("as an integer")

    def __float__(self) -> float:
        self._no_value("as a number")

    def __bool__(self) -> bool:
        self._no_value("as a condition")

    def __truediv__(self, other: object) -> Dim:
        if isinstance(other, int | float | Size):
            self._no_value("in a division of plain numbers")
        return NotImplemented

    __rtruediv__ = __truediv__

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            sign = " - " if coefficient < 0 else " + "
            factors = [str(atom) for atom in monomial]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            text += sign + "*".join(factors)
        return text.removeprefix(" + ") if text.startswith(" + ") else "-" + text[3:]

    def __repr__(self) -> str:
        return f"Size({self})"

    def __reduce__(self) -> tuple[type[Size], tuple[dict[Monomial, int]]]:
        return Size, (dict(self.terms),)

    def value(self, sizes: Mapping[str, int]) -> int:
        """Return the integer this size is when the named sizes have these values."""
        total = 0
        for monomial, coefficient in self.terms:
            product = coefficient
            for atom in monomial:
                if isinstance(atom, FloorDiv):
                    product *= atom.numerator.value(sizes) // atom.divisor
                else:
                    product *= sizes[str(atom)]
            total += product
        return total


Dim = int | Size
Shape = tuple[Dim, ...]


def _terms(dim: Dim) -> dict[Monomial, int]:
    if isinstance(dim, Size):
        return dict(dim.terms)
    return {(): dim} if dim else {}


def _dim(terms: dict[Monomial, int]) -> Dim:
    kept = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
    if not kept.keys() - {()}:
        return kept.get((), 0)
    return Size(kept)


def add(a: Dim, b: Dim) -> Dim:
    """Return ``a + b``."""
    terms = _terms(a)
    for monomial, coefficient in _terms(b).items():
        terms[monomial] = terms.get(monomial, 0) + coefficient
    return _dim(terms)


def multiply(a: Dim, b: Dim) -> Dim:
    """Return ``a * b``."""
    terms: dict[Monomial, int] = {}
    for left, c in _terms(a).items():
        for right, d in _terms(b).items():
            monomial = tuple(sorted(left + right, key=str))
            terms[monomial] = terms.get(monomial, 0) + c * d
    return _dim(terms)


def floordiv(a: Dim, divisor: int) -> Dim:
    """Return ``a // divisor``: exact where every coefficient divides, else a symbol of its own."""
    if divisor <= 0:
        raise ShapeError(f"a size can be divided by a positive integer only, not by {divisor}")
    if isinstance(a, int):
        return a // divisor
    if all(coefficient % divisor == 0 for _, coefficient in a.terms):
        return Size({monomial: coefficient // divisor for monomial, coefficient in a.terms})
    return Size({(FloorDiv(a, divisor),): 1})


def divide(a: Dim, b: Dim) -> Dim | None:
    """Return ``a / b`` when ``b`` is a single term that divides ``a`` exactly, else None."""
    divisor = _terms(b)
    if len(divisor) != 1:
        return 1 if a == b else None
    [(factors, scale)] = divisor.items()
    quotient: dict[Monomial, int] = {}
    for monomial, coefficient in _terms(a).items():
        left = list(monomial)
        for atom in factors:
            if atom not in left:
                return None
            left.remove(atom)
        if coefficient % scale:
            return None
        quotient[tuple(left)] = coefficient // scale
    return _dim(quotient)


def product(dims: Iterable[Dim]) -> Dim:
    """Return the product: the number of elements of a shape."""
    total: Dim = 1
    for dim in dims:
        total = multiply(total, dim)
    return total


def evaluate(value: object, sizes: Mapping[str, int]) -> object:
    """Return ``value`` with every `Size` in it replaced by its integer; tuples are entered."""
    if isinstance(value, Size):
        return value.value(sizes)
    if isinstance(value, tuple):
        return tuple(evaluate(item, sizes) for item in value)
    return value


def evaluator(value: tuple[object, ...]) -> Callable[[Mapping[str, int]], Any]:
    """Return what `evaluate` does to a tuple of sizes and tuples, compiled: many times as fast."""
    names = sorted(names_in(value))
    short = {name: f"s{i}" for i, name in enumerate(names)}

    def code(item: object) -> str:
        if isinstance(item, tuple):
            return f"({''.join(f'{code(inner)}, ' for inner in item)})"
        return renamed(str(item), short) if isinstance(item, Size) else repr(item)

    compiled = eval(f"lambda {', '.join(short.values())}: {code(value)}")
    return lambda sizes: compiled(*[sizes[name] for name in names])


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return ``text`` with all words replaced at once, so that no replacement is replaced."""
    return re.sub(r"[^\W\d]\w*", lambda match: names.get(match[0], match[0]), text)


def names_in(value: object) -> frozenset[str]:
    """Return the named sizes that occur in ``value``; tuples are entered."""
    if isinstance(value, Size):
        return value.names
    if isinstance(value, tuple):
        return frozenset().union(*map(names_in, value))
    return frozenset()


def grows_faster(a: Dim, b: Dim) -> bool:
    """Return whether ``a`` exceeds ``b`` once the named sizes are large, as far as one can tell."""
    difference = add(a, multiply(b, -1))
    if isinstance(difference, int):
        return difference > 0
    top = difference.degree
    leading = [coefficient for monomial, coefficient in difference.terms if len(monomial) == top]
    return all(coefficient > 0 for coefficient in leading)


def shape_text(shape: Iterable[Dim], word: Callable[[Dim], str] = str) -> str:
    """Return ``n, 64`` for a shape."""
    return ", ".join(word(dim) for dim in shape)
