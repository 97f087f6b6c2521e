"""Loop fission: functions of functions are computed in loops after one another, strip by strip.

A processor looks a few hundred instructions ahead. A chain of elementary functions, each of the one
before, is longer than that, so that it waits for the chain's end where it could have begun with the
next elements. In a loop of its own, a link takes no longer than its instructions do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from symgrad.ir.types import DType
from symgrad.lower.scalars import FUNCTION_CALL
from symgrad.lower.statement import NAME, Statement

_FEW = 3
"""Fewer functions are short enough to stay together."""
_MOST = 4
"""At most so many loops: each is compiled apart."""
_LONGEST = 32
"""A longer chain would still be too long when cut in so many."""


def function_called(statement: Statement) -> str:
    """Return the elementary function of float64 that makes a statement's value, or nothing.

    In float32, a strip is so few vectors that its loop costs what it gains.
    """
    found = FUNCTION_CALL.search(statement.text) if statement.target else None
    return found[1] if found and found[2] == "64" else ""


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
    again if it is a sum or a product of what is in memory.

    Args:
        statements: The body of a loop, for which `can_be_cut` is true.
        step: The variable that counts the elements of a strip.
        array: Makes an array of a strip's elements, given what it is best called and its dtype.
    """
    chain = links(statements)
    depth = max(chain.values())
    together = -(-depth // _MOST)
    last = (depth - 1) // together
    home, readers = _homes(statements, chain, last, together)
    bodies: list[list[Statement]] = [[] for _ in range(last + 1)]
    for statement in statements:
        loop = home[id(statement)]
        bodies[loop].append(statement)
        later = {reader for reader in readers.get(statement.target, ()) if reader > loop}
        if not later:
            continue
        again = statement.text
        if _operands(statement, chain) or re.search(r"[(/]", again):
            assert statement.dtype is not None
            kept = array(function_called(statement) or "strip", statement.dtype)
            again = f"{kept}[{step}]"
            bodies[loop].append(Statement(statement.target, again))
        for reader in later:
            bodies[reader].append(Statement(again, statement.target))
    return bodies


def _homes(
    statements: Sequence[Statement], chain: Mapping[str, int], last: int, together: int
) -> tuple[dict[int, int], dict[str, set[int]]]:
    """Return the loop of each statement, by its identity, and the loops that read each variable."""
    first = dict.fromkeys(chain, last)
    readers: dict[str, set[int]] = {name: set() for name in chain}
    home: dict[int, int] = {}

    def put(statement: Statement, loop: int) -> None:
        home[id(statement)] = loop
        for name in _operands(statement, chain):
            first[name] = min(first[name], loop)
            readers[name].add(loop)

    for statement in reversed(statements):
        if function_called(statement):
            link = chain[statement.target] - 1
            put(statement, min(first[statement.target], link // together))
        elif not _is_flag(statement):
            put(statement, first.get(statement.target, last))
    for statement in filter(_is_flag, statements):
        put(statement, max((first[name] for name in _operands(statement, chain)), default=0))
    return home, readers


def can_be_cut(statements: Sequence[Statement]) -> bool:
    """Return whether the body of a loop is long, and has no conditions in it."""
    if sum(1 for statement in statements if function_called(statement)) < _FEW:
        return False
    if any(s.is_in_block or (s.target and s.dtype is None) for s in statements):
        return False
    return 1 < max(links(statements).values()) <= _LONGEST


def _is_flag(statement: Statement) -> bool:
    """Return whether a statement notes that the nest is to be run again: it may stand anywhere."""
    return not statement.target and " |= " in statement.text


def _operands(statement: Statement, made: Collection[str]) -> set[str]:
    return {name for name in NAME.findall(statement.text) if name in made}
