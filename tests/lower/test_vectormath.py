"""Our elementary functions: accurate over the whole range, right at its ends, and vectorised."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
from llvmlite import binding
from numba import njit

from symgrad.ir.op import lookup
from symgrad.ir.types import Array
from symgrad.lower import vectormath
from symgrad.lower.scalars import function_name
from symgrad.lower.vectormath import float32, float64

NAMES = sorted(vectormath.VECTOR)
DTYPES = [np.float64, np.float32]
FUNCTIONS = {
    n: f
    for module in (float64, float32)
    for n, f in vars(module).items()
    if isinstance(f, FunctionType)
}
FOUR_ULP = {"erf", "erfc", "power", "sigmoid", "sinh", "softplus", "tanh"}
EXACT: dict[str, Callable[..., Any]] = {
    "arctan": mpmath.atan, "exp2": lambda x: mpmath.power(2, x),
    "log2": lambda x: mpmath.log(x, 2), "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
}  # fmt: skip
IN_NUMPY: dict[str, Callable[..., Array]] = {
    "sigmoid": scipy.special.expit, "softplus": lambda x: np.logaddexp(x, 0),
    "erf": scipy.special.erf, "erfc": scipy.special.erfc,
}  # fmt: skip


def function(name: str, dtype: type) -> str:
    return f"{name}_f{np.dtype(dtype).itemsize * 8}"


@cache
def compiled() -> dict[str, Any]:
    """Return the module's functions, each compiled where it is first called."""
    space: dict[str, Any] = {"np": np}
    for name, plain in FUNCTIONS.items():
        inlined = njit(forceinline=True, error_model="numpy", fastmath={"contract"})
        space[name] = inlined(FunctionType(plain.__code__, space, name))
    return space


@cache
def loop(name: str) -> Any:
    f = compiled()[name]

    @njit(error_model="numpy", fastmath={"contract"})
    def unary(x: Array, out: Array) -> None:
        for i in range(out.size):
            out[i] = f(x[i])

    @njit(error_model="numpy", fastmath={"contract"})
    def binary(x: Array, y: Array, out: Array) -> None:
        for i in range(out.size):
            out[i] = f(x[i], y[i])

    return binary if "power" in name else unary


def run(name: str, *x: Array) -> Array:
    out = np.empty_like(x[0])
    loop(function(name, x[0].dtype.type))(*x, out)
    return out


def in_python(name: str, *x: Array) -> Array:
    f = FUNCTIONS[function(name, x[0].dtype.type)]
    with np.errstate(all="ignore"):
        values = [f(*scalars) for scalars in zip(*x, strict=True)]
    return np.array(values, x[0].dtype)


def samples(name: str, dtype: type, n: int) -> tuple[Array, ...]:
    """Return n points of each kind: all magnitudes, the middle, near 1, and what is hard."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    info = np.finfo(dtype)
    lowest, highest = float(np.log2(info.smallest_subnormal)), float(np.log2(info.max))
    ends = rng.choice([lowest, highest], n) + rng.normal(0, 2, n)
    magnitudes = np.exp2(rng.uniform(lowest, highest, n)) * rng.choice([-1, 1], n)
    near_1 = 1 + rng.choice([-1, 1], n) * np.exp2(rng.uniform(-50, 0, n))
    if name == "power":
        x = np.abs(np.concatenate([magnitudes, near_1, rng.uniform(0, 3, n)])).astype(dtype)
        x = np.maximum(x, info.smallest_subnormal)
        y = rng.choice([*ends, *rng.uniform(-3, 3, n)], 3 * n) / np.log2(np.where(x == 1, 2, x))
        return x, np.clip(y, -float(info.max), float(info.max)).astype(dtype)
    middle = [rng.uniform(-scale, scale, n) for scale in (1, 8, 110, 750)]
    kinds = [magnitudes, near_1, ends * rng.choice([1, np.log(2), np.log10(2)], n), *middle]
    if name in ("sin", "cos", "tan"):
        turns = np.rint(np.exp2(rng.uniform(0, 30, n))) * (np.pi / 4)
        hard = [6381956970095103 * 2.0**797, 5.319372648326541e255, 16367173 * 2.0**72, 1e22]
        kinds += [turns, *([hard] if dtype == np.float64 else [hard[2:]])]
    else:
        kinds = [np.clip(kind, -1e4, 1e4) if "log" not in name else kind for kind in kinds]
    x = np.concatenate(kinds).astype(dtype)
    if name in ("log", "log2", "log10"):
        return (np.abs(x[x != 0]),)
    return (x[x > -1] if name == "log1p" else x,)


@cache
def exact(name: str, n: int) -> tuple[tuple[Array, ...], Array, Array]:
    """Return points in float64, and the values there as sums of two numbers."""
    x = samples(name, np.float64, n)
    f = EXACT.get(name) or getattr(mpmath, name)
    with mpmath.workprec(150):
        values = [f(*map(mpmath.mpf, scalars)) for scalars in zip(*x, strict=True)]
        first = np.array([float(value) for value in values])
        pairs = zip(values, first, strict=True)
        rest = [float(value - mpmath.mpf(a)) if np.isfinite(a) else 0.0 for value, a in pairs]
    return x, first, np.array(rest)


def ulps(found: Array, first: Array, rest: Array) -> float:
    """Return the largest error in units of the last place."""
    size = np.minimum(np.abs(first), 0.75 * float(np.finfo(found.dtype).max))
    with np.errstate(invalid="ignore"):
        error = np.abs(found.astype(first.dtype) - first - rest)
        error /= np.spacing(size.astype(found.dtype))
    return float(np.max(np.where(found == first, 0, error)))


def numpys(name: str, *x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray((IN_NUMPY.get(name) or getattr(np, name))(*x))


@pytest.mark.parametrize("name", NAMES)
def test_float64_is_accurate(name: str) -> None:
    x, first, rest = exact(name, 300)
    limit = 4 if name in FOUR_ULP else 2
    assert ulps(run(name, *x), first, rest) <= limit
    # In plain Python nothing is fused.
    some = slice(None, None, 7)
    assert ulps(in_python(name, *(a[some] for a in x)), first[some], rest[some]) <= limit


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_accurate(name: str) -> None:
    x = samples(name, np.float32, 30_000)
    expected = numpys(name, *(a.astype(np.float64) for a in x))
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    expected = np.where(np.isinf(rounded), rounded, expected)
    limit = 4 if name in FOUR_ULP else 2
    assert ulps(run(name, *x), expected, np.zeros(1)) <= limit
    few = [a[::500].copy() for a in x]
    np.testing.assert_array_max_ulp(in_python(name, *few), run(name, *few), limit)


def test_float32_logarithms_without_fused_operations() -> None:
    """Where ulps of the logarithm are finest, and one of base 10 was off by 2.1 of them."""
    x: Array = np.append(np.linspace(1.3, 1.5, 3000), 1.3216856).astype(np.float32)
    for name in ("log", "log2", "log10"):
        expected = numpys(name, x.astype(np.float64))
        assert ulps(in_python(name, x), expected, np.zeros(1)) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str, dtype: type) -> None:
    info = np.finfo(dtype)
    ends = map(float, (info.smallest_subnormal, info.tiny, info.max))
    points = np.array([s * v for v in (0, *ends, 0.5, 1, 2, 3, np.inf, np.nan) for s in (1, -1)])
    x = np.meshgrid(points, points) if name == "power" else [points]
    x = [a.ravel().astype(dtype) for a in x]
    expected = numpys(name, *x)
    for found in (run(name, *x), in_python(name, *x)):
        np.testing.assert_allclose(found, expected, 4 * float(info.eps), 0)
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(expected[numbers]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_of_what_is_not_a_number_of_any_kind(name: str, dtype: type) -> None:
    """Other programs mark missing values by the bits of NaN that have no meaning here."""
    width = np.dtype(dtype).itemsize * 8
    quiet = int(np.array(np.nan, dtype).view(f"u{width // 8}"))
    payloads = [0, 1, 1954, 0x123, (1 << 20) - 1]
    bits = [quiet | payload | sign << (width - 1) for payload in payloads for sign in (0, 1)]
    x: Array = np.array(bits, f"u{width // 8}").view(dtype)
    quick = [f"near_{name}"] if name in ("sin", "cos", "tan") else []
    for called in (name, *quick):
        assert np.all(np.isnan(run(called, *[x] * (2 if name == "power" else 1))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_quick_forms_are_as_good_where_they_serve(name: str, dtype: type) -> None:
    [x] = samples(name, dtype, 3000)
    x = x[~(np.abs(x) >= vectormath.NEAR)]
    np.testing.assert_array_max_ulp(run(f"near_{name}", x), run(name, x), 2)


# Without AVX2, sixteen-byte vectors hold two float64: LLVM then keeps some of these loops scalar.
@pytest.mark.skipif(not binding.get_host_cpu_features().get("avx2"), reason="narrow vectors")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_loop_is_vectorised(name: str, dtype: type) -> None:
    x: Array = np.ones(9, dtype)
    run(name, *[x] * (2 if name == "power" else 1))
    [ir] = loop(function(name, dtype)).inspect_llvm().values()
    assert re.search(r"fmul contract <\d+ x (?:double|float)>", ir)
    assert not re.search(r"call [^\n]*@(?:llvm\.)?(?:exp|log|sin|cos|tan|pow|erf|atan)", ir)


def test_functions_depend_on_nothing_but_functions_above_them() -> None:
    known = {"np", "abs", "max", "min", "view", "inf", "nan", "rint", "copysign"}
    known |= {"float32", "float64", "int32", "int64"}
    for name, f in FUNCTIONS.items():
        assert set(f.__code__.co_names) <= known
        known.add(name)
    assert {function(name, dtype) for name in NAMES for dtype in DTYPES} <= known


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_function_is_what_its_op_calls(dtype: type) -> None:
    """None lies idle while kernels call the mathematical library one number at a time."""
    code = np.dtype(dtype)
    for name in NAMES:
        called = re.findall(r"(\w+)\(", lookup(name).scalar)
        assert function(name, dtype) in [function_name(each, code) for each in called]
