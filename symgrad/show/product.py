"""How products and quotients are put together: numbers first and multiplied, powers gathered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from symgrad.show.part import HADAMARD, POWER, PRODUCT, QUOTIENT, Factor, Part

if TYPE_CHECKING:
    from symgrad.show.writer import Writer

_SHORT = 6
"""Numbers of more letters are not multiplied for print."""


def juxtaposed(w: Writer, operands: list[tuple[int, Part]]) -> Part:
    """Return a product of numbers and a value: numbers first, then sizes, scalars, tensors."""
    fractions = [(rank, part) for rank, part in operands if part.quotient is not None]
    if len(fractions) == 1:
        # a (b / c) is (a b) / c, which is how one writes it.
        [(_, fraction)] = fractions
        assert fraction.quotient is not None
        top, bottom = fraction.quotient
        inner = [(r, top if part is fraction else part) for r, part in operands]
        return quotient(w, juxtaposed(w, inner), bottom)
    operands = _numbers_first(w, operands)
    if len(operands) == 1:
        return operands[0][1]
    factors: list[Factor] = []
    strength = PRODUCT
    for rank, part in operands:
        if part.factors:
            factors += part.factors
        elif part.strength == HADAMARD and all(r < rank for r, p in operands if p is not part):
            strength = HADAMARD
            factors.append(Factor(9, part.text, open=part.open))
        else:
            # A factor in brackets comes after the plain ones of its kind.
            kind = 2 * rank + (part.strength < PRODUCT)
            plain = part.strength >= PRODUCT
            is_name = plain and w.style.is_name(part.text)
            factors.append(Factor(kind, w.fit(part, PRODUCT), is_name, plain and part.open))
    factors = _gathered(w, sorted(factors, key=lambda factor: factor.kind))
    text = w.style.product([_text(w, f, f is factors[-1]) for f in factors])
    numbers = [part.number for _, part in operands if part.number is not None]
    found = Part(text, strength, open=factors[-1].open)
    if strength != PRODUCT:
        return found
    first = numbers[0] if len(numbers) == 1 and factors[0].kind == 0 else None
    return replace(found, factors=tuple(factors), coefficient=first)


def _text(w: Writer, factor: Factor, last: bool) -> str:
    return w.style.brackets(factor.text) if factor.open and not last else factor.text


def _numbers_first(w: Writer, operands: list[tuple[int, Part]]) -> list[tuple[int, Part]]:
    """Return factors with the numbers among them multiplied, where that is exact and short."""
    found: list[tuple[int, Part]] = []
    numbers: list[float] = []
    for rank, part in operands:
        number, rest = number_and_rest(w, part)
        if number is not None:
            numbers.append(number)
        if rest is not None:
            found.append((rank, rest))
    total = math.prod(numbers)
    if len(numbers) > 1 and len(repr(total)) > _SHORT:
        return operands
    if numbers and (total != 1 or not found):
        found.insert(0, (0, w.number(total)))
    return found


def number_and_rest(w: Writer, part: Part) -> tuple[float | None, Part | None]:
    """Return the number that a product starts with, if it does, and what it stands before."""
    if part.number is not None:
        return part.number, None
    if part.coefficient is None:
        return None, part
    rest = part.factors[1:]
    if not rest:
        return part.coefficient, None
    text = w.style.product([_text(w, f, f is rest[-1]) for f in rest])
    return part.coefficient, replace(part, text=text, factors=rest, coefficient=None)


def positive(inner: list[Part]) -> tuple[list[Part], bool]:
    """Return factors without minus signs, and whether their product has one.

    A difference among them takes it up: −2 (a − b) is 2 (b − a).
    """
    negative = sum(part.opposite is not None for part in inner) % 2 == 1
    found = [part.opposite or part for part in inner]
    for i, part in enumerate(found):
        if negative and part.turned is not None:
            found[i], negative = part.turned, False
    return found, negative


def sign_in_front(w: Writer, inner: list[Part], write: Callable[[list[Part]], Part]) -> Part | None:
    """Return what ``write`` makes of factors without their minus signs, with one in front.

    None if there are no signs.
    """
    if not any(part.opposite for part in inner):
        return None
    factors, negative = positive(inner)
    found = write(factors)
    return w.negated(found) if negative else found


def _gathered(w: Writer, factors: list[Factor]) -> list[Factor]:
    """Return factors with a name that occurs several times written once, as a power."""
    counts = Counter(factor.text for factor in factors if factor.is_name)
    found: dict[object, Factor] = {}
    for i, factor in enumerate(factors):
        count = counts[factor.text] if factor.is_name else 1
        if count == 1:
            found[i] = factor
        elif factor.text not in found:
            power = w.style.power(factor.text, w.style.number(count))
            found[factor.text] = Factor(factor.kind, power)
    return list(found.values())


def quotient(w: Writer, top: Part, bottom: Part) -> Part:
    """Return a fraction."""
    if w.style.stacked:
        text = w.style.fraction(top.text, bottom.text)
        return Part(text, PRODUCT, quotient=(top, bottom))
    # Dividing a sum by a number is dividing its terms; by an array it is not.
    swallowed = top.open and bottom.shape != ()
    bracketed = top.strength == HADAMARD or swallowed
    over = w.style.brackets(top.text) if bracketed else w.fit(top, QUOTIENT)
    text = w.style.fraction(over, w.fit(bottom, POWER))
    return Part(text, QUOTIENT, quotient=(top, bottom))
