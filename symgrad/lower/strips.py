"""Loop fission: functions of functions are computed in loops after one another, strip by strip.

A processor looks a few hundred instructions ahead. A chain of elementary functions, each of the one
before, is longer than that, so that it waits for the chain's end where it could have begun with the
next elements. In a loop of its own, a link takes no longer than its instructions do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from symgrad.ir.types import DType
from symgrad.lower.statement import NAME, Statement
from symgrad.lower.vectormath import VECTOR

_FEW = 3
"""Fewer functions are short enough to stay together."""
_MOST = 4
"""At most so many loops: each is compiled apart."""
_LONGEST = 32
"""A longer chain would still be too long when cut in so many."""
_FUNCTION = re.compile(rf"\b(?:near_)?({'|'.join(sorted(VECTOR))})_f64\(")
"""In float32, a strip of `SHORT` elements is so few vectors that its loop costs what it gains."""


def function_called(statement: Statement) -> str:
    """Return the elementary function that a statement calls, or nothing."""
    found = _FUNCTION.search(statement.text)
    return found[1] if found else ""


def links(statements: Sequence[Statement]) -> dict[str, int]:
    """Return how many functions, each of the one before, lead to each variable."""
    found: dict[str, int] = {}
    for statement in statements:
        if statement.target:
            before = max((found.get(name, 0) for name in NAME.findall(statement.text)), default=0)
            found[statement.target] = before + bool(function_called(statement))
    return found


def cut(
    statements: Sequence[Statement], step: str, array: Callable[[str, DType], str]
) -> list[list[Statement]]:
    """Return the bodies of loops that do, one after another, what these statements do in one.

    Each function is in the loop of its link, or of a few links if there are many; what it needs is
    there or before, and all else in the last. Later loops find a value in an array, or compute it
    again if that takes no other.

    Args:
        statements: The body of a loop, for which `can_be_cut` is true.
        step: The variable that counts the elements of a strip.
        array: Makes an array of a strip's elements, given what it is best called and its dtype.
    """
    chain = links(statements)
    depth = max(chain.values())
    together = -(-depth // _MOST)
    last = (depth - 1) // together
    place = dict.fromkeys(chain, last)
    readers: dict[str, set[int]] = {name: set() for name in chain}
    for statement in reversed(statements):
        here = place.get(statement.target, last)
        if function_called(statement):
            here = min(here, (chain[statement.target] - 1) // together)
        if statement.target:
            place[statement.target] = here
        for name in _operands(statement, chain):
            place[name] = min(place[name], here)
            readers[name].add(here)
    bodies: list[list[Statement]] = [[] for _ in range(last + 1)]
    for statement in statements:
        here = place.get(statement.target, last)
        bodies[here].append(statement)
        later = {reader for reader in readers.get(statement.target, ()) if reader > here}
        if not later:
            continue
        again = statement.text
        if function_called(statement) or _operands(statement, chain):
            assert statement.dtype is not None
            kept = array(function_called(statement) or "strip", statement.dtype)
            again = f"{kept}[{step}]"
            bodies[here].append(Statement(statement.target, again))
        for reader in later:
            bodies[reader].append(Statement(again, statement.target))
    return bodies


def can_be_cut(statements: Sequence[Statement]) -> bool:
    """Return whether the body of a loop is long, and does nothing that others could not repeat."""
    functions = sum(1 for statement in statements if function_called(statement))
    return (
        functions >= _FEW
        and 1 < max(links(statements).values()) <= _LONGEST
        and all(
            statement.dtype is not None
            if statement.target
            else not (statement.text.endswith(":") or statement.text.startswith(" "))
            for statement in statements
        )
    )


def _operands(statement: Statement, made: Collection[str]) -> set[str]:
    return {name for name in NAME.findall(statement.text) if name in made}
