"""Loops that compute several vectors at a time."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from llvmlite import binding

import symgrad as sg
from symgrad.backends import cache, interleave, kernel
from symgrad.backends.lowered import lowered
from symgrad.backends.numba import NumbaProgram
from symgrad.ir.graph import Graph

MARK = "interleave()"


def marked(*lines: str) -> list[str]:
    """Return the lines after which there is a mark, with its indentation."""
    out = kernel.interleaved(lines)
    assert [line for line in out if not line.endswith(MARK)] == list(lines)
    pairs = [pair for pair in itertools.pairwise(out) if pair[1].endswith(MARK)]
    return [f"{before} | {mark.removesuffix(MARK)}" for before, mark in pairs]


def test_loops_that_stand_alone() -> None:
    body = "    y[i] = exp_f64(x[i])"
    assert marked("for i in range(n):", body) == [f"{body} |     "]
    assert marked("for i in range(n):", body, "total = 1.0", body.strip()) == [f"{body} |     "]
    assert marked("for i in range(784):", body)
    assert not marked("for i in range(5):", body)
    assert not marked("for i in range(n):", "    y[i] = sqrt(x[i]) + plus(x[i], extreme_f64(x[i]))")


def test_loops_inside_loops() -> None:
    """They may be over a few elements, unless they are over strips, or it is known of how many."""
    inner = "        y[i, j] = near_sin_f32(x[i, j])"
    assert not marked("for i in range(m):", "    for j in range(n):", inner)
    assert not marked("for i in range(m):", "    for j in range(32):", inner)
    assert marked("for i in range(m):", "    for j in range(512):", inner)
    strip = "    for step in range(min(256, n - 256 * block)):"
    assert marked("for block in range((n + 255) // 256):", strip, inner, "    a += b") == [
        f"{inner} |         "
    ]


def test_loops_that_rarely_run() -> None:
    strip = "        for step in range(min(256, n - 256 * block)):"
    body = "            y[i] = sin_f64(x[i])"
    again = ["if far:", "    for block in range((n + 255) // 256):", strip, body]
    assert not marked(*again)
    last = "    z[i] = exp_f64(x[i])"
    assert marked(*again, "for i in range(n):", last) == [f"{last} |     "]


def compiled_now(dtype: str, f: Callable[[Any], Any]) -> Any:
    """Return the kernel of an expression, compiled now.

    Machine code from the disk says nothing of what it was made from.
    """
    modules: list[Any] = []

    def load(text: str) -> Any:
        modules.append(cache.load(f"{text}\n# {uuid.uuid4()}\n"))
        return modules[-1]

    x = sg.vector("x", "n", dtype)
    program = NumbaProgram(sg.optimize(Graph([x], [f(x)])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("symgrad.backends.numba.cache", SimpleNamespace(load=load))
        program.compile()
    return modules[0].kernel


def products(dtype: str, f: Callable[[Any], Any]) -> int:
    """Return how many multiplications of vectors LLVM writes for an expression."""
    [text] = compiled_now(dtype, f).inspect_llvm().values()
    return len(re.findall(r"fmul contract <(?!2|4 )\d+ x", text))


# LLVM by itself computes four vectors of a float32 sum, but two of a float64 one.
@pytest.mark.parametrize(
    ("dtype", "f"),
    [("float64", sg.tanh), ("float32", sg.tanh), ("float64", lambda x: sg.sum(sg.tanh(x)))],
)
def test_vectors_are_computed_together(
    dtype: str, f: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleave, "_has_room", lambda: False)
    one = products(dtype, sg.tanh)
    monkeypatch.setattr(interleave, "_has_room", lambda: True)
    assert products(dtype, f) >= 3 * one


@pytest.mark.skipif(
    not binding.get_host_cpu_features().get("avx512f"), reason="no registers of 64 bytes"
)
def test_vectors_kept_on_the_stack_are_aligned() -> None:
    """Else most of them lie in two lines of cache, where the caller's stack happens to end so."""
    kernel = compiled_now("float32", lambda x: sg.sin(x) * sg.cos(x) / sg.log(x) + sg.exp(x))
    [text] = kernel.inspect_asm().values()
    kept = re.findall(r"(vmov\w+)\s+%zmm\d+, -?\d*\(%rsp\)", text)
    assert kept
    assert set(kept) <= {"vmovaps", "vmovdqa64"}


def test_steps_of_large_programs() -> None:
    """Each step is a function, in which loops stand as they do in one kernel."""
    x = sg.vector("x", "n")
    graph = sg.optimize(Graph([x], [sg.tanh(x)]))
    text = kernel.stepped_module(graph, lowered(graph)).text
    steps = re.findall(r"def step_.*?(?=\n\n|\Z)", text, re.S)
    [lines] = [step.strip().splitlines() for step in steps if "tanh" in step]
    assert lines[1] == "    wide()"
    assert lines[-1] == "        interleave()"
    assert lines[-2].startswith("        ")
