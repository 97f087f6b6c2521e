"""Sections of tables whose cells are mathematics or words, laid out for each target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from symgrad.show.notation import LATEX


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: mathematics in the notation of the target, or words.

    ``at`` are the lines of the model that it comes from.
    """

    text: str
    is_math: bool = True
    at: tuple[str, ...] = ()


Paragraph = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, paragraphs below it, and a table with or without a head."""

    title: str
    words: tuple[Paragraph, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()


def said(text: str) -> Paragraph:
    """Return words as a paragraph."""
    return (Cell(text, is_math=False),)


def listed(texts: Sequence[str]) -> Iterator[Cell]:
    """Yield formulas with commas between them."""
    for i, text in enumerate(texts):
        if i:
            yield Cell(", ", is_math=False)
        yield Cell(text)


def as_text(section: Section) -> str:
    """Return a section for a terminal."""
    lines = [section.title, "─" * len(section.title)]
    lines += ["".join(cell.text for cell in paragraph) for paragraph in section.words]
    rows = [[cell.text for cell in row] for row in section.rows]
    table = [list(section.head), *rows] if section.head else rows
    count = max(map(len, table), default=0)
    widths = [max((len(row[k]) for row in table), default=0) for k in range(count)]
    if section.words and table:
        lines.append("")
    for i, row in enumerate(table):
        text = "   ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))
        lines.append(f"  {text}".rstrip())
        if section.head and i == 0:
            lines.append("  " + "   ".join("╌" * w for w in widths))
    return "\n".join(lines)


def as_latex(section: Section) -> str:
    """Return a section as a paragraph and a ``tabular`` of LaTeX."""
    lines = [f"\\paragraph{{{LATEX.words(section.title)}}}"]
    lines += ["".join(map(_latex_inline, paragraph)) for paragraph in section.words]
    if section.rows:
        columns = "l" * max(map(len, section.rows))
        lines.append(f"\n\\begin{{tabular}}{{{columns}}}")
        if section.head:
            lines.append(" & ".join(map(LATEX.words, section.head)) + r" \\ \hline")
        lines += [" & ".join(map(_latex_cell, row)) + r" \\[1ex]" for row in section.rows]
        lines.append(r"\end{tabular}")
    return "\n".join(lines)


def _latex_cell(cell: Cell) -> str:
    if not cell.text or not cell.is_math:
        return _latex_inline(cell)
    return f"$\\displaystyle {cell.text}$"


def _latex_inline(cell: Cell) -> str:
    return f"${cell.text}$" if cell.is_math and cell.text else LATEX.words(cell.text)


def as_html(section: Section) -> str:
    """Return a section as a piece of HTML, its formulas in MathML."""
    lines = ["<section>", f"<h3>{escape(section.title)}</h3>"]
    lines += [f"<p>{''.join(map(_html_cell, paragraph))}</p>" for paragraph in section.words]
    if section.rows:
        lines.append("<table>")
        if section.head:
            cells = "".join(f"<th>{escape(text)}</th>" for text in section.head)
            lines.append(f"<thead><tr>{cells}</tr></thead>")
        lines.append("<tbody>")
        lines += map(_html_row, section.rows)
        lines.append("</tbody></table>")
    return "\n".join([*lines, "</section>"])


def _html_row(row: Sequence[Cell]) -> str:
    places = "|".join(dict.fromkeys(place for cell in row for place in cell.at))
    at = f' data-at="{escape(places)}"' if places else ""
    return f"<tr{at}>{''.join(f'<td>{_html_cell(cell)}</td>' for cell in row)}</tr>"


def _html_cell(cell: Cell) -> str:
    if not cell.text or not cell.is_math:
        return escape(cell.text)
    return (
        '<math xmlns="http://www.w3.org/1998/Math/MathML" displaystyle="true">'
        f"<mrow>{cell.text}</mrow></math>"
    )
