"""``symgrad explain``: how the gradients of a model are formed, step by step."""

from __future__ import annotations

import argparse

from symgrad.cli.load import load
from symgrad.derivation import derivation
from symgrad.errors import ShapeError
from symgrad.ir.walk import reachable
from symgrad.model import Model


def run(options: argparse.Namespace) -> int:
    """Print the derivation in the form that was asked for."""
    model = load(options.model).model
    found = derivation(model.loss, list(model.differentiated.values()), _values(model))
    write = getattr(found, options.form)
    print(write(lines=None) if options.all else write(), end="")
    return 0


def _values(model: Model) -> dict[str, object] | None:
    """Return the model's data and its initial parameters, if they give a value to everything."""
    try:
        values = {**model.data, **model.initial()}
    except ShapeError:
        return None
    roots = [model.loss.node, *(t.node for t in model.differentiated.values())]
    needed = {str(node.name) for node in reachable(roots) if node.is_input}
    if not needed <= values.keys():
        return None
    return {name: value for name, value in values.items() if name in needed}
