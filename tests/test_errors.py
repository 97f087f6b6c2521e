"""Every error says which tensor, expected against got, where it was made, and the likely fix."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.tensor import Tensor

HERE = r"test_errors\.py:\d+"


def declared() -> dict[str, Tensor]:
    return {
        "hidden": sg.tensor("hidden", ("n", 4)),
        "weights": sg.tensor("weights", (3, 2)),
        "v": sg.tensor("v", (5,)),
        "t": sg.tensor("t", ("n",), "int64"),
        "flag": sg.tensor("flag", (5,), "bool"),
        "s": sg.scalar("s"),
    }


Use = Callable[..., Any]


def _any(value: Any) -> Any:
    """Return a value that the type checker should let pass."""
    return value


def caught(kind: type[errors.SymgradError], use: Use) -> str:
    with pytest.raises(kind) as info:
        use(**declared())
    return str(info.value)


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        (
            lambda hidden, weights, **_: hidden @ weights,
            ["matmul: inner sizes differ: hidden is float64[n, 4], weights is float64[3, 2]"],
        ),
        (
            lambda v, weights, **_: v + weights,
            ["add: sizes of axis 1 differ", "v is float64[5]", "weights is float64[3, 2]"],
        ),
        (lambda v, **_: v + np.ones(4), ["sizes of axis 0 differ", "v is float64[5]"]),
        (
            lambda v, weights, **_: np.concatenate([v, weights]),
            ["concatenate: numbers of axes differ", "v is float64[5]"],
        ),
        (
            lambda weights, **_: np.concatenate([weights, np.ones((3, 3))], axis=0),
            ["concatenate: sizes of axis 1 differ", "weights is float64[3, 2]"],
        ),
        (lambda weights, **_: weights.reshape(4, 2), ["reshape", "float64[3, 2]", "4, 2"]),
        (lambda weights, **_: weights.reshape(4, -1), ["reshape", "float64[3, 2]"]),
        (
            lambda weights, **_: weights.squeeze(0),
            ["squeeze", "axis 0 has size 3, not 1", "weights"],
        ),
        (
            lambda weights, **_: np.broadcast_to(weights, (4, 2)),
            ["broadcast_to", "weights is float64[3, 2]", "4, 2"],
        ),
        (lambda s, v, **_: s @ v, ["matmul: an operand has no axes", "fix: multiply by a number"]),
        (lambda weights, **_: np.trace(weights), ["not a square matrix", "weights: float64[3, 2]"]),
        (lambda v, **_: np.split(v, 2), ["split: float64[5] has no 2 equal parts"]),
        (lambda weights, **_: np.transpose(weights, (0, 0)), ["transpose", "(0, 0)"]),
        (lambda **_: np.max(sg.tensor("e", (0,))), ["no extremum", "e is float64[0]"]),
        (lambda **_: np.argmax(sg.tensor("e", (0, 2)), axis=0), ["no extremum", "e is float64"]),
        (lambda s, **_: len(s), ["len", "s: float64[]", "no axes"]),
        (
            lambda hidden, v, **_: sg.nn.cross_entropy(hidden, v),
            ["cross_entropy", "neither integer classes nor a probability"],
        ),
        (
            lambda hidden, **_: sg.nn.cross_entropy(hidden, sg.tensor("t2", ("n", 4), "int64")),
            ["labels must have one axis less", "t2 is int64[n, 4]"],
        ),
        (lambda v, **_: sg.vjp(v, v, np.ones(3)), ["cotangents", "float64[3]", "float64[5]"]),
        (lambda hidden, **_: sg.jacobian(hidden, hidden), ["jacobian", "not known before a call"]),
        (
            lambda **_: sg.parameter("p", (2, 3), init=np.ones((3, 2))),
            ["parameter p is float64[2, 3]", "init has the shape (3, 2)"],
        ),
    ],
)
def test_shapes(use: Use, parts: list[str]) -> None:
    message = caught(errors.ShapeError, use)
    assert all(part in message for part in parts), message
    assert re.search(f"made at {HERE}", message)


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        (lambda v, t, **_: v[t.astype(float)], ["not an integer"]),
        (lambda flag, **_: flag + flag, ["add: not defined on bool", "fix: use & | ~"]),
        (lambda flag, **_: -flag, ["negative: not defined on bool"]),
        (lambda v, **_: v + np.ones(5, complex), ["add", "complex128"]),
        (lambda v, **_: v * np.array(["a"] * 5), ["multiply"]),
        (lambda v, **_: v + "a", ["add"]),
        (lambda v, **_: v + None, ["add"]),
        (lambda v, **_: v + object(), ["add"]),
        (lambda t, **_: t ** np.int64(-1), ["power", "negative", "fix: use a float base"]),
        (lambda t, **_: t**-1, ["power", "fix: use a float base"]),
        (lambda t, **_: t**t, ["power", "fix: use a float base"]),
        (lambda t, **_: t + 2**70, ["add"]),
        (lambda **_: sg.tensor("i", (), "int32") + 2**40, ["does not fit in int32"]),
        (lambda **_: sg.tensor("x", (), "float16"), ["float16", "expected one of"]),
        (lambda **_: sg.tensor("x", (-1,)), ["a size cannot be negative, got -1"]),
        (lambda **_: sg.tensor("x", ("2n",)), ["'2n' is not a size"]),
        (lambda **_: sg.arange(-1), ["a size cannot be negative, got -1"]),
        (lambda **_: sg.constant(np.ones(2, "complex64")), ["complex64"]),
        (lambda v, **_: v.astype("int8"), ["int8", "expected one of"]),
        (lambda v, **_: sg.one_hot(v, 3), ["not an integer", "v is float64[5]"]),
    ],
)
def test_dtypes_and_sizes(use: Use, parts: list[str]) -> None:
    message = caught(errors.SymgradError, use)
    assert all(part in message for part in parts), message
    assert re.search(HERE, message), message


@pytest.mark.parametrize(
    ("use", "fix"),
    [
        (lambda v, **_: bool(v), "np.where"),
        (lambda v, **_: 1 if v > 0 else 2, "np.where"),
        (lambda v, **_: v > 0 and v < 1, "np.where"),
        (lambda v, s, **_: s in [v], "np.where"),
        (lambda s, **_: float(s), "compile it"),
        (lambda s, **_: int(s), "compile it"),
        (lambda s, **_: s.item(), "compile it"),
        (lambda s, **_: [1, 2, 3][s], "index a tensor"),
        (lambda s, **_: range(s), "index a tensor"),
        (lambda v, **_: np.asarray(v), "use NumPy's functions on the tensor"),
        (lambda v, **_: np.array([v, v]), "use NumPy's functions on the tensor"),
        (lambda v, **_: np.ones(5)[v], "sg.constant"),
        (lambda hidden, **_: len(hidden), "declare the size as an integer"),
        (lambda hidden, **_: list(hidden), "declare the size as an integer"),
        (lambda hidden, **_: [row for row in hidden], "declare the size as an integer"),  # noqa: C416
        (lambda hidden, **_: np.zeros(hidden.shape), "declare the size as an integer"),
        (lambda hidden, **_: range(hidden.shape[0]), "declare the size as an integer"),
    ],
)
def test_a_tensor_is_no_number_before_a_call(use: Use, fix: str) -> None:
    message = caught(errors.SymbolicError, use)
    assert fix in message.replace("\n", " "), message
    assert "fix: " in message
    assert re.search(HERE, message) or "the size n" in message, message


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        (lambda v, **_: np.linalg.svd(v), ["np.svd", "docs/ops.md"]),
        (lambda v, **_: np.sort(v), ["np.sort is not known for tensors"]),
        (lambda v, **_: np.histogram(v), ["np.histogram"]),
        (lambda v, **_: np.spacing(v), ["np.spacing"]),
        (lambda v, **_: np.add.reduce(v), ["np.add.reduce", "fix: use np.sum"]),
        (lambda v, **_: np.add.at(v, [0], 1), ["np.add.at"]),
        (lambda v, **_: np.add(v, v, out=np.ones(5)), ["np.add with out="]),
        (lambda v, **_: np.sum(v, out=np.ones(())), ["np.sum with out="]),
        (lambda v, **_: np.sum(v, dtype="float32"), ["np.sum", "dtype"]),
        (lambda v, **_: np.sum(v, where=[True] * 5), ["np.sum", "where"]),
        (lambda v, **_: np.exp(v, where=v > 0), ["np.exp", "where"]),
        (lambda v, **_: np.where(v > 0), ["where", "np.where(condition, a, b)"]),
        (lambda v, **_: np.linalg.norm(v, "nuc"), ["norm: order 'nuc'", "v: float64[5]"]),
        (lambda hidden, **_: np.dot(hidden[None], hidden), ["dot", "np.matmul"]),
        (lambda v, **_: v.__setitem__(0, 1), ["v: float64[5]", "cannot be assigned", "np.where"]),
        (lambda v, **_: np.exp(v, v), ["exp"]),
    ],
)
def test_what_is_not_supported(use: Use, parts: list[str]) -> None:
    message = caught(errors.SymgradError, use)
    assert all(part in message for part in parts), message
    assert re.search(HERE, message), message


def test_assigning_into_an_array_is_refused() -> None:
    a: Any = np.zeros(3)
    with pytest.raises(ValueError) as info:  # NumPy puts its own error around ours.
        a[0] = sg.scalar("s")
    assert isinstance(info.value.__cause__, errors.SymbolicError)
    with pytest.raises(errors.SymgradError):
        a += sg.vector("v", 3)


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        (lambda v, **_: v[5], ["5 is outside axis 0, which has size 5"]),
        (lambda v, **_: v[-6], ["-6 is outside axis 0"]),
        (lambda v, **_: v[0, 0], ["2 indices for 1 axes"]),
        (lambda v, **_: v[..., ...], ["more than one ellipsis"]),
        (lambda v, **_: v[v > 0], ["a mask selects", "np.where(mask, a, b)"]),
        (lambda v, **_: v[True], ["a truth value is not an index"]),
        (lambda v, **_: v[0.5], ["not an integer"]),
        (lambda v, **_: v["a"], ["not an integer"]),
        (lambda v, **_: np.sum(v, axis=1), ["sum: there is no axis 1; the tensor has 1 axes"]),
        (lambda v, **_: np.sum(v, axis=(0, 0)), ["sum: an axis is repeated"]),
        (lambda v, **_: sg.sum(v, axis=0.5), ["no axis 0.5"]),
        (lambda v, **_: v.argmax(axis=2), ["argmax: there is no axis 2"]),
        (lambda v, **_: np.swapaxes(v, 0, 1), ["swapaxes: there is no axis 1"]),
        (lambda v, **_: np.concatenate([v, v], axis=1), ["concatenate: there is no axis 1"]),
    ],
)
def test_indices_and_axes(use: Use, parts: list[str]) -> None:
    message = caught(errors.ValueRangeError, use)
    assert all(part in message for part in parts), message
    assert re.search(HERE, message), message


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        (lambda **_: sg.tensor("", ()), ["name is a non-empty string, got ''"]),
        (lambda **_: sg.tensor(_any(3), ()), ["name is a non-empty string, got 3"]),
        (lambda v, **_: sg.sin(v, v), ["sin takes 1 argument, got 2"]),
        (lambda v, **_: sg.add(v), ["add takes 2 arguments, got 1"]),
        (lambda **_: sg.concatenate([]), ["nothing to join"]),
        (lambda v, **_: sg.nn.squared_error(v, v, "median"), ["'mean', 'sum' or 'none'", "median"]),
        (
            lambda v, **_: sg.grad(sg.sum(v), _any(np.ones(5))),
            ["wrt is a tensor or a list of tensors"],
        ),
        (lambda v, **_: sg.grad(sg.sum(v), [v, _any(3)]), ["wrt is a tensor or a list of tensors"]),
        (lambda v, **_: sg.grad(3.0, v), ["z is a tensor"]),
        (lambda v, **_: sg.vjp([v, v], v, [np.ones(5)]), ["2 cotangents are needed, got 1"]),
        (lambda v, **_: sg.parameter("p", init=v), ["init must be an array or a function"]),
    ],
)
def test_arguments(use: Use, parts: list[str]) -> None:
    message = caught(errors.ArgumentError, use)
    assert all(part in message for part in parts), message
    assert re.search(HERE, message), message


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        (lambda v, **_: sg.grad(v, v), ["only a scalar has a gradient", "v: float64[5]", "sg.vjp"]),
        (lambda t, **_: sg.grad(sg.sum(t), t), ["is not a real number"]),
        (lambda v, t, **_: sg.grad(sg.sum(v), t), ["wrt", "t: int64[n]", "astype"]),
        (lambda v, s, **_: sg.grad(s, v, disconnected="raise"), ["v is never used in it"]),
    ],
)
def test_gradients(use: Use, parts: list[str]) -> None:
    message = caught(errors.GradientError, use)
    assert all(part in message for part in parts), message
    assert re.search(HERE, message), message


def test_an_unknown_way_to_treat_what_is_disconnected() -> None:
    x = sg.scalar("x")
    with pytest.raises(errors.ArgumentError, match="'zeros' or 'raise', got 'none'"):
        sg.grad(x * x, x, disconnected="none")


# At the call


def model(backend: str) -> Any:
    x, y = sg.tensor("x", ("n", 3), "float32"), sg.tensor("y", ("m",), "float32")
    t = sg.tensor("t", ("n",), "int32")
    return sg.compile([x, y, t], [sg.sum(x, axis=1) + y, sg.one_hot(t, 3)], backend=backend)


X, Y, T = np.ones((2, 3), "float32"), np.ones(2, "float32"), np.zeros(2, "int32")


@pytest.mark.parametrize(
    ("kind", "arguments", "parts"),
    [
        (errors.ArgumentError, (X, Y), ["3 arguments are needed (x, y, t), got 2"]),
        (errors.ArgumentError, (X, Y, T, T), ["3 arguments are needed (x, y, t), got 4"]),
        (errors.ShapeError, (X[0], Y, T), ["x: expected 2 axes", "shape (3,)", "float32[n, 3]"]),
        (errors.ShapeError, (X[:, :2], Y, T), ["x: expected size 3 for axis 1", "shape (2, 2)"]),
        (errors.ShapeError, (X, Y, T[:1]), ["the size n is 2 in x but 1 in t"]),
        (errors.DtypeError, (X.astype(complex), Y, T), ["x: expected float32, got complex128"]),
        (errors.DtypeError, (X, Y, T.astype(float)), ["t: expected int32, got float64"]),
        (
            errors.DtypeError,
            (X.astype("f8") * 1e300, Y, T),
            ["x: expected float32", "does not fit"],
        ),
        (errors.DtypeError, (X, Y, np.array([0, 2**40])), ["t: expected int32", "does not fit"]),
        (errors.DtypeError, (X, ["a", "b"], T), ["y: expected float32"]),
        (errors.DtypeError, (X, [None, 1], T), ["y: expected float32"]),
        (errors.ValueRangeError, (X, Y, T + 3), ["class label 3 is not in 0 ... 2"]),
        (errors.ValueRangeError, (X, Y, T - 1), ["class label -1 is not in 0 ... 2"]),
    ],
)
def test_calls(
    backend: str, kind: type[errors.SymgradError], arguments: tuple[Any, ...], parts: list[str]
) -> None:
    f = model(backend)
    with pytest.raises(kind) as info:
        f(*arguments)
    message = str(info.value)
    assert all(part in message for part in parts), message
    assert kind is errors.ArgumentError or re.search(HERE, message), message


def test_two_named_sizes_that_differ_are_both_named(backend: str) -> None:
    with pytest.raises(errors.ShapeError) as info:
        model(backend)(X, np.ones(5, "float32"), T)
    message = str(info.value)
    assert "sizes of axis 0" in message
    assert "m = 5, n = 2" in message or "n = 2, m = 5" in message
    assert re.search(HERE, message)


def test_a_tensor_is_no_argument(backend: str) -> None:
    x = sg.scalar("x")
    with pytest.raises(errors.ArgumentError, match="x: a call takes arrays, got the tensor"):
        sg.compile([x], x * 2, backend=backend)(x)


def test_a_ragged_list_is_refused(backend: str) -> None:
    x = sg.matrix("x")
    with pytest.raises(errors.SymgradError, match="x"):
        sg.compile([x], x * 2, backend=backend)([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_out_of_range_names_the_line(backend: str, index: int) -> None:
    x, i = sg.vector("x", 4), sg.tensor("i", (1,), "int64")
    f = sg.compile([x, i], x[i], backend=backend)
    with pytest.raises(errors.ValueRangeError, match=rf"(?s){index}.*{HERE}"):
        f(np.ones(4), [index])


@pytest.mark.parametrize("index", [4, -5])
def test_a_constant_index_out_of_range_names_the_line(backend: str, index: int) -> None:
    x = sg.vector("x", "n")
    f = sg.compile([x], x[[0, index]], backend=backend)
    with pytest.raises(errors.ValueRangeError, match=rf"(?s){index}.*{HERE}"):
        f(np.ones(4))


@pytest.mark.parametrize("index", [4, -5])
def test_an_index_out_of_a_named_size(backend: str, index: int) -> None:
    x = sg.vector("x", "n")
    f = sg.compile([x], x[index], backend=backend)
    with pytest.raises(errors.SymgradError, match=rf"(?s)n = 4.*{HERE}"):
        f(np.ones(4))
    assert f(np.arange(6.0)).shape == ()


def test_a_slice_longer_than_a_named_size(backend: str) -> None:
    x = sg.vector("x", "n")
    f = sg.compile([x], x[2:5], backend=backend)
    with pytest.raises(errors.ShapeError, match=rf"(?s)n >= 5 does not hold for n = 4.*{HERE}"):
        f(np.ones(4))


def test_a_reshape_that_does_not_fit_a_named_size(backend: str) -> None:
    x = sg.vector("x", "n")
    f = sg.compile([x], x.reshape(2, 3), backend=backend)
    with pytest.raises(errors.ShapeError, match=rf"(?s)numbers of elements.*n = 5.*{HERE}"):
        f(np.ones(5))


def test_arguments_by_name(backend: str) -> None:
    f = model(backend)
    with pytest.raises(errors.ArgumentError, match="missing: t; unknown: z"):
        f.by_name({"x": X, "y": Y, "z": T})


@pytest.mark.parametrize("wrong", [np.ones(2), np.ones(3, "float32"), [np.ones(3), np.ones(3)]])
def test_out_must_fit(backend: str, wrong: Any) -> None:
    x = sg.vector("x", 3)
    f = sg.compile([x], x * 2, backend=backend)
    with pytest.raises(errors.SymgradError, match="out: "):
        f(np.ones(3), out=wrong)
    out = np.zeros(3)
    f(np.ones(3), out=out)
    assert out.tolist() == [2, 2, 2]


def test_compiling() -> None:
    x, n = sg.scalar("x"), sg.ones(("n",))
    with pytest.raises(errors.ArgumentError, match="no backend is called 'cuda'; there are: numba"):
        sg.compile([x], x, backend="cuda")
    with pytest.raises(errors.ArgumentError, match="no pass is called 'fast'"):
        sg.compile([x], x, backend="numpy", without=["fast"])
    with pytest.raises(errors.GraphError, match="no input has the size n"):
        sg.compile([x], x * n, backend="numpy")
    with pytest.raises(errors.GraphError, match=rf"not among the inputs: x \(made at {HERE}\)"):
        sg.compile([], [x * 2], backend="numpy")


def test_models() -> None:
    x, w = sg.tensor("x", ("n", 3)), sg.parameter("w", (3,))
    loss = sg.sum(x @ w)
    with pytest.raises(errors.ArgumentError, match="must be a real scalar tensor"):
        sg.Model(x @ w)
    with pytest.raises(errors.ArgumentError, match=r"data for 'z', which is not an input \(x\)"):
        sg.Model(loss, data={"z": np.ones(3)})
    with pytest.raises(errors.ShapeError, match="x: expected 2 axes"):
        sg.Model(loss, data={x: np.ones(3)})
    with pytest.raises(errors.ShapeError, match="x: expected size 3 for axis 1"):
        sg.Model(loss, data={x: np.ones((2, 4))})
    with pytest.raises(errors.ArgumentError, match="two declared tensors are called 'x'"):
        sg.Model(loss + sg.sum(sg.vector("x")))
    with pytest.raises(errors.ArgumentError, match="an input and a parameter are called 'x'"):
        sg.Model(loss + sg.sum(sg.parameter("x", (2,))))


def test_every_error_is_a_symgrad_error_and_a_builtin_one() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    assert all(issubclass(k, errors.SymgradError) for k in kinds if issubclass(k, Exception))
    assert issubclass(errors.ValueRangeError, IndexError)
    assert issubclass(errors.ShapeError, ValueError)
    assert issubclass(errors.SymbolicError, TypeError)


def test_the_four_parts_stand_in_order() -> None:
    x = sg.scalar("x")
    message = errors.worded("what", made_at=x.node.origin, inputs=["a was made at b"], fix="this")
    lines = message.splitlines()
    assert lines[0] == "what"
    assert lines[1].startswith("  made at test_errors.py:") and 'sg.scalar("x")' in lines[1]
    assert lines[2:] == ["  a was made at b", "  fix: this"]


def test_the_example_of_the_manual() -> None:
    hidden = sg.tensor("hidden", ("n", 4))
    weights = sg.tensor("weights", (3, 2))
    with pytest.raises(errors.ShapeError) as info:
        hidden @ weights
    lines = str(info.value).splitlines()
    assert lines[0] == (
        "matmul: inner sizes differ: hidden is float64[n, 4], weights is float64[3, 2]"
    )
    assert re.fullmatch(rf"  made at {HERE}   hidden @ weights", lines[1])
    assert re.fullmatch(rf"  hidden was made at {HERE}, weights was made at {HERE}", lines[2])
