"""``symgrad print``: the gradients of a model as formulas, IR or source."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from symgrad.cli.load import UsageError, load
from symgrad.ir.graph import Graph
from symgrad.model import Model
from symgrad.module import model_module
from symgrad.passes.pipeline import optimize
from symgrad.pretty import latex, mathml, numpy_source, pretty

_FORMS: dict[str, Callable[[Graph], str]] = {
    "text": pretty,
    "ascii": partial(pretty, ascii=True),
    "latex": latex,
    "mathml": mathml,
    "numpy": partial(numpy_source, name="gradients"),
}


def run(options: argparse.Namespace) -> int:
    """Print the gradients in the form that was asked for."""
    loaded = load(options.model)
    model = loaded.model
    if options.form == "source":
        if options.wrt:
            raise UsageError("--source is the module of all gradients: it goes without --wrt")
        title = f"Loss and gradients of {loaded.path.name}:{loaded.name}."
        print(model_module(model, title).source, end="")
        return 0
    names = _chosen(model, options.wrt)
    outputs = [model.gradients[name] for name in names]
    if options.form == "ir":
        print(optimize(Graph(model.arguments, [model.loss, *outputs])))
        return 0
    graph = Graph(model.arguments, outputs)
    print(_FORMS[options.form](graph).rstrip("\n"))
    return 0


def _chosen(model: Model, wanted: list[str] | None) -> list[str]:
    known = list(model.gradients)
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise UsageError(f"there is no gradient by {unknown[0]!r}; there are: {', '.join(known)}")
    return wanted or known
