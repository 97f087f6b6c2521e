"""Statements of generated code, and how they read best: what is used once is written there."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import dataclass

from symgrad.ir.types import DType

NAME = re.compile(r"(?<![\w.])[a-z]\w*")
"""A variable in an expression."""
_WIDTH = 92
"""A statement that would be longer than this keeps its temporaries."""


@dataclass(slots=True)
class Statement:
    """``target = expression`` of a dtype, or any other line where ``target`` is empty."""

    text: str
    target: str = ""
    dtype: DType | None = None
    merged: bool = False

    @property
    def is_in_block(self) -> bool:
        """Whether it is the head of an indented block, or a line in one."""
        return self.text.endswith(":") or self.text.startswith(" ")

    @property
    def line(self) -> str:
        """The statement as source."""
        text = f"{self.target} = {self.text}" if self.target else self.text
        # Python's own printer leaves exactly the parentheses that are needed.
        return ast.unparse(ast.parse(text)) if self.merged else text


def merge(
    bodies: Collection[list[Statement]],
    temporaries: set[str],
    others: Collection[list[Statement]] = (),
) -> None:
    """Write each temporary that is used once into the statement beside it that uses it.

    Args:
        bodies: Lists of statements. They are changed.
        temporaries: The names that may vanish.
        others: Lists of other statements that may use them.
    """
    uses: dict[str, list[Statement]] = {}
    for statements in [*bodies, *others]:
        for statement in statements:
            for name in NAME.findall(statement.text):
                if name in temporaries:
                    uses.setdefault(name, []).append(statement)
    for statements in bodies:
        beside = {id(statement) for statement in statements}
        kept = []
        for statement in statements:
            users = uses.get(statement.target, [])
            if len(users) == 1 and id(users[0]) in beside and _absorb(users[0], statement):
                for name in NAME.findall(statement.text):
                    if name in temporaries:
                        uses[name] = [users[0] if x is statement else x for x in uses[name]]
            else:
                kept.append(statement)
        statements[:] = kept


def _absorb(user: Statement, statement: Statement) -> bool:
    """Write ``statement`` into ``user`` if the line stays short enough to read."""
    if user.is_in_block:
        return False
    target, inner = statement.target, f"({statement.text})"
    text = NAME.sub(lambda found: inner if found[0] == target else found[0], user.text)
    if len(text) + len(user.target) > _WIDTH:
        return False
    user.text = text
    user.merged = True
    return True
