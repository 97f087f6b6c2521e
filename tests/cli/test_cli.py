"""The command line: which model it takes, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import symgrad as sg
from symgrad.cli import main
from symgrad.ir import op
from tests.process import python

SQUARES = """
import symgrad as sg

x = sg.tensor("x", ("n", 3))
W = sg.parameter("W", init=[0.5, -1.0, 2.0])
b = sg.parameter("b")
y = x @ W + b
loss = sg.mean(y**2)
"""
ONE = SQUARES + 'model = sg.Model(loss, outputs={"y": y})\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def wrong_op() -> Iterator[str]:
    """The model file defines an op whose partial derivative is wrong."""
    yield """
        from symgrad.ops.elementwise import entry
        cube = entry("wrong_cube", lambda x: x**3, [lambda y, x: 2 * x * x], scalar="{0} ** 3")
        w = sg.parameter("w", init=[0.5, -1.0, 2.0])
        model = sg.Model(sg.sum(cube(w)))
        """
    op._REGISTRY.pop("wrong_cube", None)


def write(text: str, name: str = "model.py") -> str:
    Path(name).write_text("import symgrad as sg\n" + dedent(text), encoding="utf-8")
    return name


def run(*arguments: str) -> int:
    """Return the exit status, however it comes."""
    try:
        return main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


class TestWhichModel:
    TWO = SQUARES + "first = sg.Model(loss)\nsecond = sg.Model(2 * loss)\n"

    def test_the_one_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("check", write(self.TWO) + ":second") == 0
        assert run("print", "model.py:second", "--wrt", "b") == 0
        assert "4 Σ" in capsys.readouterr().out

    def test_the_one_called_model(self) -> None:
        assert run("check", write(self.TWO + "model = first\n")) == 0

    def test_the_only_one(self) -> None:
        assert run("check", write(SQUARES + "anything = sg.Model(loss)\n")) == 0

    def test_one_under_two_names_is_the_only_one(self) -> None:
        assert run("check", write(SQUARES + "a = b2 = sg.Model(loss)\n")) == 0

    def test_of_several_none_is_guessed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("check", write(self.TWO)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "first, second" in err
        assert "file.py:first" in err

    def test_a_name_that_is_not_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("check", write(self.TWO) + ":third") == 2
        assert "'third'" in (err := capsys.readouterr().err)
        assert "first, second" in err

    def test_a_name_that_is_no_model(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("check", write(self.TWO) + ":loss") == 2
        assert "'loss'" in capsys.readouterr().err

    def test_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("check", write(SQUARES)) == 2
        assert "model = sg.Model(loss)" in capsys.readouterr().err

    def test_a_sibling_module_can_be_imported(self) -> None:
        write(SQUARES, "layers.py")
        assert run("check", write("from layers import loss\nmodel = sg.Model(loss)\n")) == 0


class TestExitStatus:
    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("differentiate",),
            ("check",),
            ("check", "missing.py"),
            ("check", "missing.py:model"),
            ("check", "."),
            ("check", "model.txt"),
            ("cache", "burn"),
            ("compile", "model.py", "--backend", "fortran"),
            ("compile", "model.py", "--without", "thinking"),
            ("print", "model.py", "--latex", "--ir"),
            ("print", "model.py", "--wrt", "nothing"),
        ],
    )
    def test_usage_is_2(
        self, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        write(ONE)
        write(ONE, "model.txt")
        assert run(*arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err
        assert "Traceback" not in err

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("y = 1 / 0", "ZeroDivisionError"),
            ("import no_such_module_anywhere", "no_such_module_anywhere"),
            ("raise SystemExit(3)", "SystemExit"),
            ("import sys; sys.exit()", "SystemExit"),
            ("y = (1 +", "SyntaxError"),
            ('y = sg.tensor("a", (2, 3)) @ sg.tensor("b", (2, 3))', "inner sizes differ"),
            ('model = sg.Model(sg.tensor("a", (2,)))', "scalar"),
        ],
    )
    def test_a_failing_file_is_1_with_its_own_line(
        self, line: str, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("check", write(f"\n{line}\n")) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert re.search(r"model\.py:3\b", err)
        assert line.split(" @")[0] in err
        assert "Traceback" not in err

    def test_the_innermost_own_line_is_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = write("import json\ndef deep():\n    return json.loads('{')\n\ndeep()\n")
        assert run("check", file) == 1
        assert "model.py:4   return json.loads" in capsys.readouterr().err

    def test_a_file_that_is_no_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("model.py").write_bytes(b"\x00\xff\xfe")
        assert run("check", "model.py") == 1
        assert "Traceback" not in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["check", "compile"])
    def test_a_wrong_gradient_is_1(
        self, command: str, wrong_op: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(command, write(wrong_op), *["--backend=numpy"][: command == "compile"]) == 1
        assert "WRONG" in capsys.readouterr().out

    def test_a_gradient_that_is_nan_is_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = 'w = sg.parameter("w", init=[-1.0, 2.0])\n'
        text += "model = sg.Model(sg.sum(sg.where(w > 0, sg.sqrt(w), 0.0)))\n"
        assert run("check", write(text)) == 1
        assert "WRONG" in capsys.readouterr().out

    def test_a_loss_that_is_not_finite_is_1(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = 'w = sg.parameter("w", init=[-5.0])\nmodel = sg.Model(sg.sum(sg.log(w)))\n'
        assert run("check", write(text)) == 1
        assert "nan" in capsys.readouterr().err

    def test_an_output_that_cannot_be_written_is_1(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("compile", write(ONE), "--backend=numpy", "-o", "no/such/folder/out.py") == 1
        assert "out.py" in capsys.readouterr().err


class TestCompile:
    def test_text_and_json_have_the_same_facts(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = write("print('chatter')\n" + ONE)
        assert run("compile", file, "--json") == 0
        out, err = capsys.readouterr()
        facts = json.loads(out)
        assert "chatter" in err
        assert run("compile", file) == 0
        text, err = capsys.readouterr()
        assert "chatter" in err
        assert "chatter" not in text
        for value in leaves(facts):
            assert shown(value) in text
        assert facts["model"] == {"file": "model.py", "name": "model", "made_at": "model.py:11"}
        assert facts["inputs"] == {"x": "float64[n, 3]"}
        assert facts["parameters"] == {"W": "float64[3]", "b": "float64[]"}
        assert facts["check"]["passed"] is True
        assert facts["check"]["errors"].keys() == {"W", "b"}
        assert facts["module"]["files"] == ["model_grad.py"]
        lines = Path("model_grad.py").read_text(encoding="utf-8").count("\n")
        assert facts["module"]["lines"] == lines

    def test_output_and_arrays_beside_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = 'w = sg.parameter("w", (20, 20), init=sg.init.normal())\n'
        text += "model = sg.Model(sg.sum(w * w))\n"
        Path("made").mkdir()
        assert run("compile", write(text), "--backend=numpy", "-o", "made/out.py") == 0
        assert "Wrote made/out.py and made/out.npz" in capsys.readouterr().out
        assert Path("made/out.py").is_file()
        assert not Path("model_grad.py").exists()
        with np.load("made/out.npz") as arrays:
            assert arrays["w"].shape == (20, 20)

    def test_without_a_pass(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = write(ONE)
        after = {}
        for left_out in ((), ("cse",), ("cse", "simplify")):
            options = [f"--without={name}" for name in left_out]
            assert run("compile", file, "--json", "--backend=numpy", *options) == 0
            passes = json.loads(capsys.readouterr().out)["passes"]
            assert not {entry["pass"] for entry in passes["ledger"]} & set(left_out)
            after[left_out] = passes["nodes_after"]
        assert after[()] < after["cse", "simplify"]

    def test_a_printing_initialiser_does_not_spoil_json(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = """
            def init(rng, shape, dtype):
                print("drawing")
                return rng.normal(size=shape)

            w = sg.parameter("w", (3,), init=init)
            model = sg.Model(sg.sum(w * w))
            """
        assert run("compile", write(text), "--json", "--backend=numpy") == 0
        json.loads(capsys.readouterr().out)

    def test_a_parameter_whose_size_is_known_only_at_the_call(self) -> None:
        text = 'x, w = sg.tensor("x", ("n", "d")), sg.parameter("w", ("d",))\n'
        text += "model = sg.Model(sg.mean((x @ w) ** 2))\n"
        assert run("check", write(text)) == 0
        assert run("compile", "model.py", "--backend=numpy") == 0

    def test_two_named_sizes_that_must_be_equal(self) -> None:
        text = 'a, b = sg.tensor("a", ("n",)), sg.tensor("b", ("m",))\n'
        assert run("check", write(text + "model = sg.Model(sg.sum((a - b) ** 2))\n")) == 0

    def test_progress_is_only_for_terminals(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("compile", write(ONE), "--backend=numpy") == 0
        assert capsys.readouterr().err == ""


def leaves(facts: object) -> Iterator[str | int | float]:
    if isinstance(facts, dict):
        for key, value in facts.items():
            if key not in ("passed", "errors", "backend_error", "count"):
                yield from leaves(value)
    elif isinstance(facts, list):
        for value in facts:
            yield from leaves(value)
    else:
        assert isinstance(facts, str | int | float)
        yield facts


def shown(value: str | float) -> str:
    return str(value)


class TestPrint:
    def test_formulas(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("print", write(ONE)) == 0
        out, err = capsys.readouterr()
        assert "∂loss/∂W" in out
        assert "∂loss/∂b" in out
        assert err == ""

    def test_wrt_chooses_and_orders(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("print", write(ONE), "--wrt", "b") == 0
        assert "∂W" not in capsys.readouterr().out
        assert run("print", "model.py", "--wrt", "b", "W") == 0
        out = capsys.readouterr().out
        assert out.index("∂loss/∂b") < out.index("∂loss/∂W")

    def test_latex(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("print", write(ONE), "--latex", "--wrt", "W") == 0
        assert r"\frac{\partial \mathrm{loss}}{\partial W}" in capsys.readouterr().out

    def test_ir_parses_back(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("print", write(ONE), "--ir") == 0
        graph = sg.parse_graph(capsys.readouterr().out)
        assert [node.name for node in graph.inputs] == ["x", "W", "b"]
        assert len(graph.outputs) == 3

    def test_source_is_what_compile_writes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("print", write(ONE), "--source") == 0
        source = capsys.readouterr().out
        assert run("compile", "model.py", "--backend=numpy") == 0
        assert Path("model_grad.py").read_text(encoding="utf-8") == source


class TestExplain:
    def test_forward_beside_backward(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", write(ONE)) == 0
        out = capsys.readouterr().out
        assert re.search(r"y = u₁ \+ b +∂loss/∂u₁ \+= ∂loss/∂y\n", out)
        assert "By hand" not in out

    def test_values_where_there_is_data(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = 'x, w = sg.scalar("x"), sg.parameter("w", init=2.0)\n'
        text += "unused = sg.parameter('unused')\n"
        text += "model = sg.Model(x * w**2, {'u': unused * 1}, data={x: 3.0})\n"
        assert run("explain", write(text)) == 0
        assert re.search(
            r"w +2 +∂loss/∂w = .* 12\n", capsys.readouterr().out.replace("∂f", "∂loss")
        )

    def test_sizes_that_nothing_gives(self) -> None:
        text = 'w = sg.parameter("w", ("d",))\nmodel = sg.Model(sg.sum(w**2))\n'
        assert run("explain", write(text)) == 0

    @pytest.mark.parametrize(("form", "part"), [("latex", r"\begin{tabular}"), ("html", "<table>")])
    def test_forms(self, form: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("explain", write(ONE), f"--{form}") == 0
        assert part in capsys.readouterr().out


class TestGraph:
    @pytest.mark.parametrize(
        ("form", "start"), [("svg", "<svg"), ("dot", "digraph {"), ("mermaid", "flowchart TD")]
    )
    def test_forms(self, form: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
        file = write(ONE)
        assert run("graph", file, f"--{form}") == 0
        out = capsys.readouterr().out
        assert out.startswith(start)
        assert "∂loss/∂W" in out
        assert run("graph", file, f"--{form}", "-o", "picture") == 0
        assert Path("picture").read_text(encoding="utf-8") == out


class TestCheck:
    def test_one_line_for_each_gradient(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("check", write(ONE)) == 0
        title, *rows = capsys.readouterr().out.splitlines()
        assert title == "random data, central differences in float64"
        assert [row.split()[0] for row in rows] == ["W", "b"]
        assert all(row.endswith("ok") for row in rows)

    def test_with_the_models_own_data(self, capsys: pytest.CaptureFixture[str]) -> None:
        data = "model = sg.Model(loss, data={x: [[1.0, 2.0, 3.0]]})\n"
        assert run("check", write(SQUARES + data)) == 0
        assert capsys.readouterr().out.startswith("the model's data")


class TestCache:
    def test_dir_and_clear(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cache = folder / "kernels"
        monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(cache))
        assert run("cache", "dir") == 0
        assert capsys.readouterr().out == f"{cache}\n"
        assert run("cache", "clear") == 0
        assert capsys.readouterr().out == f"0 entries removed from {cache}\n"
        for name in ("symgrad_a", "symgrad_b", "somebody_elses"):
            (cache / name).mkdir(parents=True)
        assert run("cache", "clear") == 0
        assert capsys.readouterr().out == f"2 entries removed from {cache}\n"
        assert [path.name for path in cache.iterdir()] == ["somebody_elses"]

    def test_a_file_in_place_of_the_folder(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "file").touch()
        monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(folder / "file"))
        assert run("cache", "clear") == 0


def test_help_loads_no_compiler(folder: Path) -> None:
    done = python("-X", "importtime", "-m", "symgrad", "--help", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: symgrad")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.split("\n")}
    assert "symgrad" in loaded
    assert not loaded & {"numba", "llvmlite", "sympy", "scipy"}


def test_as_a_program(folder: Path) -> None:
    write("import os; os.write(1, b'')\nprint('chatter')\n" + ONE)
    done = python("-m", "symgrad", "compile", "model.py", "--json", "--backend=numpy", cwd=folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["module"]["files"] == ["model_grad.py"]
    assert done.stderr == "chatter\n"


class TestNumerics:
    MODEL = """
        x = sg.tensor("x", ("n",))
        w = sg.parameter("w", init=0.5)
        model = sg.Model(sg.sum(sg.log(1 + sg.exp(w * x))) + sg.exp(w), data={x: [1.0, 2.0]})
        """

    def numerics(self, capsys: pytest.CaptureFixture[str], *options: str) -> str:
        assert run("compile", write(self.MODEL), *options) == 0
        return capsys.readouterr().out

    def test_stable_forms_and_doubts_are_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = self.numerics(capsys)
        assert "Stable forms\n  log(1 + exp(x)) → softplus(x): overflows for x > 709.8" in out
        assert "Numerics to watch\n  exp(x): overflows for x > 709.8" in out
        assert "softplus" in Path("model_grad.py").read_text(encoding="utf-8")

    def test_report_applies_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = self.numerics(capsys, "--stabilize", "report")
        assert "Stable forms, not applied\n  log(1 + exp(x)) → softplus(x)" in out
        assert "softplus" not in Path("model_grad.py").read_text(encoding="utf-8")

    def test_off_says_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = self.numerics(capsys, "--stabilize", "off")
        assert "Stable forms" not in out
        assert "Numerics to watch" in out


def test_forms_of_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(ONE, encoding="utf-8")
    assert run("print", "model.py", "--ascii") == 0
    assert capsys.readouterr().out.isascii()
    assert run("print", "model.py", "--numpy") == 0
    space: dict[str, object] = {}
    exec(capsys.readouterr().out, space)
    assert "gradients" in space


def test_why_a_gradient_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    write("""
        w, v = sg.parameter("w", init=1.0), sg.parameter("v", init=2.0)
        model = sg.Model(sg.floor(w) + v**2)
        """)
    assert run("explain", "model.py", "--why", "w") == 0
    assert "w (model.py:3) → floor (model.py:4)" in capsys.readouterr().out
    assert run("explain", "model.py", "--why", "nobody") == 2


def test_a_terminal_without_the_signs() -> None:
    Path("model.py").write_text(ONE, encoding="utf-8")
    found = python("-m", "symgrad", "print", "model.py", cwd=Path.cwd(), PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert "dloss/dW = " in found.stdout
