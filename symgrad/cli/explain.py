"""``symgrad explain``: how the gradients of a model are formed, step by step."""

from __future__ import annotations

import argparse

from symgrad.cli.load import UsageError, load
from symgrad.derivation import derivation
from symgrad.derivatives import why_zero
from symgrad.report import values_of


def run(options: argparse.Namespace) -> int:
    """Print the derivation in the form that was asked for."""
    model = load(options.model).model
    if options.why is not None:
        known = {**model.inputs, **model.parameters}
        if options.why not in known:
            raise UsageError(f"nothing is called {options.why!r}; there are: {', '.join(known)}")
        print(why_zero(model.loss, known[options.why]))
        return 0
    wrt = list(model.differentiated.values())
    found = derivation(model.loss, wrt, values_of(model, wrt))
    write = getattr(found, options.form)
    print(write(lines=None) if options.all else write(), end="")
    return 0
