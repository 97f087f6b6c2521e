"""``symgrad compile``: everything that happens to a model on its way to code."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from symgrad.check import Report, check, sample
from symgrad.cli.load import Loaded, load
from symgrad.cli.terminal import show
from symgrad.description import described
from symgrad.errors import ModelError
from symgrad.module import Module, beside, model_module
from symgrad.pretty import pretty


def run(options: argparse.Namespace) -> int:
    """Print the summary and write the module; 1 if a gradient does not pass its check."""
    with _stage("reading the model"):
        loaded = load(options.model)
    loaded.model.stabilize &= options.stabilize == "on"
    # An initialiser of the model's may print; our own output comes after it, and alone.
    with contextlib.redirect_stdout(sys.stderr):
        facts = _facts(loaded, options)
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        show(_summary(facts))
    return 0 if facts["check"]["passed"] else 1


@contextlib.contextmanager
def _stage(what: str) -> Iterator[None]:
    """Show what is being done while it lasts, on a terminal only."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"\r\033[K{what} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _facts(loaded: Loaded, options: argparse.Namespace) -> dict[str, Any]:
    model = loaded.model
    with _stage("differentiating and lowering"):
        found = described(model, options.without)
    with _stage("checking gradients against finite differences"):
        report = check(model)
    with _stage(f"compiling with {options.backend}"):
        worst = _agreement(loaded, options)
    output: Path = options.output or Path(f"{loaded.path.stem}_grad.py")
    with _stage("writing the module"):
        title = f"Loss and gradients of {loaded.path.name}:{loaded.name}."
        module = model_module(model, title, options.without)
        module.write(output)
    return {
        "model": {
            "file": str(loaded.path),
            "name": loaded.name,
            "made_at": model.origin.place,
        },
        "inputs": {name: str(t.type) for name, t in model.inputs.items()},
        "parameters": {name: str(t.type) for name, t in model.parameters.items()},
        "gradients": pretty(found.formulas).splitlines(),
        **found.facts,
        "numerics": {"stabilize": options.stabilize, **found.facts["numerics"]},
        "check": {**_checked(report), "backend": options.backend, "backend_error": worst},
        "module": _written(module, output),
    }


def _agreement(loaded: Loaded, options: argparse.Namespace) -> float:
    """Return how far the compiled step is from the reference, relative, on the checked data."""
    import numpy as np

    model = loaded.model
    values = sample(model, np.random.default_rng(0))
    results = []
    for backend in (options.backend, "numpy"):
        step = model.compile(backend=backend, without=tuple(options.without))
        step.function.ready()
        loss, gradients = step(**values)
        results.append([loss, *gradients.values()])
    worst = 0.0
    for ours, reference in zip(*results, strict=True):
        if not np.array_equal(np.isnan(ours), np.isnan(reference)):
            worst = math.inf
        scale = float(np.nanmax(np.abs(reference), initial=0.0)) or 1.0
        worst = max(worst, float(np.nanmax(np.abs(ours - reference), initial=0.0)) / scale)
    limit = 1e-4 if any(t.dtype.name == "float32" for t in model.arguments) else 1e-9
    if not worst <= limit:
        raise ModelError(
            f"the {options.backend} backend differs from the reference by {worst:.1e}, relative"
        )
    return worst


def _checked(report: Report) -> dict[str, Any]:
    return {
        "data": report.data,
        "passed": report.passed,
        "errors": {row.name: row.error for row in report.rows},
    }


def _written(module: Module, output: Path) -> dict[str, Any]:
    files = [str(output)]
    if module.arrays:
        files.append(str(beside(output)))
    return {"files": files, "lines": module.source.count("\n")}


# The text


def _summary(facts: dict[str, Any]) -> Iterator[str]:
    model = facts["model"]
    yield f"{model['file']}: {model['name']}, made at {model['made_at']}"
    for title in ("inputs", "parameters"):
        width = max(map(len, facts[title]), default=0)
        for number, (name, type_) in enumerate(facts[title].items()):
            yield f"{title.capitalize() if not number else '':<12}{name:<{width}}  {type_}"
    yield "\nGradients"
    yield from ("  " + line for line in facts["gradients"])
    yield from _pass_lines(facts["passes"])
    yield from _numeric_lines(facts["numerics"])
    yield f"\nKernels: {len(facts['kernels'])} steps"
    yield from _kernel_lines(facts["kernels"])
    yield from _cost_lines(facts["cost"])
    yield from _memory_lines(facts["memory"])
    yield from _check_lines(facts["check"])
    module = facts["module"]
    yield f"\nWrote {' and '.join(module['files'])} ({module['lines']} lines)"


def _pass_lines(passes: dict[str, Any]) -> Iterator[str]:
    yield f"\nPasses: {passes['nodes_before']} nodes become {passes['nodes_after']}"
    stage = ""
    for entry in passes["ledger"]:
        if entry["pass"] != stage:
            stage = entry["pass"]
            yield f"  {stage:<16}{-passes['removed'].get(stage, 0):+d} nodes"
        count = f" ×{entry['count']}" if entry["count"] > 1 else ""
        flops = f"  {entry['flops']} flops" if entry["flops"] else ""
        yield f"    {entry['action']}{count}{flops}  ({', '.join(entry['at'])})"


def _numeric_lines(numerics: dict[str, Any]) -> Iterator[str]:
    done = numerics["stabilize"] == "on"
    if numerics["stable"] and numerics["stabilize"] != "off":
        yield "\nStable forms" + ("" if done else ", not applied")
        yield from ("  " + line for line in numerics["stable"])
    if numerics["doubtful"]:
        yield "\nNumerics to watch"
        yield from ("  " + line for line in numerics["doubtful"])


def _kernel_lines(kernels: list[dict[str, str]]) -> Iterator[str]:
    rows = [("", "flops", "bytes"), *((k["step"], k["flops"], k["bytes"]) for k in kernels)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for number, row in enumerate(rows):
        cells = "   ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))
        yield f"  {number or '':>2}  {cells}".rstrip()


def _cost_lines(cost: dict[str, Any]) -> Iterator[str]:
    yield "\nCost, in floating-point operations"
    yield f"  loss                    {cost['flops_loss']}"
    yield f"  with gradients          {cost['flops_as_written']}"
    ratio = cost.get("gradient_to_loss")
    times = "" if ratio is None else f"  ({ratio} times the loss)"
    yield f"  the same after passes   {cost['flops_after_passes']}{times}"
    yield "Cost, in bytes read and written"
    yield f"  node by node            {cost['bytes_node_by_node']}"
    yield f"  in these kernels        {cost['bytes_in_kernels']}"


def _memory_lines(memory: dict[str, Any]) -> Iterator[str]:
    yield "\nMemory, in bytes"
    for kind in ("arguments", "temporaries", "results"):
        yield f"  {kind:<12}{memory[kind]}"
    at = f"  ({memory['peak_for_data']} for the model's data)" if "peak_for_data" in memory else ""
    yield f"  {'peak':<12}{memory['peak']}{at}"


def _check_lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"\nGradient check: {report['data']}, central differences in float64"
    width = max(map(len, report["errors"]), default=0)
    for name, error in report["errors"].items():
        yield f"  {name:<{width}}  relative error {error:.1e}"
    verdict = "all gradients agree" if report["passed"] else "A GRADIENT IS WRONG"
    yield f"  {verdict}; {report['backend']} agrees with the reference to "\
          f"{report['backend_error']:.1e}"  # fmt: skip
