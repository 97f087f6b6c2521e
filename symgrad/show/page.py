"""The report: one HTML file that opens from disk, with nothing from anywhere else.

What comes from a line of the model carries ``data-at``: pointing at one lights all the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from symgrad.ir.graph import Graph
from symgrad.show.derivation import Facts, html_derivation
from symgrad.show.formula import LINES, LetForm
from symgrad.show.notation import MATHML
from symgrad.show.picture import svg

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #16181d; --soft: #5b6270;
  --line: #d9dce2; --panel: #f5f6f8; --lit: #fff0b3; --mark: #b5562b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14161a; --ink: #e8eaee; --soft: #a2a9b6; --line: #333842; --panel: #1d2026;
    --lit: #4d4316; --mark: #f0a27a; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
header, main { max-width: 92rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 0 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { margin: .3rem 0; }
header p, .soft, section > p { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
a { color: var(--mark); }
main { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.5rem;
  padding-top: 1rem; padding-bottom: 3rem; }
main > section { min-width: 0; scroll-margin-top: 1rem; }
.scroll { overflow-x: auto; overflow-y: hidden; }
#source { background: var(--panel); border-radius: 8px; padding: .8rem; }
@media (min-width: 70rem) {
  main { grid-template-columns: minmax(20rem, 34rem) minmax(0, 1fr); }
  #source { grid-column: 1; grid-row: 1 / span 20; position: sticky; top: 1rem; align-self: start;
    max-height: calc(100vh - 2rem); overflow: auto; }
  main > section:not(#source) { grid-column: 2; }
}
pre { margin: 0; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
pre span { display: block; padding: 0 .4rem; min-height: 1.5em; }
pre .number { display: inline-block; width: 2.6em; padding: 0 .8em 0 0; text-align: right;
  color: var(--soft); user-select: none; }
table { border-collapse: collapse; font-size: .93rem; }
th, td { text-align: left; padding: .18rem .9rem .18rem 0; vertical-align: baseline; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); }
td.amount { font-variant-numeric: tabular-nums; font-family: ui-monospace, monospace; }
[data-at] { transition: background-color .08s; }
pre [data-at], tr[data-at] { cursor: default; }
[data-at]:focus-visible { outline: 2px solid var(--mark); outline-offset: 1px; }
.lit { background: var(--lit); }
g.lit rect { stroke: var(--mark); stroke-width: 3.2; }
math { font-size: 1.08em; }
svg.symgrad-graph { max-width: none; height: auto; }
@media print { #source { position: static; max-height: none; } }
"""

_SCRIPT = """
"use strict";
const all = [...document.querySelectorAll("[data-at]")];
const places = new Map(all.map(e => [e, e.dataset.at.split("|")]));
let pinned = null;
function light(element) {
  const wanted = element ? new Set(places.get(element)) : new Set();
  for (const [e, at] of places) e.classList.toggle("lit", at.some(p => wanted.has(p)));
}
function holder(event) { return event.target.closest("[data-at]"); }
document.addEventListener("pointerover", e => { if (!pinned) light(holder(e)); });
document.addEventListener("focusin", e => { if (!pinned) light(holder(e)); });
document.addEventListener("click", e => {
  const element = holder(e);
  pinned = element && element !== pinned ? element : null;
  light(pinned || element);
});
document.addEventListener("keydown", e => {
  const element = document.activeElement.closest("[data-at]");
  if (e.key === "Escape") { pinned = null; light(null); }
  if (e.key === "Enter" && element) {
    pinned = element === pinned ? null : element;
    light(element);
  }
  if ((e.key === "ArrowDown" || e.key === "ArrowUp") && element && element.closest("#source")) {
    const lines = [...document.querySelectorAll("#source [data-at]")];
    const next = lines[lines.indexOf(element) + (e.key === "ArrowDown" ? 1 : -1)];
    if (next) { next.focus(); e.preventDefault(); }
  }
});
"""


def page(
    title: str,
    words: str,
    model_source: str,
    file: str,
    graph: Graph,
    formulas: Graph,
    derivation: Facts,
    facts: Mapping[str, Any],
    generated: str,
) -> str:
    """Return the report as an HTML document.

    Args:
        title: Its title.
        words: What it is about, in one sentence.
        model_source: The text of the model's file.
        file: The file's last name.
        graph: The loss and its gradients, optimised.
        formulas: The gradients alone, optimised.
        derivation: How they were formed.
        facts: Passes, kernels, numerics, costs and memory.
        generated: The source of the module.
    """
    used = _places(graph)
    sections = [
        ("source", "Model", _source(model_source, file, used)),
        ("formulas", "Gradients", _formulas(formulas)),
        ("graph", "Graph", _graph(graph)),
        (
            "derivation",
            "Derivation",
            _scrolled(html_derivation(derivation, LINES)),
        ),
        ("passes", "Passes", _passes(facts["passes"])),
        ("numerics", "Numerics", _numerics(facts["numerics"])),
        ("cost", "Cost", "".join(_cost(facts))),
        ("code", "Generated source", _generated(generated, file)),
    ]
    links = "".join(f'<a href="#{key}">{escape(name)}</a>' for key, name, _ in sections)
    body = "\n".join(
        f'<section id="{key}" aria-label="{escape(name)}"><h2>{escape(name)}</h2>\n{text}</section>'
        for key, name, text in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>\n<p>{escape(words)}</p>\n"
        "<p>Point at a line, a formula, a box or a kernel: what comes from the same line of the "
        "model lights up. A click or Enter keeps it; Escape lets go.</p>\n"
        f"<nav>{links}</nav></header>\n<main>\n{body}\n</main>\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _scrolled(text: str) -> str:
    return f'<div class="scroll">{text}</div>'


def _at(places: Sequence[str]) -> str:
    return f' data-at="{escape("|".join(places))}"' if places else ""


def _places(graph: Graph) -> set[str]:
    return {node.origin.place for node in graph.nodes}


def _source(text: str, file: str, used: set[str]) -> str:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        place = f"{file}:{number}"
        at = f'{_at([place])} tabindex="0"' if place in used else ""
        rows.append(f'<span{at}><span class="number">{number}</span>{escape(line)}</span>')
    return _scrolled(f"<pre>{''.join(rows)}</pre>")


def _formulas(graph: Graph) -> str:
    found = LetForm(graph, MATHML).write()
    lines = [*found.answers, *found.lets[:LINES]]
    rows = []
    for i, line in enumerate(lines):
        lead = "where" if i == len(found.answers) else ""
        rows.append(
            f'<tr{_at([line.node.origin.place])} tabindex="0">'
            f'<td class="soft">{lead}</td><td>{_math(line.name)}</td>'
            f"<td>{'=' if line.name else ''}</td><td>{_math(line.text)}</td></tr>"
        )
    hidden = len(found.lets) - LINES
    more = f"<p>{hidden} more definitions are left out.</p>" if hidden > 0 else ""
    return _scrolled(f"<table>{''.join(rows)}</table>") + more


def _math(text: str) -> str:
    return f'<math displaystyle="true"><mrow>{text}</mrow></math>' if text else ""


def _graph(graph: Graph) -> str:
    return (
        "<p>Inputs are grey, parameters yellow, forward values blue, gradients orange; results "
        f"have a thick border.</p>\n{_scrolled(svg(graph))}"
    )


def _passes(passes: Mapping[str, Any]) -> str:
    rows = [
        f"<tr{_at(_lines(entry['at']))}><td>{escape(entry['pass'])}</td>"
        f'<td>{escape(entry["action"])}</td><td class="amount">{entry["count"]}</td>'
        f'<td class="amount">{escape(entry["flops"])}</td>'
        f"<td>{escape(', '.join(entry['at']))}</td></tr>"
        for entry in passes["ledger"]
    ]
    return (
        f"<p>{passes['nodes_before']} nodes become {passes['nodes_after']}.</p>\n"
        '<div class="scroll"><table><thead><tr><th>Pass</th><th>What it did</th><th>Times</th>'
        "<th>Operations</th><th>Where</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _lines(places: Sequence[str]) -> list[str]:
    """Return the lines of places, some of which name two."""
    return [line for place in places for line in place.split(" with ")]


def _numerics(numerics: Mapping[str, Any]) -> str:
    parts = []
    for title, key in (("Stable forms", "stable"), ("To watch", "doubtful")):
        if numerics[key]:
            items = "".join(f"<li>{escape(text)}</li>" for text in numerics[key])
            parts.append(f"<h3>{title}</h3><ul>{items}</ul>")
    return "".join(parts) or "<p>Nothing to say.</p>"


def _cost(facts: Mapping[str, Any]) -> Iterator[str]:
    cost, memory = facts["cost"], facts["memory"]
    ratio = cost.get("gradient_to_loss")
    times = f" ({ratio} times the loss)" if ratio is not None else ""
    yield _amounts(
        ("Floating-point operations", ""),
        [
            ("the loss", cost["flops_loss"]),
            ("with its gradients, as written", cost["flops_as_written"]),
            ("the same after the passes", f"{cost['flops_after_passes']}{times}"),
        ],
    )
    yield _amounts(
        ("Bytes read and written", ""),
        [
            ("node by node", cost["bytes_node_by_node"]),
            ("in these kernels", cost["bytes_in_kernels"]),
        ],
    )
    names = ("arguments", "temporaries", "results", "peak")
    yield _amounts(("Memory, in bytes", ""), [(name, memory[name]) for name in names])
    yield _amounts(
        ("Kernel", "Operations", "Bytes"),
        [(k["step"], k["flops"], k["bytes"]) for k in facts["kernels"]],
    )


def _amounts(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(
        f"<tr><td>{escape(first)}</td>"
        + "".join(f'<td class="amount">{escape(text)}</td>' for text in others)
        + "</tr>"
        for first, *others in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'
        "</div><p></p>\n"
    )


def _generated(text: str, file: str) -> str:
    """Return the module's source; what is below a comment with a line of the model is its.

    That goes on to the next such comment, or to the end of the function.
    """
    rows: list[str] = []
    places: list[str] = []
    comments = False
    for line in text.splitlines():
        found = re.match(r"\s*# (\S+:\d+)  ", line)
        if found and found[1].startswith(f"{file}:"):
            places = [*places, found[1]] if comments else [found[1]]
            comments = True
        else:
            comments = False
            if line and not line.startswith(" "):
                places = []
        rows.append(f"<span{_at(places if line else [])}>{escape(line)}</span>")
    return _scrolled(f"<pre>{''.join(rows)}</pre>")
