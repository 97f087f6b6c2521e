"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from symgrad.backends import numba

# Kernels that tests compile stay inside the checkout, and warm for the next run.
os.environ.setdefault(
    "SYMGRAD_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "symgrad")
)


# Tests of compiled code wait for it, rather than to be answered by the reference.
numba.SOON = -1, -1


@pytest.fixture(params=("numpy", "numba"))
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
