"""Which BLAS kernels call."""

from __future__ import annotations

import subprocess
import sys

import pytest

from symgrad import errors
from symgrad.backends import blas


def test_numpys_own_comes_first_and_scipys_where_it_shows_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert blas.addresses() == (blas._in_numpy() or blas._in_scipy())
    monkeypatch.setattr(blas, "_in_numpy", dict)
    assert blas.addresses() == blas._in_scipy()


def test_what_multiplies_wrongly_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = blas._in_scipy()
    wrong["dgemm"] = wrong["sgemm"]
    monkeypatch.setattr(blas, "_in_numpy", lambda: wrong)
    assert blas.addresses() == blas._in_scipy()


def test_no_blas_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_in_numpy", dict)
    monkeypatch.setattr(blas, "_in_scipy", dict)
    with pytest.raises(errors.BackendError, match="backend='numpy'"):
        blas.addresses()


PRODUCTS = """
import sys
import numpy as np
import symgrad as sg
A, B, v = sg.tensor("A", (3, 4), "float64"), sg.tensor("B", (4, 5), "float64"), sg.tensor("v", (4,))
f = sg.compile([A, B, v], [A @ B, A @ v])
a, b, w = np.ones((3, 4)), np.ones((4, 5)), np.ones(4)
product, vector = f(a, b, w)
assert (product == 4).all() and (vector == 4).all()
print("scipy.linalg" in sys.modules)
from numba import njit
assert njit(lambda a: np.dot(a, a.T))(a)[0, 0] == 4
"""


def test_products_do_without_scipy_and_leave_numba_as_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRODUCTS], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(not blas._in_numpy())
