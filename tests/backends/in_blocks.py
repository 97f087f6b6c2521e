"""What tests of programs in blocks share: small blocks, values, and a comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.backends import blocks, numba
from symgrad.compile import Compiled
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import assert_close

Build = Callable[[], tuple[list[Tensor], list[Tensor]]]
ROWS = 64
"""How many rows a block has here: the fewest there are."""


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs run in blocks that have a few rows only; a fixture."""
    monkeypatch.setattr(blocks, "_BLOCK", 1)
    monkeypatch.setattr(blocks, "LARGE", 1)
    monkeypatch.setattr(blocks, "_LARGE_UNCUT", 1)
    monkeypatch.setattr(numba, "LARGE", 1)
    monkeypatch.setattr(blocks, "MUCH", 1)
    monkeypatch.setattr(blocks, "_MUCH_EACH", 0)
    monkeypatch.setenv("SYMGRAD_NUM_THREADS", "2")


def values(f: Compiled, n: int, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    out = []
    for x in f.original.inputs:
        shape = tuple(dim if isinstance(dim, int) else n for dim in x.type.shape)
        integer = x.type.dtype.kind == "i"
        array = rng.integers(0, 3, shape) if integer else rng.normal(size=shape)
        out.append(np.asarray(array, x.type.dtype))
    return out


def program(f: Compiled) -> Any:
    assert isinstance(f.program, numba.NumbaProgram)
    return f.program


def agree(f: Compiled, reference: Compiled, given: list[Array], rtol: float = 1e-12) -> None:
    """Assert equal results on the careful way and on the fast one, and twice the same bits."""
    expected = reference(*given)
    first, second = f(*given), f(*given)
    found = program(f).blocks
    assert found is not None
    lent = [part for parts in found.spare.values() for part in parts]
    assert lent
    assert numba._not_compiled not in lent
    for a, b, c in zip(first, second, expected, strict=True):
        assert a.dtype == c.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert_close(a, c, rtol)


def compiled(build: Build) -> tuple[Compiled, Compiled]:
    inputs, outputs = build()
    return sg.compile(inputs, outputs), sg.compile(inputs, outputs, backend="numpy")
