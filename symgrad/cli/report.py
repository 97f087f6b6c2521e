"""``symgrad report``: everything about a model on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from symgrad.cli.load import load
from symgrad.report import report


def run(options: argparse.Namespace) -> int:
    """Write the report and say where it is."""
    loaded = load(options.model)
    output: Path = options.output or Path(f"{loaded.path.stem}_report.html")
    output.write_text(report(loaded.model, loaded.path, loaded.name), encoding="utf-8")
    print(f"Wrote {output}")
    return 0
