"""``symgrad check``: every gradient of a model against finite differences."""

from __future__ import annotations

import argparse

from symgrad.check import check
from symgrad.cli.load import load


def run(options: argparse.Namespace) -> int:
    """Print one line per gradient, and the first wrong node; 1 if one is wrong."""
    report = check(load(options.model).model)
    width = max((len(row.name) for row in report.rows), default=0)
    print(f"{report.data}, central differences in float64")
    for row in report.rows:
        verdict = "ok" if row.passed else "WRONG"
        print(f"  {row.name:<{width}}  relative error {row.error:.1e}  {verdict}")
    if report.culprit:
        print(f"first wrong derivative: {report.culprit}")
    return 0 if report.passed else 1
