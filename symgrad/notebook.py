"""What notebooks show of a compiled function: a summary that unfolds."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from symgrad.backends.lowered import lowered
from symgrad.description import kernel_facts, pass_facts
from symgrad.pretty import mathml

if TYPE_CHECKING:
    from symgrad.compile import Compiled

_LARGEST = 1500
"""Graphs of more nodes are shown without their formulas and kernels: a cell shall not hang."""


def compiled_html(function: Compiled) -> str:
    """Return a compiled function as HTML: its formulas, then what folds out."""
    head = f"<p><code>{escape(repr(function))}</code></p>"
    if len(function.graph) > _LARGEST:
        return f"<div>{head}</div>"
    source = lowered(function.graph)
    passes, kernels = pass_facts(function.original, function.graph), kernel_facts(source)
    parts = [
        head,
        mathml(function.original),
        _folded(
            f"Passes: {passes['nodes_before']} nodes become {passes['nodes_after']}",
            _table(
                ("Pass", "What it did", "Times", "Where"),
                [
                    (e["pass"], e["action"], e["count"], ", ".join(e["at"]))
                    for e in passes["ledger"]
                ],
            ),
        ),
        _folded(
            f"Kernels: {len(kernels)} steps",
            _table(
                ("Step", "Operations", "Bytes"),
                [(k["step"], k["flops"], k["bytes"]) for k in kernels],
            ),
        ),
        _folded("Source", f"<pre>{escape(function.source)}</pre>"),
    ]
    return f"<div>{''.join(parts)}</div>"


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{text}</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
