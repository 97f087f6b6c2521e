"""``symgrad graph``: a picture of the loss and its gradients."""

from __future__ import annotations

import argparse
import sys

from symgrad.cli.load import load
from symgrad.ir.graph import Graph
from symgrad.passes.pipeline import optimize
from symgrad.show import picture


def run(options: argparse.Namespace) -> int:
    """Write the picture in the form that was asked for."""
    model = load(options.model).model
    graph = optimize(Graph(model.arguments, [model.loss, *model.gradients.values()]))
    most = sys.maxsize if options.all else picture.MOST
    text = {"svg": picture.svg, "dot": picture.dot, "mermaid": picture.mermaid}[options.form](
        graph, most
    )
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0
