"""The report of a model: source, formulas, graph, derivation, passes, cost and code on one page."""

from __future__ import annotations

import tokenize
from pathlib import Path

from symgrad.derivation import derivation
from symgrad.description import described
from symgrad.errors import ShapeError
from symgrad.ir.walk import reachable
from symgrad.model import Model
from symgrad.module import model_module
from symgrad.show.page import page
from symgrad.tensor import Tensor


def report(model: Model, path: Path, name: str) -> str:
    """Return the report of a model as an HTML document that needs no other file.

    Args:
        model: The model.
        path: The file that it is written in.
        name: What it is called there.
    """
    found = described(model)
    wrt = list(model.differentiated.values())
    module = model_module(model, f"Loss and gradients of {path.name}:{name}.")
    inputs = ", ".join(f"{name} {tensor.type}" for name, tensor in model.inputs.items())
    parameters = ", ".join(f"{name} {tensor.type}" for name, tensor in model.parameters.items())
    words = f"{name} in {path.name}. " + (f"Inputs: {inputs}. " if inputs else "")
    return page(
        title=f"{path.stem}: a loss and its gradients",
        words=words + (f"Parameters: {parameters}." if parameters else ""),
        model_source=_source(path),
        file=path.name,
        graph=found.graph,
        formulas=found.formulas,
        derivation=derivation(model.loss, wrt, values_of(model, wrt)).facts,
        facts=found.facts,
        generated=module.source,
    )


def _source(path: Path) -> str:
    """Return the text of a Python file, in the encoding that it declares."""
    with tokenize.open(path) as file:
        return file.read()


def values_of(model: Model, wrt: list[Tensor]) -> dict[str, object] | None:
    """Return the model's data and its initial parameters, if they give a value to everything."""
    try:
        values = {**model.data, **model.initial()}
    except ShapeError:
        return None
    needed = {
        str(node.name)
        for node in reachable([model.loss.node, *(t.node for t in wrt)])
        if node.is_input
    }
    if not needed <= values.keys():
        return None
    return {name: value for name, value in values.items() if name in needed}
