"""The written module: it runs without symgrad, with and without Numba, and says what is wrong."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.ir.types import Array
from symgrad.module import Module, model_module
from symgrad.tensor import Tensor

HOSTILE = (
    "a b", "λ", "class", "x'); import os; ('", "np", '"""', "\\", "{0}", "%s", "#", "None", "_",
    "1x", "math", "njit", "i", "t1", "sizes", "values", "results", "arrays", "value_and_grad",
    "_value_and_grad", "_bind",
    "check", "initial", "n", "total", "loss", "len", "range", "zip", "dict", "INPUTS", "PARAMETERS",
    "IndexError", "ValueError", "__name__", "file", "allow_pickle", "../up", "w.npy",
)  # fmt: skip
SCRIPT = """
import sys
sys.modules["symgrad"] = None
if sys.argv[1] == "plain":
    sys.modules["numba"] = None
import numpy as np
import written
for batch in ("small", "large"):
    with np.load(f"{batch}.npz") as data:
        values = dict(data)
    loss, gradients = written.value_and_grad(**values)
    del values["t"]
    np.savez(f"{batch}_got.npz", loss=loss, **gradients, **written.forward(**values))
assert hasattr(written._value_and_grad, "py_func") == (sys.argv[1] == "numba")
assert not [name for name in sys.modules if name.startswith("symgrad.")]
"""


def alone(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python where symgrad is not on the path."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, encoding="utf-8",
        timeout=120, check=False,
    )  # fmt: skip


def network(width: int = 5) -> sg.Model:
    x, t = sg.tensor("x", ("n", 3)), sg.tensor("t", ("n",), "int64")
    W1 = sg.parameter("W1", (3, width), init=sg.init.glorot_uniform)
    b1 = sg.parameter("b1", (width,))
    W2 = sg.parameter("W2", (width, 4), init=sg.init.he_normal)
    logits = np.tanh(x @ W1 + b1) @ W2
    return sg.Model(sg.nn.cross_entropy(logits, t), outputs={"logits": logits})


def by_hand(x: Array, t: Array, W1: Array, b1: Array, W2: Array) -> dict[str, Array]:
    h = np.tanh(x @ W1 + b1)
    logits = h @ W2
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(t))
    d2 = p.copy()
    d2[rows, t] -= 1
    d2 /= len(t)
    d1 = (d2 @ W2.T) * (1 - h * h)
    loss = -np.mean(np.log(p[rows, t]))
    return {"loss": loss, "W1": x.T @ d1, "b1": d1.sum(0), "W2": h.T @ d2, "logits": logits}


def namespace(module: Module, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Execute a module as if Numba were not installed."""
    monkeypatch.setitem(sys.modules, "numba", None)
    path = module.write(folder / "written.py")
    space: dict[str, Any] = {"__name__": "written", "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    return space


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return namespace(model_module(network(), "A network."), tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ["numba", "plain"])
def test_agrees_with_a_hand_written_model_at_two_batch_sizes(kind: str, tmp_path: Path) -> None:
    model_module(network(), "A network.").write(tmp_path / "written.py")
    (tmp_path / "run.py").write_text(SCRIPT)
    rng = np.random.default_rng(0)
    batches: dict[str, dict[str, Array]] = {}
    for name, n in (("small", 1), ("large", 17)):
        batches[name] = {
            "x": rng.normal(size=(n, 3)),
            "t": rng.integers(0, 4, n),
            "W1": rng.normal(size=(3, 5)),
            "b1": rng.normal(size=5),
            "W2": rng.normal(size=(5, 4)),
        }
        np.savez(tmp_path / f"{name}.npz", allow_pickle=False, **batches[name])
    done = alone("run.py", kind, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, values in batches.items():
        expected = by_hand(**values)
        with np.load(tmp_path / f"{name}_got.npz") as got:
            assert set(got) == set(expected)
            for key, value in expected.items():
                np.testing.assert_allclose(got[key], value, rtol=1e-12, atol=1e-14)


def test_run_as_a_script_it_checks_itself(tmp_path: Path) -> None:
    model_module(network(), "A network.").write(tmp_path / "written.py")
    done = alone("written.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "{'n': 3}" in done.stdout
    assert "{'n': 5}" in done.stdout
    for name in ("W1", "b1", "W2"):
        assert done.stdout.count(f"{name}: relative error") == 2


def test_the_self_check_finds_a_wrong_gradient(
    plain: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plain["check"]({"n": 4})
    right = plain["value_and_grad"]

    def wrong(*values: Any) -> Any:
        loss, gradients = right(*values)
        return loss, {**gradients, "b1": gradients["b1"] * 1.01}

    plain["value_and_grad"] = wrong
    assert not plain["check"]({"n": 4})


def test_the_self_check_of_a_float32_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    x = sg.tensor("x", ("n", 3), "float32")
    w = sg.parameter("w", (3,), "float32", init=sg.init.normal())
    model = sg.Model(sg.mean(sg.nn.softplus(x @ w)))
    space = namespace(model_module(model, "Narrow."), tmp_path, monkeypatch)
    assert space["check"]({"n": 6})
    loss, gradients = space["value_and_grad"](np.ones((2, 3), np.float32), np.ones(3, np.float32))
    assert loss.dtype == gradients["w"].dtype == np.float32


def test_the_model_comes_first() -> None:
    """Formulas and the gradient of a small network take two screens; what it needs is below."""
    x, t = sg.matrix("x", ("n", 64), "float32"), sg.vector("t", "n", "int64")
    shapes = {"W1": (64, 32), "b1": (32,), "W2": (32, 10), "b2": (10,)}
    W1, b1, W2, b2 = (sg.parameter(name, shape, "float32") for name, shape in shapes.items())
    model = sg.Model(sg.nn.cross_entropy(sg.tanh(x @ W1 + b1) @ W2 + b2, t))
    lines = model_module(model, "a network").source.splitlines()
    at = {line.split("(")[0]: i for i, line in enumerate(lines) if line.startswith("def ")}
    assert at["def value_and_grad"] <= 2 * 65
    own = ["def _value_and_grad", "def value_and_grad", "def _forward", "def forward"]
    assert [name for name in at if at[name] <= at["def forward"]] == own


def test_a_line_of_the_model_is_named_once() -> None:
    """Above the first step that it makes in a function, and not above each."""
    x, w = sg.matrix("x", ("n", 3)), sg.parameter("w", (3,))
    model = sg.Model(sg.sum(sg.tanh(x @ w)))
    text = model_module(model, "").source
    assert text.count("model = sg.Model(sg.sum(sg.tanh(x @ w)))") == 2


def test_same_model_same_bytes(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        model_module(network(30), "A network.").write(tmp_path / name)
    assert (tmp_path / "a.py").read_bytes() == (tmp_path / "b.py").read_bytes()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_same_bytes_in_another_process(tmp_path: Path) -> None:
    text = (
        "import symgrad as sg\nx, w = sg.tensor('x', ('n', 3)), sg.parameter('w', (3,))\n"
        "f = sg.compile([x, w], [l := sg.mean(sg.exp(x @ w)), sg.grad(l, w)])\n"
        "f.save(__import__('sys').argv[1])\n"
    )
    (tmp_path / "make.py").write_text(text)
    for name, seed in (("a.py", "1"), ("b.py", "2")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run([sys.executable, "make.py", name], cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "a.py").read_bytes() == (tmp_path / "b.py").read_bytes()


def test_declarations_and_initial_values(plain: dict[str, Any]) -> None:
    assert plain["INPUTS"] == {"x": ("float64", ("n", 3)), "t": ("int64", ("n",))}
    assert plain["PARAMETERS"] == {
        "W1": ("float64", (3, 5)),
        "b1": ("float64", (5,)),
        "W2": ("float64", (5, 4)),
    }
    expected = network().initial()
    assert plain["initial"]().keys() == expected.keys()
    for name, value in plain["initial"]().items():
        assert np.array_equal(value, expected[name])
        assert value.dtype == expected[name].dtype


@pytest.mark.parametrize("file", ["written.py", "written.v2.py", "written", "written.gen"])
def test_large_initial_values_lie_beside_the_module(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    model = network(40)
    path = model_module(model, "Wide.").write(tmp_path / file)
    space: dict[str, Any] = {"__name__": "written", "__file__": str(path)}
    exec(path.read_text(encoding="utf-8"), space)
    for name, value in model.initial().items():
        assert np.array_equal(space["initial"]()[name], value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([1.0, np.inf, -np.inf, np.nan, -0.0]),
        np.array([0.1, 3e38, 1e-45], "float32"),
        np.zeros((0, 3)),
        np.array(2.5),
    ],
)
def test_initial_values_come_back_as_they_were(
    value: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sg.Model(sg.sum(sg.parameter("w", init=value) ** 2))
    got = namespace(model_module(model, "Values."), tmp_path, monkeypatch)["initial"]()["w"]
    assert (got.shape, got.dtype) == (value.shape, value.dtype)
    assert got.tobytes() == value.tobytes()


@pytest.mark.parametrize("side", [3, 20])
def test_constants_come_back_as_they_were(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in causal attention: the mask is minus infinity above the diagonal."""
    mask = np.triu(np.full((side, side), -np.inf), 1)
    a = sg.tensor("a", (side, side))
    f = sg.compile(a, sg.nn.softmax(a + sg.constant(mask), axis=1), backend="numpy")
    space = namespace(f.module, tmp_path, monkeypatch)
    at = np.random.default_rng(0).normal(size=(side, side))
    np.testing.assert_allclose(space["value_and_grad"](at), f(at), rtol=1e-14)


def test_a_constant_without_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = sg.tensor("x", (2, 3))
    f = sg.compile(x, sg.concatenate([x, sg.constant(np.zeros((0, 3)))]), backend="numpy")
    space = namespace(f.module, tmp_path, monkeypatch)
    assert np.array_equal(space["value_and_grad"](np.ones((2, 3))), np.ones((2, 3)))
    tables = [value for value in space.values() if isinstance(value, np.ndarray)]
    assert all(table.shape == (0, 3) for table in tables)


def values(n: int = 2, **changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    good = {"x": rng.normal(size=(n, 3)), "t": np.zeros(n, int), **network().initial()}
    return {**good, **changed}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": np.ones(3)}, ValueError, r"x: expected .*'n', 3.*got \(3,\)"),
        ({"x": np.ones((2, 4))}, ValueError, r"x: expected .*3.*got .*\(2, 4\)"),
        ({"t": np.zeros(5, int)}, ValueError, r"t: expected the size n = 2, got .*\(5,\)"),
        ({"t": np.zeros(2)}, TypeError, "t: expected int64, got float64"),
        ({"x": np.ones((2, 3)) * 1j}, TypeError, "x: expected float64, got complex128"),
        ({"x": [["a"] * 3] * 2}, TypeError, "x: expected float64"),
        ({"t": [0, 4]}, IndexError, "class label of t is not in 0"),
        ({"t": [0, -1]}, IndexError, "class label of t is not in 0"),
    ],
)
def test_wrong_arguments_are_named(
    changed: dict[str, Any], error: type[Exception], message: str, plain: dict[str, Any]
) -> None:
    with pytest.raises(error, match=message):
        plain["value_and_grad"](**values(**changed))


def test_arguments_need_not_be_arrays(plain: dict[str, Any]) -> None:
    given = values()
    expected, _ = plain["value_and_grad"](**given)
    listed = {name: value.tolist() for name, value in given.items()}
    assert plain["value_and_grad"](**listed)[0] == expected
    given["x"] = np.asfortranarray(given["x"])
    given["x"].flags.writeable = False
    assert plain["value_and_grad"](**given)[0] == expected


def test_named_sizes_that_must_be_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = sg.vector("a", "n"), sg.vector("b", "m")
    f = sg.compile([a, b], sg.sum(a * b), backend="numpy")
    space = namespace(f.module, tmp_path, monkeypatch)
    assert space["value_and_grad"]([1.0, 2], [3.0, 4]) == 11
    with pytest.raises(ValueError, match="n == m does not hold"):
        space["value_and_grad"]([1.0, 2], [3.0])


def imports(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("name", ["a\nimport os", "\N{LINE SEPARATOR}", "a\rimport os", "\0", ""])
def test_names_that_cannot_be_printed_are_refused(name: str) -> None:
    with pytest.raises(sg.errors.ArgumentError, match="printable"):
        sg.parameter(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_never_reach_the_source_unescaped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = sg.tensor("x", ("n", 3)), sg.parameter(name, init=np.linspace(-1, 1, 3))
    y = x @ w
    model = sg.Model(sg.mean(y**2), outputs={name: y})
    module = model_module(model, name)
    assert imports(module.source) == {"numpy", "numba"}
    space = namespace(module, tmp_path, monkeypatch)
    at = np.arange(6.0).reshape(2, 3)
    start = space["initial"]()[name]
    loss, gradients = space["value_and_grad"](at, start)
    assert loss == pytest.approx(np.mean((at @ start) ** 2))
    np.testing.assert_allclose(gradients[name], at.T @ (at @ start))
    np.testing.assert_allclose(space["forward"](at, start)[name], at @ start)
    assert space["check"]({"n": 3})


@pytest.mark.parametrize("name", ["file", "allow_pickle", "a b", "../up", "λ", "w.npy", "a/b"])
def test_names_of_arrays_in_the_file_beside(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = np.arange(100.0)
    model = sg.Model(sg.sum(sg.parameter(name, init=value)))
    space = namespace(model_module(model, "Names."), tmp_path, monkeypatch)
    assert np.array_equal(space["initial"]()[name], value)
    assert {path.name for path in tmp_path.iterdir()} == {"written.py", "written.npz"}


@pytest.mark.parametrize("size", ["range", "λ", "np", "x", "i", "t1", "sizes", "len"])
def test_names_of_sizes(size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = sg.tensor("x", (size, "m"))
    f = sg.compile(x, sg.sum(x, axis=1)[1:] / x.shape[0], backend="numpy")
    space = namespace(f.module, tmp_path, monkeypatch)
    assert space["value_and_grad"](np.ones((4, 2))).tolist() == [0.5, 0.5, 0.5]


def test_hostile_names_in_one_compiled_kernel() -> None:
    inputs = [sg.vector(name, "range") for name in HOSTILE]
    total: Tensor = sum((x * x for x in inputs[1:]), inputs[0])
    given = [np.full(2, float(k)) for k in range(len(inputs))]
    got, first, last = sg.compile(
        inputs, [total, sg.grad(sg.sum(total), inputs[0]), sg.grad(sg.sum(total), inputs[-1])]
    )(*given)
    assert got.tolist() == [sum(k * k for k in range(len(inputs)))] * 2
    assert first.tolist() == [1, 1]
    assert last.tolist() == [2 * (len(inputs) - 1)] * 2


def test_a_compiled_function_saves_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    x = sg.vector("x", "n")
    y = sg.sum(sg.sin(x) ** 2)
    f = sg.compile(x, [y, sg.grad(y, x)], backend="numpy")
    path = f.save(tmp_path / "saved.py")
    assert path.read_text(encoding="utf-8") == f.source
    space = namespace(f.module, tmp_path, monkeypatch)
    at = np.linspace(0, 1, 4)
    value, gradient = space["value_and_grad"](at)
    assert value == pytest.approx(np.sum(np.sin(at) ** 2), rel=1e-14)
    np.testing.assert_allclose(gradient, np.sin(2 * at), rtol=1e-14)
    assert space["check"]({"n": 5})
    assert "∂y/∂x = " in str(space["__doc__"])


def test_results_are_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = sg.vector("x", "n")
    table = np.arange(70.0)
    f = sg.compile(x, [x, x[::-1], x.reshape((-1, 1)), sg.constant(table), x], backend="numpy")
    space = namespace(f.module, tmp_path, monkeypatch)
    at = np.arange(3.0)
    first = space["value_and_grad"](at)
    kept = [value.copy() for value in first]
    for value in first:
        value += 1
    for got, expected in zip(space["value_and_grad"](at), kept, strict=True):
        assert np.array_equal(got, expected)
