"""Fixtures shared by all tests."""

import pytest


@pytest.fixture(params=("numpy", "numba"))
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
