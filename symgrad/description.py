"""What becomes of a model: passes, kernels, costs and memory, as facts to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from symgrad.backends.lowered import lowered
from symgrad.ir.cost import total_cost
from symgrad.ir.graph import NODES_REMOVED, Entry, Graph
from symgrad.ir.size import Dim, evaluate, multiply, names_in
from symgrad.lower.source import Source
from symgrad.model import Model
from symgrad.passes.numerics import lint, stabilized
from symgrad.passes.pipeline import NAMES, optimize


@dataclass(frozen=True, slots=True)
class Description:
    """What becomes of a model.

    Attributes:
        graph: The loss and its gradients, optimised.
        formulas: The gradients alone, optimised.
        facts: Passes, kernels, costs and memory: numbers and words by name.
    """

    graph: Graph
    formulas: Graph
    facts: dict[str, Any]


def described(model: Model, without: Sequence[str] = ()) -> Description:
    """Return what becomes of a model.

    Args:
        model: The model.
        without: Names of passes to leave out.
    """
    without = model.without(without)
    original = Graph(model.arguments, [model.loss, *model.gradients.values()])
    graph = optimize(original, without=without)
    gradients = Graph(model.arguments, list(model.gradients.values()))
    source = lowered(graph)
    facts = {
        "passes": pass_facts(original, graph),
        "kernels": kernel_facts(source),
        "cost": _cost(original, graph, source, model, without),
        "memory": _memory(source, model),
        "numerics": {
            "stable": [str(n) for n in stabilized([model.loss.node])],
            "doubtful": [str(n) for n in lint([model.loss.node])],
        },
    }
    return Description(graph, optimize(gradients, without=without, finite=True), facts)


def pass_facts(original: Graph, graph: Graph) -> dict[str, Any]:
    """Return what the passes made of a graph: nodes before and after, and the ledger."""
    entries = _merged(graph)
    return {
        "nodes_before": len(original),
        "nodes_after": len(graph),
        "removed": {e.stage: e.count for e in entries if e.action == NODES_REMOVED},
        "ledger": [
            {
                "pass": e.stage,
                "action": e.action,
                "count": e.count,
                "at": list(e.places),
                "flops": _signed(multiply(e.saved, -1)),
            }
            for e in entries
            if e.action != NODES_REMOVED
        ],
    }


def _signed(change: Dim) -> str:
    """Return a change as text with its sign; nothing for none."""
    text = str(change)
    return "" if text == "0" else text if text.startswith("-") else f"+{text}"


def kernel_facts(source: Source) -> list[dict[str, str]]:
    """Return the steps of a program, each with its cost."""
    return [
        {"step": step.text, "flops": str(step.cost.flops), "bytes": str(step.cost.bytes)}
        for step in source.steps
    ]


def _merged(graph: Graph) -> list[Entry]:
    """Return the ledger with equal actions of one pass counted together, in pipeline order."""
    found: dict[tuple[str, str], Entry] = {}
    for e in graph.ledger:
        known = found.get((e.stage, e.action))
        places = tuple(dict.fromkeys((*(known.places if known else ()), *e.places)))[:3]
        count = e.count + (known.count if known else 0)
        saved = e.saved + (known.saved if known else 0)
        found[(e.stage, e.action)] = Entry(e.stage, e.action, places, count, saved)
    return sorted(found.values(), key=lambda e: NAMES.index(e.stage))


def _cost(
    original: Graph, graph: Graph, source: Source, model: Model, without: Sequence[str]
) -> dict[str, Any]:
    """Return floating-point operations and bytes as polynomials, and what the gradient adds."""
    loss = optimize(Graph(model.arguments, [model.loss]), without=without)
    moved: Dim = 0
    for step in source.steps:
        moved = moved + step.cost.bytes
    flops = {
        "loss": total_cost(loss.nodes).flops,
        "as_written": total_cost(original.nodes).flops,
        "after_passes": total_cost(graph.nodes).flops,
    }
    facts: dict[str, Any] = {f"flops_{name}": str(dim) for name, dim in flops.items()}
    facts["bytes_node_by_node"] = str(total_cost(graph.nodes).bytes)
    facts["bytes_in_kernels"] = str(moved)
    known = _data_sizes(model)
    if names_in(tuple(flops.values())) <= known.keys():
        counts = {name: int(str(evaluate(dim, known))) for name, dim in flops.items()}
        if counts["loss"]:
            facts["gradient_to_loss"] = round(counts["after_passes"] / counts["loss"], 3)
    return facts


def _data_sizes(model: Model) -> dict[str, int]:
    return {
        str(dim): got
        for name, array in model.data.items()
        for dim, got in zip(model.inputs[name].shape, array.shape, strict=True)
    }


def _memory(source: Source, model: Model) -> dict[str, Any]:
    """Return how many bytes a call takes, as polynomials in the named sizes."""
    peak: Dim = 0
    for dim in source.memory.values():
        peak = peak + dim
    known = _data_sizes(model)
    facts: dict[str, Any] = {kind: str(dim) for kind, dim in source.memory.items()}
    facts["peak"] = str(peak)
    if names_in(peak) <= known.keys():
        facts["peak_for_data"] = evaluate(peak, known)
    return facts
