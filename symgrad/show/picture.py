"""Pictures of graphs: layered SVG, DOT for Graphviz, Mermaid for Markdown.

A box is a value with its definition, forward and gradient values told apart. Constants, sizes and
views are written inside the definitions that use them. A graph of many values is drawn with one box
for each line of the model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from symgrad.ir.graph import Graph
from symgrad.ir.names import cotangents, value_names, variables
from symgrad.ir.node import Node
from symgrad.ir.walk import reachable
from symgrad.show.notation import UNICODE
from symgrad.show.part import QUOTIENT, Part
from symgrad.show.rules import SILENT
from symgrad.show.writer import Writer

MOST = 120
"""Graphs of more boxes are drawn line by line of the model."""
_TRANSPARENT = SILENT | {"transpose", "constant", "size", "cast"}
_LETTER, _LINE, _PAD, _GAP, _BETWEEN = 7.3, 17.0, 9.0, 26.0, 44.0
_WIDEST = 46


@dataclass(slots=True)
class Box:
    """One box of a picture.

    Attributes:
        key: What it is called in DOT and Mermaid.
        kind: "input", "parameter", "forward" or "gradient".
        lines: Its text: a definition, then its type.
        place: The line of the model that it comes from, as ``file.py:12``.
        inputs: The boxes that it reads.
        result: Whether it is an output of the graph.
    """

    key: str
    kind: str
    lines: list[str]
    place: str
    inputs: list[Box] = field(default_factory=list)
    result: bool = False


def boxes(graph: Graph, most: int = MOST) -> list[Box]:
    """Return the boxes of a picture, each after those that it reads, if there are no loops.

    Args:
        graph: Any graph.
        most: From more values than this on, there is one box for each line of the model.
    """
    named = _Names(graph)
    kept = [node for node in graph.nodes if node not in named.transparent]
    if len(kept) > most:
        return _by_line(graph, kept, named)
    found: dict[Node, Box] = {}
    for node in kept:
        lines = [_cut(named.definition(node)), str(node.type)]
        found[node] = Box(f"v{len(found)}", _kind(node), lines, node.origin.place)
        found[node].inputs = [found[x] for x in named.sources(node)]
    for node in graph.outputs:
        for x in [node] if node in found else named.seen_through(node):
            found[x].result = True
    return list(found.values())


class _Names:
    """What the values of a graph are called, and what defines each."""

    def __init__(self, graph: Graph):
        self.writer = Writer(UNICODE)
        self.transparent = {
            node
            for node in graph.nodes
            if node.op.name in _TRANSPARENT and node.attrs.get("dtype") != "bool"
        }
        names = value_names(graph)
        results = {d.of: names.get(d.of) or d.of.name for d in graph.derivatives if d}
        result = next((name for name in results.values() if name), "f")
        known = dict(variables(reachable([d.of for d in graph.derivatives if d])))
        for node, of in cotangents(graph).items():
            name = names.get(of) or (of.name if of.is_input else known.get(of))
            if name and node not in names:
                names[node] = f"∂{UNICODE.name(result)}/∂{UNICODE.name(name)}"
        self.definitions: dict[Node, str] = {}
        counts: dict[str, int] = defaultdict(int)
        taken = set(names.values())
        for node in graph.nodes:
            part = self.writer.part(node)
            self.definitions[node] = part.text
            if node not in self.transparent and not node.is_input:
                letter = "g" if node.origin.gradient_of else "u"
                name = names.get(node)
                while name is None:
                    counts[letter] += 1
                    candidate = f"{letter}{counts[letter]}"
                    name = None if candidate in taken else candidate
                shown = name if "/" in name else UNICODE.name(name)
                self.definitions[node] = f"{shown} = {part.text}"
                part = Part(shown, QUOTIENT) if "/" in name else Part(shown)
            self.writer.parts[node] = part

    def definition(self, node: Node) -> str:
        """Return ``name = what it is``; a declared tensor's name alone."""
        return self.definitions[node]

    def sources(self, node: Node) -> list[Node]:
        """Return the values that a box reads, seen through what is written inside it."""
        return [x for value in dict.fromkeys(node.inputs) for x in self.seen_through(value)]

    def seen_through(self, node: Node) -> list[Node]:
        """Return the values with a box that a value is a view of; itself if it has one."""
        found: dict[Node, None] = {}
        stack = [node]
        while stack:
            value = stack.pop()
            if value in self.transparent:
                stack.extend(reversed(value.inputs))
            else:
                found[value] = None
        return list(found)


def _kind(node: Node) -> str:
    if node.is_input:
        return "parameter" if node.is_parameter else "input"
    return "gradient" if node.origin.gradient_of is not None else "forward"


def _by_line(graph: Graph, kept: Sequence[Node], named: _Names) -> list[Box]:
    """Return a box for each line of the model and direction; declared tensors on their own."""
    found: dict[tuple[str, str], Box] = {}
    count: dict[str, int] = defaultdict(int)
    of: dict[Node, Box] = {}
    for node in kept:
        kind = _kind(node)
        key = (str(node.name) if node.is_input else node.origin.place, kind)
        if key not in found:
            text = named.definition(node) if node.is_input else node.origin.text
            found[key] = Box(f"v{len(found)}", kind, [_cut(text)], node.origin.place)
        of[node] = found[key]
        count[found[key].key] += 1
        for x in named.sources(node):
            if of[x] is not of[node] and of[x] not in of[node].inputs:
                of[node].inputs.append(of[x])
    for node in graph.outputs:
        for x in named.seen_through(node):
            of[x].result = True
    for box in found.values():
        number = count[box.key]
        box.lines.append(f"{box.place} · {number} value{'s' * (number > 1)}")
    return list(found.values())


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


# DOT and Mermaid


def dot(graph: Graph, most: int = MOST) -> str:
    """Return the picture of a graph for Graphviz."""
    found = boxes(graph, most)
    rows = ["digraph {", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    fill = {"input": "#e8eaee", "parameter": "#fdf3d0", "forward": "#dbe9fb", "gradient": "#fbe0d3"}
    for box in found:
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in box.lines)
        pen = ", penwidth=2" if box.result else ""
        rows.append(f'  {box.key} [label="{label}", fillcolor="{fill[box.kind]}"{pen}];')
    rows += [f"  {x.key} -> {box.key};" for box in found for x in box.inputs]
    return "\n".join([*rows, "}"]) + "\n"


def mermaid(graph: Graph, most: int = MOST) -> str:
    """Return the picture of a graph as a Mermaid flowchart."""
    found = boxes(graph, most)
    rows = ["flowchart TD"]
    for box in found:
        label = "<br>".join(escape(line).replace("#", "#35;") for line in box.lines)
        rows.append(f'  {box.key}["{label}"]:::{box.kind}')
    rows += [f"  {x.key} --> {box.key}" for box in found for x in box.inputs]
    rows += [
        "  classDef input fill:#e8eaee,stroke:#8a8f98,color:#111",
        "  classDef parameter fill:#fdf3d0,stroke:#b89b2e,color:#111",
        "  classDef forward fill:#dbe9fb,stroke:#3b6fb5,color:#111",
        "  classDef gradient fill:#fbe0d3,stroke:#b5562b,color:#111",
    ]
    return "\n".join(rows) + "\n"


# SVG

STYLE = """
.symgrad-graph { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.symgrad-graph rect { rx: 6px; stroke-width: 1.2; }
.symgrad-graph .result rect { stroke-width: 2.6; }
.symgrad-graph text { fill: #16181d; }
.symgrad-graph .type { fill: #5b6270; font-size: 10.5px; }
.symgrad-graph .edge { fill: none; stroke: #8a8f98; stroke-width: 1.1; }
.symgrad-graph .tip { fill: #8a8f98; }
.symgrad-graph .input rect { fill: #eef0f3; stroke: #8a8f98; }
.symgrad-graph .parameter rect { fill: #fdf3d0; stroke: #b89b2e; }
.symgrad-graph .forward rect { fill: #e3eefc; stroke: #3b6fb5; }
.symgrad-graph .gradient rect { fill: #fce6da; stroke: #b5562b; }
@media (prefers-color-scheme: dark) {
  .symgrad-graph text { fill: #e8eaee; }
  .symgrad-graph .type { fill: #a2a9b6; }
  .symgrad-graph .input rect { fill: #2a2e36; }
  .symgrad-graph .parameter rect { fill: #423a1c; }
  .symgrad-graph .forward rect { fill: #1d3350; }
  .symgrad-graph .gradient rect { fill: #4a2a1a; }
}
""".strip()


def svg(graph: Graph, most: int = MOST) -> str:
    """Return the picture of a graph as a stand-alone SVG document, inputs above."""
    found = boxes(graph, most)
    layers = _layers(found)
    at, width, height = _placed(layers)
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="symgrad-graph" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">',
        f"<title>A graph of {len(found)} boxes</title>",
        f"<style>\n{STYLE}\n</style>",
        '<defs><marker id="symgrad-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    rows += [_edge(at[x.key], at[box.key]) for box in found for x in box.inputs]
    rows += [_drawn(box, at[box.key]) for box in found]
    return "\n".join([*rows, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class _Area:
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def _layers(found: Sequence[Box]) -> list[list[Box]]:
    """Return boxes by their distance from the inputs; declared tensors next to their first use."""
    order = {box.key: i for i, box in enumerate(found)}
    depth: dict[str, int] = {}
    for box in found:
        # Lines of a loop read each other: an edge back does not count.
        before = [depth[x.key] for x in box.inputs if order[x.key] < order[box.key]]
        depth[box.key] = max(before, default=-1) + 1
    first_use: dict[str, int] = {}
    for box in found:
        for x in box.inputs:
            first_use[x.key] = min(first_use.get(x.key, depth[box.key]), depth[box.key])
    for box in found:
        if box.kind in ("input", "parameter") and box.key in first_use:
            depth[box.key] = max(0, first_use[box.key] - 1)
    layers: list[list[Box]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for box in found:
        layers[depth[box.key]].append(box)
    return _ordered([layer for layer in layers if layer])


def _ordered(layers: list[list[Box]]) -> list[list[Box]]:
    """Return layers with each box near the middle of its neighbours (Sugiyama et al., 1981)."""
    readers: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        for box in layer:
            for x in box.inputs:
                readers[x.key].append(box.key)
    for sweep in range(6):
        place = _places(layers)
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            near = {
                box.key: [place[x.key] for x in box.inputs] if down else
                [place[key] for key in readers[box.key]]
                for box in layer
            }  # fmt: skip
            own = {box.key: place[box.key] for box in layer}
            layer.sort(key=lambda box: _mean(near[box.key], own[box.key]))
            place.update(_places([layer]))
    return layers


def _places(layers: Sequence[Sequence[Box]]) -> dict[str, float]:
    """Return where boxes are in their layer, from 0 to 1."""
    return {box.key: (i + 0.5) / len(layer) for layer in layers for i, box in enumerate(layer)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _placed(layers: Sequence[Sequence[Box]]) -> tuple[dict[str, _Area], float, float]:
    """Return the area of each box, and the size of the picture."""
    sizes = {
        box.key: (max(map(len, box.lines)) * _LETTER + 2 * _PAD, len(box.lines) * _LINE + _PAD)
        for layer in layers
        for box in layer
    }
    widths = [sum(sizes[b.key][0] + _GAP for b in layer) - _GAP for layer in layers]
    width = max(widths, default=0.0) + 2 * _GAP
    found: dict[str, _Area] = {}
    y = _GAP
    for layer, own in zip(layers, widths, strict=True):
        x = (width - own) / 2
        tallest = max(sizes[box.key][1] for box in layer)
        for box in layer:
            found[box.key] = _Area(x, y, *sizes[box.key])
            x += sizes[box.key][0] + _GAP
        y += tallest + _BETWEEN
    return found, width, y - _BETWEEN + _GAP


def _edge(start: _Area, end: _Area) -> str:
    x1, y1, x2, y2 = start.middle, start.y + start.height, end.middle, end.y
    bend = max(18.0, (y2 - y1) / 2)
    return (
        f'<path class="edge" marker-end="url(#symgrad-tip)" '
        f'd="M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} '
        f'{x2:.1f} {y2:.1f}"/>'
    )


def _drawn(box: Box, area: _Area) -> str:
    kind = f"{box.kind} result" if box.result else box.kind
    small = ' class="type"'
    texts = "".join(
        f'<text x="{area.middle:.1f}" y="{area.y + 15 + i * _LINE:.1f}" text-anchor="middle"'
        f"{small if i else ''}>{escape(line)}</text>"
        for i, line in enumerate(box.lines)
    )
    return (
        f'<g class="{kind}" data-at="{escape(box.place)}"><title>{escape(box.place)}</title>'
        f'<rect x="{area.x:.1f}" y="{area.y:.1f}" width="{area.width:.1f}" '
        f'height="{area.height:.1f}"/>{texts}</g>'
    )
