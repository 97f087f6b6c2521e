"""Models: what is found in the graph, the data, initial values, and the compiled steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.check import check
from symgrad.ir.types import Array


def parts() -> dict[str, Any]:
    x, t = sg.matrix("x", ("n", 3)), sg.tensor("t", ("n",), "int64")
    W = sg.parameter("W", (3, 4), init=sg.init.glorot_uniform)
    b = sg.parameter("b", (4,))
    logits = x @ W + b
    loss = sg.nn.cross_entropy(logits, t)
    return {"x": x, "t": t, "W": W, "b": b, "logits": logits, "loss": loss}


def data(n: int = 5) -> dict[str, Array]:
    rng = np.random.default_rng(n)
    return {"x": rng.normal(size=(n, 3)), "t": rng.integers(0, 4, n)}


class TestDiscovery:
    def test_inputs_parameters_and_gradients(self) -> None:
        p = parts()
        model = sg.Model(p["loss"], outputs={"logits": p["logits"]})
        assert list(model.inputs) == ["x", "t"]
        assert list(model.parameters) == ["W", "b"]
        assert model.inputs["x"].node is p["x"].node
        assert list(model.gradients) == ["W", "b"]
        assert model.gradients["W"].shape == (3, 4)
        assert [t.name for t in model.arguments] == ["x", "t", "W", "b"]
        assert model.data == {}
        assert repr(model) == "<Model: inputs x, t; parameters W, b>"
        assert model.origin.place.startswith("test_model.py:")

    def test_without_parameters_gradients_are_by_the_real_inputs(self) -> None:
        x, k = sg.vector("x", "n"), sg.tensor("k", (), "int64")
        model = sg.Model(sg.sum(x**2) * k)
        assert list(model.gradients) == ["x"]
        loss, gradients = model.compile("numpy")(x=[1.0, 2.0], k=3)
        assert loss == 15
        assert gradients["x"].tolist() == [6, 12]

    def test_an_integer_parameter_has_no_gradient(self) -> None:
        w, k = sg.parameter("w", init=[1.0, 2.0]), sg.parameter("k", init=np.array(3))
        model = sg.Model(sg.sum(w) * k)
        assert list(model.parameters) == ["w", "k"]
        assert list(model.gradients) == ["w"]

    def test_a_parameter_that_only_an_output_uses(self) -> None:
        x, w, v = sg.vector("x", 3), sg.parameter("w", (3,)), sg.parameter("v", (3,))
        model = sg.Model(sg.sum(x * w), outputs={"y": sg.sum(x * v)})
        loss, gradients = model.compile("numpy")(x=[1.0, 2, 3], w=[1.0, 1, 1], v=[5.0, 5, 5])
        assert loss == 6
        assert gradients["v"].tolist() == [0, 0, 0]
        assert model.compile_forward("numpy")(x=[1.0, 2, 3], v=[1.0, 1, 1]) == {"y": 6}

    @pytest.mark.parametrize(
        "loss",
        [
            sg.vector("x", "n"),
            sg.vector("x", 1),
            sg.tensor("k", (), "int64"),
            sg.tensor("c", (), "bool"),
            1.0,
            None,
        ],
    )
    def test_the_loss_is_a_real_scalar(self, loss: Any) -> None:
        with pytest.raises(errors.ArgumentError, match="real scalar") as raised:
            sg.Model(loss)
        assert "made at test_model.py:" in str(raised.value)

    def test_two_tensors_of_one_name(self) -> None:
        for second in (sg.vector("x", "n"), sg.parameter("x", ("n",))):
            with pytest.raises(errors.ArgumentError, match="called 'x'"):
                sg.Model(sg.sum(sg.vector("x", "n") * second))


class TestData:
    def test_by_tensor_and_by_name(self) -> None:
        p, arrays = parts(), data()
        model = sg.Model(p["loss"], data={p["x"]: arrays["x"], "t": arrays["t"]})
        for name, array in arrays.items():
            assert np.array_equal(model.data[name], array)

    def test_is_converted_to_the_declared_type(self) -> None:
        x = sg.vector("x", "n", "float32")
        model = sg.Model(sg.sum(x), data={x: [1, 2]})
        assert model.data["x"].dtype == np.float32

    def test_gives_the_sizes_of_parameters(self) -> None:
        x, w = sg.matrix("x", ("n", "d")), sg.parameter("w", ("d",), init=sg.init.normal())
        model = sg.Model(sg.mean((x @ w) ** 2), data={x: np.ones((5, 7))})
        assert model.initial()["w"].shape == (7,)
        assert model.initial(d=2)["w"].shape == (2,)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("W", np.ones((3, 4)), "'W', which is not an input"),
            ("y", np.ones(3), "'y', which is not an input"),
            ("x", np.ones((5, 3)), "no data for t"),
            ("t", [0.5], "expected int64"),
            ("x", [["a"] * 3], "expected float64"),
        ],
    )
    def test_that_does_not_fit(self, name: str, value: Any, message: str) -> None:
        with pytest.raises(errors.SymgradError, match=message):
            sg.Model(parts()["loss"], data={name: value})

    @pytest.mark.parametrize(
        "changed", [{"x": np.ones((5, 2))}, {"x": np.ones(5)}, {"t": np.zeros(4, int)}]
    )
    def test_of_a_wrong_shape(self, changed: dict[str, Array]) -> None:
        """At the latest where the data are used."""
        with pytest.raises(errors.ShapeError, match=next(iter(changed))):
            check(sg.Model(parts()["loss"], data={**data(), **changed}))


class TestInitial:
    def test_values_types_and_seeds(self) -> None:
        model = sg.Model(parts()["loss"])
        first, again, other = model.initial(), model.initial(0), model.initial(seed=1)
        assert first["b"].tolist() == [0, 0, 0, 0]
        assert np.array_equal(first["W"], again["W"])
        assert not np.array_equal(first["W"], other["W"])
        limit = np.sqrt(6 / 7)
        assert np.all(np.abs(first["W"]) <= limit)

    def test_two_parameters_are_drawn_apart(self) -> None:
        a, b = (sg.parameter(name, (3,), init=sg.init.normal()) for name in "ab")
        drawn = sg.Model(sg.sum(a * b)).initial()
        assert not np.array_equal(drawn["a"], drawn["b"])

    @pytest.mark.parametrize(
        ("init", "expected"),
        [
            (None, [0, 0]),
            (2.5, [2.5, 2.5]),
            (np.array([1.0, 2.0], "float32"), [1, 2]),
            (sg.init.zeros, [0, 0]),
            (sg.init.constant(3), [3, 3]),
            (lambda rng, shape, dtype: np.full(shape, 4.0), [4, 4]),
        ],
    )
    def test_ways_to_say_it(self, init: Any, expected: list[float]) -> None:
        w = sg.parameter("w", (2,), "float32", init=init)
        value = sg.Model(sg.sum(w)).initial()["w"]
        assert value.tolist() == expected
        assert value.dtype == np.float32
        assert value.flags.writeable

    def test_values_are_fresh(self) -> None:
        init = np.array([1.0, 2.0])
        model = sg.Model(sg.sum(sg.parameter("w", init=init)))
        model.initial()["w"][:] = 0
        assert model.initial()["w"].tolist() == init.tolist() == [1, 2]

    def test_a_size_without_a_value(self) -> None:
        w = sg.parameter("w", ("d",), init=sg.init.normal())
        model = sg.Model(sg.sum(w))
        with pytest.raises(errors.ShapeError, match=r"model\.initial\(d=\.\.\.\)"):
            model.initial()
        assert model.initial(d=3)["w"].shape == (3,)

    def test_an_initialiser_of_the_wrong_shape(self) -> None:
        w = sg.parameter("w", (2,), init=lambda rng, shape, dtype: np.ones(3))
        with pytest.raises(errors.ShapeError, match=r"init gave the shape \(3,\)"):
            sg.Model(sg.sum(w)).initial()


class TestCompiled:
    def test_the_loss_and_gradients_by_name(self, backend: str) -> None:
        p = parts()
        model = sg.Model(p["loss"], outputs={"logits": p["logits"]})
        values = {**data(), **model.initial()}
        loss, gradients = model.compile(backend=backend)(**values)
        logits = values["x"] @ values["W"]
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        delta = (shares - np.eye(4)[values["t"]]) / 5
        assert loss == pytest.approx(-np.mean(np.log(shares[np.arange(5), values["t"]])))
        np.testing.assert_allclose(gradients["W"], values["x"].T @ delta, rtol=1e-12)
        np.testing.assert_allclose(gradients["b"], delta.sum(0), rtol=1e-11)
        del values["t"]
        forward = model.compile_forward(backend=backend)(**values)
        assert list(forward) == ["logits"]
        np.testing.assert_allclose(forward["logits"], logits, rtol=1e-13)

    def test_arguments_by_name(self) -> None:
        step = sg.Model(parts()["loss"]).compile("numpy")
        with pytest.raises(errors.ArgumentError, match="missing: t, W, b; unknown: y"):
            step(x=np.ones((1, 3)), y=0)

    def test_forward_without_outputs_is_the_loss(self) -> None:
        p = parts()
        model = sg.Model(p["loss"])
        values = {**data(), **model.initial()}
        forward = model.compile_forward("numpy")(**values)
        assert forward == {"loss": pytest.approx(np.log(4), abs=1.5)}

    def test_an_output_that_is_an_input(self, backend: str) -> None:
        w = sg.parameter("w", init=[1.0, 2.0])
        model = sg.Model(sg.sum(w * w), outputs={"w": w, "twice": 2 * w})
        got = model.compile_forward(backend)(w=[1.0, 2.0])
        assert {k: v.tolist() for k, v in got.items()} == {"w": [1, 2], "twice": [2, 4]}

    def test_without_a_pass(self) -> None:
        p = parts()
        values = {**data(), **sg.Model(p["loss"]).initial()}
        expected, _ = sg.Model(p["loss"]).compile("numpy")(**values)
        step = sg.Model(p["loss"]).compile("numpy", without=("simplify", "cse"))
        assert step(**values)[0] == pytest.approx(expected, rel=1e-14)

    def test_learns(self) -> None:
        x, t = sg.matrix("x", ("n", 2)), sg.vector("t", "n")
        w = sg.parameter("w", (2,))
        model = sg.Model(sg.mean((x @ w - t) ** 2))
        X = np.random.default_rng(0).normal(size=(50, 2))
        values, step = model.initial(), model.compile("numpy")
        for _ in range(200):
            _, gradients = step(x=X, t=X @ [2.0, -1.0], **values)
            values["w"] -= 0.1 * gradients["w"]
        np.testing.assert_allclose(values["w"], [2, -1], atol=1e-8)
