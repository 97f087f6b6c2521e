"""What the command line prints: headings stand out where the terminal has colours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


def show(lines: Iterable[str]) -> None:
    """Print lines; with `rich` installed, on a terminal, headings are bold and warnings red.

    `NO_COLOR` (https://no-color.org) and output that is no terminal leave them as they are.
    """
    text = "\n".join(lines)
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError:
            pass
        else:
            console = Console(force_terminal=True, highlight=False, soft_wrap=True)
            for line in text.split("\n"):
                console.print(Text(line, style=_style(line)))
            return
    print(text)


def _style(line: str) -> str:
    if "WRONG" in line:
        return "bold red"
    return "bold" if line[:1].strip() else ""
