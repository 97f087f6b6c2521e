"""Where a node was written: the user's file and line, and the name it was assigned to."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from symgrad.ir.node import Node

_SKIPPED = (str(Path(__file__).parents[1]) + os.sep, str(Path(np.__file__).parent) + os.sep)
_UNKNOWN = (0, 0, 0, 0)

Span = tuple[int, int, int, int]
"""First line, last line, first column, column after the last, as Python's own positions."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """The user's file and line where an expression was written.

    ``gradient_of`` is set on the nodes that ``build_grad`` inserts: the forward node whose
    gradient they help to form. ``span`` locates the expression inside its statement.
    """

    file: str
    line: int
    gradient_of: Node | None = None
    code: CodeType | None = field(default=None, repr=False)
    instruction: int = 0
    _span: Span | None = field(default=None, repr=False)

    @property
    def span(self) -> Span:
        """The exact source range of the expression, all zeros when Python does not know it."""
        if self._span is not None:
            return self._span
        if self.code is None:
            return _UNKNOWN
        return _spans(self.code)[self.instruction // 2]

    @property
    def text(self) -> str:
        """The source line, stripped; empty when the source is not to be had."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def variable(self) -> str | None:
        """The Python variable this very expression is assigned to, when there is one."""
        lines = linecache.getlines(self.file)
        # A cell may be edited and run again under the same name: the text is part of the key.
        return _assignments(self.file, len(lines), hash("".join(lines))).get(self.span)

    @property
    def place(self) -> str:
        """``file.py:12``, with the file's last name only."""
        return f"{os.path.basename(self.file)}:{self.line}"  # noqa: PTH119  thousands of times

    def backward(self, gradient_of: Node) -> Origin:
        """Return this place, as the place of a node that helps to form a gradient."""
        return Origin(self.file, self.line, gradient_of, self.code, self.instruction, self._span)

    def __str__(self) -> str:
        return f"{self.place}   {self.text}".rstrip()

    def __reduce__(self) -> tuple[type[Origin], tuple[object, ...]]:
        # A code object cannot be pickled; its span can. ``gradient_of`` would drag in nodes.
        return Origin, (self.file, self.line, None, None, 0, self.span)


@lru_cache(maxsize=1024)
def _spans(code: CodeType) -> list[Span]:
    return [
        (first or 0, last or 0, start or 0, end or 0)
        for first, last, start, end in code.co_positions()
    ]


@lru_cache(maxsize=256)
def _assignments(file: str, _lines: int, _text: int) -> dict[Span, str]:
    """Return source range of the assigned expression -> variable, for each ``name = ...``."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return {}
    found: dict[Span, str] = {}
    for statement in ast.walk(tree):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                pass
            case _:
                continue
        found[_span_of(value)] = name
    return found


def _span_of(value: ast.expr) -> Span:
    first, last = value.lineno, value.end_lineno or value.lineno
    return (first, last, value.col_offset, value.end_col_offset or value.col_offset)


_forced: ContextVar[Origin | None] = ContextVar("symgrad_origin", default=None)


@contextmanager
def using(origin: Origin) -> Iterator[None]:
    """Give every node made inside the block this origin."""
    token = _forced.set(origin)
    try:
        yield
    finally:
        _forced.reset(token)


@contextmanager
def following() -> Iterator[Callable[[Origin], object]]:
    """Yield a function that sets the origin of nodes made from then on, inside the block."""
    token = _forced.set(_forced.get())
    try:
        yield _forced.set
    finally:
        _forced.reset(token)


def here() -> Origin:
    """Return the origin in force, else the place of the first caller outside symgrad and NumPy."""
    forced = _forced.get()
    if forced is not None:
        return forced
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back
    code = frame.f_code
    return Origin(code.co_filename, frame.f_lineno, None, code, frame.f_lasti)
