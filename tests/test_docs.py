"""The README and the docs say what is true: their code runs, their output is what is printed."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from docs.make_ops import PAGE, page
from symgrad.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.S | re.M)


def test_the_code_of_the_readme_runs_and_prints_the_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = [text for language, text in BLOCKS if language == "python"]
    path = tmp_path / "readme.py"
    path.write_text(code[0], encoding="utf-8")
    space: dict[str, object] = {}
    exec(compile(code[0], str(path), "exec"), space)
    assert capsys.readouterr().out == BLOCKS[1][1]
    rng = np.random.default_rng(0)
    space.update(
        x_value=rng.normal(size=(5, 64)),
        t_value=np.arange(5),
        W1_value=rng.normal(size=(64, 32)),
        b1_value=np.zeros(32),
        W2_value=rng.normal(size=(32, 10)),
        b2_value=np.zeros(10),
    )
    for block in code[1:]:
        exec(block, space)
    assert (tmp_path / "digits_grad.py").is_file()
    assert len(space["gradients"]) == 4  # type: ignore[arg-type]


def test_the_first_screen() -> None:
    commands = [text.strip() for language, text in BLOCKS if language == "sh"]
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert len(BLOCKS[0][1].splitlines()) <= 12


def test_the_error_in_the_readme_is_the_error(tmp_path: Path) -> None:
    hidden, weights = sg.tensor("hidden", ("n", 4)), sg.tensor("weights", (3, 2))
    with pytest.raises(sg.errors.ShapeError) as raised:
        hidden @ weights
    shown = next(text for _, text in BLOCKS if text.startswith("matmul:"))
    ours = re.sub(r"[\w.]+:\d+(?:   .*)?", "PLACE", str(raised.value))
    assert ours == re.sub(r"[\w.]+:\d+(?:   .*)?", "PLACE", shown.strip())


def test_the_list_of_ops_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_page_on_reading_shows_real_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command prints what stands below it; a line of ⋮ stands for any lines."""
    text = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    [(_, model), *blocks] = re.findall(r"^```(\w+)\n(.*?)^```", text, re.S | re.M)
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(model, encoding="utf-8")
    commands = 0
    for (language, command), (_, shown) in pairwise(blocks):
        if language == "python":
            Path(command.split()[1]).write_text(command, encoding="utf-8")
        if language != "sh":
            continue
        commands += 1
        assert main(command.split()[1:]) == 0
        parts = [re.escape(part) for part in re.split(r"^ *⋮\n", shown, flags=re.M)]
        real = capsys.readouterr().out
        assert re.fullmatch("(?:.*\n)*".join(parts), real), f"{command}{real}"
    assert commands == 11
