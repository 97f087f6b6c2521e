"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Kernels that tests compile stay inside the checkout, and warm for the next run.
os.environ.setdefault(
    "SYMGRAD_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "symgrad")
)


@pytest.fixture(params=("numpy", "numba"))
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
