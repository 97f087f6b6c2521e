"""Training: the update rules against loops by hand, and what a training step does to its arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.ir.types import Array
from symgrad.optim import Optimizer
from symgrad.tensor import Tensor

Loop = Callable[[dict[str, Array], Callable[[dict[str, Array]], dict[str, Array]], int], None]


def least_squares(dtype: str = "float64") -> sg.Model:
    x, t = sg.matrix("x", ("n", 3), dtype), sg.vector("t", "n", dtype)
    w, b = sg.parameter("w", (3,), dtype), sg.parameter("b", (), dtype)
    return sg.Model(sg.mean((x @ w + b - t) ** 2))


def samples(dtype: str = "float64", n: int = 7) -> dict[str, Array]:
    rng = np.random.default_rng(n)
    return {"x": rng.normal(size=(n, 3)).astype(dtype), "t": rng.normal(size=n).astype(dtype)}


def start(dtype: str = "float64") -> dict[str, Array]:
    return {"w": np.array([0.5, -1.0, 2.0], dtype), "b": np.array(0.25, dtype)}


def residual(values: Mapping[str, Array], data: Mapping[str, Array]) -> Any:
    return data["x"] @ values["w"] + values["b"] - data["t"]


def gradients(values: Mapping[str, Array], data: Mapping[str, Array]) -> dict[str, Any]:
    r = residual(values, data)
    return {"w": 2 * data["x"].T @ r / len(r), "b": 2 * np.mean(r)}


def by_sgd(values: dict[str, Any], data: Mapping[str, Array], rates: list[float]) -> None:
    for rate in rates:
        for name, g in gradients(values, data).items():
            values[name] = values[name] - rate * g


def by_momentum(values: dict[str, Any], data: Mapping[str, Array], rates: list[float]) -> None:
    velocity = {name: np.zeros_like(p) for name, p in values.items()}
    for rate in rates:
        for name, g in gradients(values, data).items():
            velocity[name] = 0.8 * velocity[name] - rate * g
            values[name] = values[name] + velocity[name]


def by_adam(values: dict[str, Any], data: Mapping[str, Array], rates: list[float]) -> None:
    mean = {name: np.zeros_like(p) for name, p in values.items()}
    square = {name: np.zeros_like(p) for name, p in values.items()}
    for step, rate in enumerate(rates, 1):
        for name, g in gradients(values, data).items():
            mean[name] = 0.7 * mean[name] + 0.3 * g
            square[name] = 0.95 * square[name] + 0.05 * g**2
            unbiased = mean[name] / (1 - 0.7**step)
            spread = np.sqrt(square[name] / (1 - 0.95**step)) + 1e-6
            values[name] = values[name] - rate * unbiased / spread


RULES: dict[str, tuple[Callable[[Any], Optimizer], Callable[..., None]]] = {
    "sgd": (sg.optim.sgd, by_sgd),
    "momentum": (lambda rate: sg.optim.momentum(rate, 0.8), by_momentum),
    "adam": (lambda rate: sg.optim.adam(rate, 0.7, 0.95, 1e-6), by_adam),
}


def assert_parameters(train: Any, expected: Mapping[str, Any], rtol: float) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(train.parameters[name], value, rtol, atol=rtol)


class TestRules:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    @pytest.mark.parametrize("name", list(RULES))
    def test_several_steps(self, name: str, dtype: str, backend: str) -> None:
        rule, by_hand = RULES[name]
        rtol = 1e-11 if dtype == "float64" else 2e-5
        data, expected = samples(dtype), {n: p.astype("float64") for n, p in start(dtype).items()}
        wide = {n: a.astype("float64") for n, a in data.items()}
        train = least_squares(dtype).compile(backend, update=rule(0.1), parameters=start(dtype))
        for _ in range(5):
            loss = train(**data)
            assert loss.dtype == dtype
            assert loss == pytest.approx(np.mean(residual(expected, wide) ** 2), rel=10 * rtol)
            before, expected = expected, dict(expected)
            if name == "sgd":
                by_hand(expected, wide, [0.1])
            else:
                # What these keep from step to step: start again, and go one step further.
                expected = {n: p.astype("float64") for n, p in start(dtype).items()}
                by_hand(expected, wide, [0.1] * train.steps)
            assert np.any(before["w"] != expected["w"])
            assert_parameters(train, expected, rtol)
        assert all(p.dtype == dtype for p in train.parameters.values())

    @pytest.mark.parametrize("name", list(RULES))
    def test_a_rate_for_each_call(self, name: str, backend: str) -> None:
        rule, by_hand = RULES[name]
        rate = sg.scalar("rate")
        train = least_squares().compile(backend, update=rule(rate), parameters=start())
        rates, data, expected = [0.1, 0.01, 0.2, 0.0], samples(), dict(start())
        for value in rates:
            train(**data, rate=value)
        by_hand(expected, data, rates)
        assert_parameters(train, expected, 1e-11)

    @pytest.mark.parametrize("kind", ["float32", "float64"])
    def test_a_rate_of_another_dtype_keeps_the_parameters(self, kind: str, backend: str) -> None:
        rate = sg.scalar("rate", kind)
        rule = sg.optim.momentum(rate)
        train = least_squares("float32").compile(backend, update=rule)
        train(**samples("float32"), rate=np.dtype(kind).type(0.1))
        data = {n: a.astype("float64") for n, a in samples("float32").items()}
        g = gradients({"w": np.zeros(3), "b": np.zeros(())}, data)
        assert_parameters(train, {n: -0.1 * a for n, a in g.items()}, 1e-5)
        assert train.parameters["w"].dtype == np.float32

    def test_matrices_learn_the_same_on_both_backends(self) -> None:
        x, t = sg.matrix("x", ("n", 40)), sg.tensor("t", ("n",), "int64")
        W, V = sg.parameter("W", (40, 50)), sg.parameter("V", (50, 6))
        model = sg.Model(sg.nn.cross_entropy(np.tanh(x @ W) @ V, t))
        rng = np.random.default_rng(0)
        data = {"x": rng.normal(size=(9, 40)), "t": rng.integers(0, 6, 9)}
        first = {"W": rng.normal(size=(40, 50)) / 6, "V": rng.normal(size=(50, 6)) / 7}
        for rule in (sg.optim.sgd(0.5), sg.optim.momentum(0.1), sg.optim.adam(0.01)):
            compiled, reference = (
                model.compile(b, update=rule, parameters=first) for b in ("numba", "numpy")
            )
            for _ in range(3):
                assert compiled(**data) == pytest.approx(reference(**data), rel=1e-11)
            assert_parameters(compiled, reference.parameters, 1e-10)
            for slot, arrays in reference.state.items():
                for name, array in arrays.items():
                    np.testing.assert_allclose(compiled.state[slot][name], array, 1e-9, 1e-12)

    @pytest.mark.parametrize("name", list(RULES))
    def test_a_gradient_that_reads_other_elements(self, name: str, backend: str) -> None:
        w = sg.parameter("w", init=[1.0, 2.0, 4.0, 8.0])
        model = sg.Model(sg.sum((w[1:] - w[:-1]) ** 2) + sg.sum(w * w[::-1]))
        train = model.compile(backend, update=RULES[name][0](0.05))
        reference = model.compile("numpy")
        kept = train.parameters["w"].copy()
        d = np.diff(kept)
        g = 2 * (np.append(0, d) - np.append(d, 0)) + 2 * kept[::-1]
        np.testing.assert_allclose(reference(w=kept)[1]["w"], g, rtol=1e-14)
        train()
        first = 0.05 * (np.sign(g) if name == "adam" else g)
        np.testing.assert_allclose(train.parameters["w"], kept - first, rtol=1e-6)


class TestArrays:
    def test_stay_the_same(self, backend: str) -> None:
        given = start()
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=given)
        held = dict(train.parameters)
        for _ in range(3):
            train(**samples())
        assert train.steps == 3
        assert repr(train) == "<Training: x, t -> loss; 3 steps made>"
        for name, array in held.items():
            assert train.parameters[name] is array
            assert not np.shares_memory(array, given[name])
            assert np.array_equal(given[name], start()[name])
        with pytest.raises(TypeError):
            train.parameters["w"] = np.ones(3)

    def test_a_copy_is_the_same_step(self, backend: str) -> None:
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        again = copy.copy(train)
        again(**samples())
        assert train.steps == again.steps == 1
        assert again.parameters["w"] is train.parameters["w"]

    def test_may_be_written_to_by_hand(self, backend: str) -> None:
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        train(**samples())
        for name, value in start().items():
            train.parameters[name][...] = value
        train(**samples())
        expected = start()
        by_sgd(expected, samples(), [0.1])
        assert_parameters(train, expected, 1e-12)

    def test_state_is_of_the_rule(self, backend: str) -> None:
        train = least_squares().compile(backend, update=sg.optim.adam(0.1))
        assert {slot: list(arrays) for slot, arrays in train.state.items()} == {
            "mean": ["w", "b"],
            "square": ["w", "b"],
        }
        assert all(not array.any() for arrays in train.state.values() for array in arrays.values())
        held = dict(train.state["mean"])
        train(**samples())
        g = gradients({"w": np.zeros(3), "b": np.zeros(())}, samples())
        for name in ("w", "b"):
            assert train.state["mean"][name] is held[name]
            np.testing.assert_allclose(train.state["mean"][name], 0.1 * g[name], 1e-12)
            np.testing.assert_allclose(train.state["square"][name], 0.001 * g[name] ** 2, 1e-12)
        assert least_squares().compile("numpy", update=sg.optim.sgd(0.1)).state == {}

    def test_missing_parameters_are_drawn(self) -> None:
        x = sg.matrix("x", ("n", 3))
        w = sg.parameter("w", (3, 2), init=sg.init.normal())
        v = sg.parameter("v", (2,), init=sg.init.normal())
        model = sg.Model(sg.mean(x @ w @ v))
        given = {"v": np.ones(2)}
        train = model.compile("numpy", update=sg.optim.sgd(0.1), parameters=given, seed=3)
        assert np.array_equal(train.parameters["w"], model.initial(seed=3)["w"])
        assert train.parameters["v"].tolist() == [1, 1]

    def test_of_any_layout(self, backend: str) -> None:
        w = np.arange(6.0)[::-2]
        given = {"w": w, "b": np.float64(1)}
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=given)
        train(**samples())
        expected = {"w": w.copy(), "b": np.array(1.0)}
        by_sgd(expected, samples(), [0.1])
        assert_parameters(train, expected, 1e-12)
        assert w.tolist() == [5, 3, 1]

    def test_two_parameters_from_one_array(self, backend: str) -> None:
        a, b = sg.parameter("a", (3,)), sg.parameter("b", (3,))
        model = sg.Model(sg.sum(a * a) + 3 * sg.sum(b))
        one = np.ones(3)
        rule = sg.optim.sgd(0.5)
        train = model.compile(backend, update=rule, parameters={"a": one, "b": one})
        assert train() == 12
        assert train.parameters["a"].tolist() == [0, 0, 0]
        assert train.parameters["b"].tolist() == [-0.5, -0.5, -0.5]

    def test_an_integer_parameter_stays(self, backend: str) -> None:
        w, k = sg.parameter("w", init=[1.0, 2.0]), sg.parameter("k", init=np.array([3, 4]))
        c = sg.parameter("c", init=np.array(5))
        train = sg.Model(sg.sum(w * k) * c).compile(backend, update=sg.optim.momentum(0.5))
        assert [train(), train()] == [55, 55 - 0.5 * 5 * 5 * 25]
        assert train.parameters["k"].tolist() == [3, 4]
        assert train.parameters["c"] == 5
        assert list(train.state["velocity"]) == ["w"]

    def test_only_a_number(self, backend: str) -> None:
        """As in Newton's method: everything that is held has no axes."""
        p = sg.parameter("p", init=3.0)
        train = sg.Model((p - 1) ** 2).compile(backend, update=sg.optim.sgd(0.25))
        assert [train() for _ in range(3)] == [4, 1, 0.25]
        assert train.parameters["p"] == 1.25

    def test_a_parameter_without_a_gradient(self, backend: str) -> None:
        w, v = sg.parameter("w", init=[1.0, 2.0]), sg.parameter("v", init=[1.0, 5.0])
        model = sg.Model(sg.sum(w**2), outputs={"v": v})
        train = model.compile(backend, update=sg.optim.adam(0.1))
        train()
        assert train.parameters["v"].tolist() == [1, 5]


class TestData:
    def test_converted_read_only_and_strided(self, backend: str) -> None:
        expected = start()
        by_sgd(expected, samples(), [0.1] * 4)
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        x, t = samples()["x"], samples()["t"]
        fixed = x.copy()
        fixed.flags.writeable = False
        wide = np.zeros((14, 6))
        wide[::2, ::2] = x
        for given in (x, fixed, np.asfortranarray(x), wide[::2, ::2]):
            train(x=given, t=t)
        assert_parameters(train, expected, 1e-12)
        train(x=x.tolist(), t=list(t))
        by_sgd(expected, samples(), [0.1])
        assert_parameters(train, expected, 1e-12)

    def test_bound_arrays_are_read_anew(self, backend: str) -> None:
        expected = start()
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        data, other = samples(n=5), samples(n=3)
        step = train.bind(**data)
        losses = [step()]
        for array in data.values():
            array *= 2
        losses += [step(), train(**other), step()]
        halves = {name: array / 2 for name, array in data.items()}
        again = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        for given, loss in zip((halves, data, other, data), losses, strict=True):
            by_sgd(expected, given, [0.1])
            assert again(**given) == loss
        assert_parameters(train, expected, 1e-12)
        assert train.steps == 4

    def test_other_numbers_of_rows(self, backend: str) -> None:
        expected = start()
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        for n in (7, 1, 4, 7):
            train(**samples(n=n))
            by_sgd(expected, samples(n=n), [0.1])
            assert_parameters(train, expected, 1e-12)

    @pytest.mark.parametrize("warm", [False, True])
    def test_a_parameter_as_data(self, warm: bool, backend: str) -> None:
        y, w = sg.vector("y", "n"), sg.parameter("w", ("n",))
        model = sg.Model(sg.sum((w - 2 * y[::-1]) ** 2) / 2)
        first = np.array([1.0, 2.0, 5.0])
        train = model.compile(backend, update=sg.optim.sgd(0.5), parameters={"w": first})
        if warm:
            train(y=np.zeros(3))
            train.parameters["w"][:] = first
        train(y=train.parameters["w"])
        assert train.parameters["w"].tolist() == [5.5, 3, 3.5]
        train.parameters["w"][:] = first
        train(y=train.parameters["w"][::-1])
        assert train.parameters["w"].tolist() == [1.5, 3, 7.5]

    def test_a_number_as_data(self, backend: str) -> None:
        y, w, v = sg.vector("y", 1), sg.parameter("w", init=2.0), sg.parameter("v", (1,))
        model = sg.Model(w * sg.sum(y) + sg.sum((v - 2 * y) ** 2) / 2)
        train = model.compile(backend, update=sg.optim.sgd(0.5), parameters={"v": [1.0]})
        for _ in range(2):
            train.parameters["w"][()], train.parameters["v"][:] = 2.0, 1.0
            assert train(y=train.parameters["w"].reshape(1)) == 8.5
            assert (train.parameters["w"], train.parameters["v"]) == (1, 2.5)

    def test_the_velocity_as_data(self, backend: str) -> None:
        y, w = sg.vector("y", "n"), sg.parameter("w", init=[1.0, 2.0])
        model = sg.Model(sg.sum((w - y[::-1]) ** 2) / 2)
        train = model.compile(backend, update=sg.optim.momentum(1.0, 1.0))
        train(y=np.zeros(2))
        assert train.state["velocity"]["w"].tolist() == [-1, -2]
        train(y=train.state["velocity"]["w"])
        assert train.state["velocity"]["w"].tolist() == [-3, -3]

    def test_two_models_in_turn(self, backend: str) -> None:
        model = least_squares()
        first = model.compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        second = model.compile(backend, update=sg.optim.sgd(0.1))
        expected = [start(), {"w": np.zeros(3), "b": np.zeros(())}]
        for n in (7, 3, 5):
            for train, values in zip((first, second), expected, strict=True):
                train(**samples(n=n))
                by_sgd(values, samples(n=n), [0.1])
        assert_parameters(first, expected[0], 1e-11)
        assert_parameters(second, expected[1], 1e-11)

    def test_what_one_trains_is_data_of_another(self, backend: str) -> None:
        """Two players, as in a game: each reads what the other has become."""
        a, b = sg.parameter("a", init=[1.0, 2.0]), sg.vector("b", 2)
        model = sg.Model(sg.sum((a - b) ** 2) / 2)
        one = model.compile(backend, update=sg.optim.sgd(0.5))
        two = model.compile(backend, update=sg.optim.sgd(0.5), parameters={"a": [5.0, 6.0]})
        one(b=two.parameters["a"])
        two(b=one.parameters["a"])
        assert one.parameters["a"].tolist() == [3, 4]
        assert two.parameters["a"].tolist() == [4, 5]


def classifier() -> sg.Model:
    x, t = sg.matrix("x", ("n", 3)), sg.tensor("t", ("n",), "int64")
    W, b = sg.parameter("W", (3, 4), init=sg.init.normal()), sg.parameter("b", (4,))
    return sg.Model(sg.nn.cross_entropy(x @ W + b, t) + sg.sum(W**2))


class TestMistakes:
    @pytest.mark.parametrize("rate", ["0.1", None, True, sg.vector("r", 2), sg.scalar("r") * 2])
    def test_a_rate_that_is_none(self, rate: Any) -> None:
        for rule in (sg.optim.sgd, sg.optim.momentum, sg.optim.adam):
            with pytest.raises(errors.ArgumentError, match="the learning rate must be a number"):
                rule(rate)

    def test_nothing_to_train(self) -> None:
        x = sg.vector("x", "n")
        with pytest.raises(errors.ArgumentError, match="no parameters to update"):
            sg.Model(sg.sum(x)).compile("numpy", update=sg.optim.sgd(0.1))

    def test_a_parameter_that_there_is_not(self) -> None:
        with pytest.raises(errors.ArgumentError, match="no parameter called 'v'"):
            least_squares().compile(
                "numpy", update=sg.optim.sgd(0.1), parameters={**start(), "v": 1}
            )

    @pytest.mark.parametrize("value", [np.ones(2), np.ones((3, 1)), ["a"] * 3, np.ones(3) * 1j])
    def test_a_parameter_that_does_not_fit(self, value: Any) -> None:
        with pytest.raises(errors.SymgradError, match="w"):
            least_squares().compile("numpy", update=sg.optim.sgd(0.1), parameters={"w": value})

    @pytest.mark.parametrize("name", ["x", "w", "step"])
    def test_a_rate_with_a_name_that_is_taken(self, name: str, backend: str) -> None:
        rule = sg.optim.sgd(sg.scalar(name))
        if name == "step":
            # That is only what the count of steps is called inside.
            train = least_squares().compile(backend, update=rule, parameters=start())
            train(**samples(), step=0.1)
            expected = start()
            by_sgd(expected, samples(), [0.1])
            assert_parameters(train, expected, 1e-12)
            return
        with pytest.raises(errors.SymgradError, match=f"'?{name}'?"):
            least_squares().compile(backend, update=rule)

    @pytest.mark.parametrize(
        "changed",
        [
            {"x": np.ones((5, 2))},
            {"x": np.ones((4, 3))},
            {"x": np.ones(5)},
            {"x": np.ones((5, 3)) * 1j},
            {"t": np.ones(5)},
            {"t": np.array([0, 1, 2, 3, 4])},
            {"t": np.array([0, 1, 2, 3, -1])},
            {"t": np.array([4, 0, 0, 0, 0])},
            {"y": 1},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("rule", [sg.optim.sgd(0.5), sg.optim.adam(0.5)], ids=["sgd", "adam"])
    def test_data_that_does_not_fit_changes_nothing(
        self, rule: Optimizer, changed: dict[str, Array], backend: str
    ) -> None:
        rng = np.random.default_rng(0)
        data = {"x": rng.normal(size=(5, 3)), "t": np.array([0, 1, 2, 3, 3])}
        train = classifier().compile(backend, update=rule)
        train(**data)
        held = [*train.parameters.values(), *(a for s in train.state.values() for a in s.values())]
        kept = [array.copy() for array in held]
        with pytest.raises(errors.SymgradError, match=next(iter(changed))):
            train(**{**data, **changed})
        assert train.steps == 1
        for array, before in zip(held, kept, strict=True):
            assert array.tobytes() == before.tobytes()

    def test_a_wrong_label_before_anything_is_compiled(self, backend: str) -> None:
        train = classifier().compile(backend, update=sg.optim.momentum(0.5))
        before = train.parameters["W"].copy()
        with pytest.raises(errors.ValueRangeError):
            train(x=np.ones((2, 3)), t=np.array([0, 9]))
        assert train.steps == 0
        assert train.parameters["W"].tobytes() == before.tobytes()

    def test_a_missing_input(self) -> None:
        train = least_squares().compile("numpy", update=sg.optim.sgd(sg.scalar("rate")))
        with pytest.raises(errors.ArgumentError, match="missing: t, rate"):
            train(x=np.ones((2, 3)))
        with pytest.raises(errors.ArgumentError, match="missing: t, rate"):
            train.bind(x=np.ones((2, 3)))

    def test_bound_data_that_does_not_fit(self, backend: str) -> None:
        train = least_squares().compile(backend, update=sg.optim.sgd(0.1), parameters=start())
        before = {name: array.copy() for name, array in train.parameters.items()}
        data = samples(n=5)
        step = train.bind(x=data["x"][:4], t=data["t"])
        for _ in range(2):
            with pytest.raises(errors.ShapeError):
                step()
        assert train.steps == 0
        assert_parameters(train, before, 0)


def of(rule: Callable[..., Any], *slots: str) -> Optimizer:
    return Optimizer("own", slots, rule)


class TestOwnRules:
    def test_of_gradient_signs(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": p - 0.5 * np.sign(g)})
        train = least_squares().compile(backend, update=rule, parameters=start())
        g = gradients(start(), samples())
        train(**samples())
        expected = {n: p - 0.5 * np.sign(g[n]) for n, p in start().items()}
        assert_parameters(train, expected, 1e-15)

    def test_adagrad_and_a_rate_that_falls(self, backend: str) -> None:
        def rule(p: Tensor, g: Tensor, slots: Mapping[str, Tensor], step: Tensor) -> Any:
            total = slots["total"] + g**2
            return {"": p - 1 / step * g / (1e-3 + np.sqrt(total)), "total": total}

        train = least_squares().compile(backend, update=of(rule, "total"), parameters=start())
        values: dict[str, Any] = dict(start())
        totals: dict[str, Any] = {"w": 0, "b": 0}
        for step in range(1, 4):
            train(**samples())
            for name, g in gradients(values, samples()).items():
                totals[name] = totals[name] + g**2
                values[name] = values[name] - g / step / (1e-3 + np.sqrt(totals[name]))
        assert_parameters(train, values, 1e-12)

    def test_that_reads_all_of_a_parameter(self, backend: str) -> None:
        """Nothing may be written over before the norm is known, and before the sum is read."""
        rule = of(lambda p, g, slots, step: {"": p / sg.sum(p**2) - 0.1 * g[..., ::-1]})
        w, x = sg.parameter("w", init=[3.0, 4.0]), sg.vector("x", 2)
        train = sg.Model(sg.sum(w * x * w)).compile(backend, update=rule)
        assert train(x=[1.0, 2.0]) == 41
        np.testing.assert_allclose(
            train.parameters["w"], [3 / 25 - 0.1 * 16, 4 / 25 - 0.1 * 6], rtol=1e-14
        )

    def test_a_window_of_the_parameter(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": np.concatenate([p[1:], p[:1]]) - 0 * g})
        w = sg.parameter("w", init=[1.0, 2.0, 3.0, 4.0])
        train = sg.Model(sg.sum(w)).compile(backend, update=rule)
        train()
        assert train.parameters["w"].tolist() == [2, 3, 4, 1]

    def test_reversed_parameter(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": p[::-1] + g})
        w = sg.parameter("w", init=[1.0, 2.0, 3.0, 4.0])
        train = sg.Model(sg.sum(w)).compile(backend, update=rule)
        train()
        assert train.parameters["w"].tolist() == [5, 4, 3, 2]

    def test_a_transposed_parameter(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": p.T - g})
        W = sg.parameter("W", init=[[1.0, 2.0], [3.0, 4.0]])
        train = sg.Model(sg.sum(W)).compile(backend, update=rule)
        train()
        assert train.parameters["W"].tolist() == [[0, 2], [1, 3]]

    def test_parameter_and_slot_change_places(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": slots["old"] - g, "old": p * 1.0}, "old")
        w = sg.parameter("w", init=[1.0, 2.0])
        train = sg.Model(sg.sum(w)).compile(backend, update=rule)
        train()
        assert train.parameters["w"].tolist() == [-1, -1]
        assert train.state["old"]["w"].tolist() == [1, 2]
        train()
        assert train.parameters["w"].tolist() == [0, 1]
        assert train.state["old"]["w"].tolist() == [-1, -1]

    def test_slots_of_equal_value(self, backend: str) -> None:
        """One node is then the new value of three arrays."""
        rule = of(lambda p, g, slots, step: {"": p - g, "a": p - g, "b": p - g}, "a", "b")
        for init in ([1.0, 2.0], 4.0):
            w = sg.parameter("w", init=init)
            train = sg.Model(sg.sum(w * w)).compile(backend, update=rule)
            train()
            expected = -np.asarray(init)
            for array in (train.parameters["w"], *(s["w"] for s in train.state.values())):
                np.testing.assert_array_equal(array, expected)

    def test_that_moves_old_values_on(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": slots["b"], "a": p, "b": slots["a"]}, "a", "b")
        for init in ([1.0, 2.0], 4.0):
            w = sg.parameter("w", init=init)
            train = sg.Model(sg.sum(w * w)).compile(backend, update=rule)
            for step in range(4):
                train()
                held = [train.parameters["w"], *(s["w"] for s in train.state.values())]
                for array, moves in zip(held, (2, 0, 1), strict=True):
                    expected = np.asarray(init) if step % 3 == moves else np.zeros_like(init)
                    np.testing.assert_array_equal(array, expected)

    def test_a_slot_that_holds_the_loss(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": p - 0.5 * g, "last": p * p}, "last")
        w = sg.parameter("w", init=3.0)
        train = sg.Model(w * w).compile(backend, update=rule)
        assert train() == 9
        assert train.state["last"]["w"] == 9
        assert train() == 0

    def test_that_keeps_everything(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": p, **slots}, "slot")
        train = least_squares().compile(backend, update=rule, parameters=start())
        loss = train(**samples())
        assert loss == pytest.approx(np.mean(residual(start(), samples()) ** 2))
        assert_parameters(train, start(), 0)

    def test_a_constant(self, backend: str) -> None:
        rule = of(lambda p, g, slots, step: {"": sg.zeros(p.shape) + 2})
        w = sg.parameter("w", init=[1.0, 2.0])
        train = sg.Model(sg.sum(w)).compile(backend, update=rule)
        assert [train(), train()] == [3, 4]
        assert train.parameters["w"].tolist() == [2, 2]

    @pytest.mark.parametrize(
        "result",
        [
            lambda p, g, slots, step: {"": g, "slot": slots["slot"][:1]},
            lambda p, g, slots, step: {"": g},
            lambda p, g, slots, step: {"slot": g},
            lambda p, g, slots, step: {"": g.astype("float32"), "slot": g},
            lambda p, g, slots, step: {"": 1.0, "slot": g},
            lambda p, g, slots, step: {"": sg.sum(g), "slot": g},
        ],
    )
    def test_a_wrong_result(self, result: Callable[..., Any]) -> None:
        with pytest.raises(errors.ArgumentError, match="the update rule must return a new value"):
            least_squares().compile("numpy", update=of(result, "slot"))
