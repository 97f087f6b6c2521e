"""The report: one file that holds together, read by a parser and run in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from symgrad.cli import main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VOID = {"meta", "link", "br", "hr", "img", "input"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "digits.html"
    assert main(["report", str(EXAMPLES / "digits.py"), "-o", str(file)]) == 0
    return file


class Reader(HTMLParser):
    """Collects attributes, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.section = ""
        self.links: list[str] = []
        self.places: dict[str, list[set[str]]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if "id" in values:
            self.ids.append(str(values["id"]))
        self.links += [str(v) for k, v in attrs if k in ("href", "src")]
        if tag == "section" and "id" in values:
            self.section = str(values["id"])
        if tag not in VOID:
            self.open.append(tag)
        if values.get("data-at"):
            places = set(str(values["data-at"]).split("|"))
            self.places.setdefault(self.section, []).append(places)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(file: Path) -> Reader:
    reader = Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    assert not reader.open
    return reader


def test_all_of_a_kernel_comes_from_lines_of_the_model(written: Path) -> None:
    """A line of the model is named above its first step only; the steps after it are its too."""
    _, kernel = written.read_text(encoding="utf-8").split("def _value_and_grad")
    kernel = kernel[kernel.index("# digits.py") : kernel.index("    return ")]
    rows = re.findall(r"<span([^>]*)> {4,}\S", kernel)
    assert len(rows) > 40
    assert all(" data-at=" in row for row in rows)


def test_one_small_file_with_nothing_from_elsewhere(written: Path) -> None:
    assert written.stat().st_size < 500_000
    reader = read(written)
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        assert link == "data:," or (link.startswith("#") and link[1:] in reader.ids)
    text = written.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
    }


def test_a_line_of_the_model_is_found_everywhere(written: Path) -> None:
    """h1 = np.tanh(x @ W1 + b1) has a formula, boxes, steps of the derivation and kernels."""
    source = (EXAMPLES / "digits.py").read_text().splitlines()
    number = next(i for i, line in enumerate(source, 1) if line.startswith("h1 ="))
    reader = read(written)
    place = f"digits.py:{number}"
    found = {key for key, rows in reader.places.items() if any(place in at for at in rows)}
    assert found == {"source", "formulas", "graph", "derivation", "passes", "code"}


def test_the_whole_model_and_module_are_there(written: Path) -> None:
    text = unescape(re.sub(r"<[^>]*>", "", written.read_text(encoding="utf-8")))
    assert "loss = sg.nn.cross_entropy(logits, t)" in text
    assert "def value_and_grad(" in text
    assert "times the loss" in text


def test_a_model_in_another_encoding(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    text = "# coding: latin-1\n# \xfcber\nimport symgrad as sg\nw = sg.parameter('w', init=2.0)\n"
    file.write_text(text + "model = sg.Model(w**2)\n", encoding="latin-1")
    assert main(["report", str(file), "-o", str(tmp_path / "report.html")]) == 0
    assert "# über" in (tmp_path / "report.html").read_text(encoding="utf-8")


# The browser is a program of its own, which a developer need not have; CI installs it.
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
class TestInABrowser:
    def run(self, file: Path, script: str = "null", width: int = 1200) -> tuple[object, str]:
        """Return what a script gives after the page is loaded, and what the console said."""
        probe = file.with_name("probe.html")
        result = f"document.body.dataset.result = JSON.stringify({script});"
        probe.write_text(
            file.read_text(encoding="utf-8") + f"<script>{result}</script>", encoding="utf-8"
        )
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"]
        options += ["--disable-background-networking", "--no-first-run", "--disable-dev-shm-usage"]
        done = subprocess.run(
            [
                str(CHROMIUM),
                *options,
                f"--window-size={width},900",
                f"--user-data-dir={file.with_name('profile')}",
                "--enable-logging=stderr",
                "--dump-dom",
                probe.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found = re.search(r'data-result="([^"]*)"', done.stdout)
        assert found, done.stderr[-2000:]
        console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
        return json.loads(unescape(found[1])), console

    def test_it_loads_without_a_complaint(self, written: Path) -> None:
        loaded, console = self.run(written, "document.querySelectorAll('math').length")
        assert isinstance(loaded, int)
        assert loaded > 50
        assert console == ""

    def test_pointing_at_a_line_lights_what_comes_from_it(self, written: Path) -> None:
        script = """(() => {
            const line = [...document.querySelectorAll("#source [data-at]")]
                .find(e => e.textContent.includes("h1 = np.tanh"));
            const count = () => ["source", "formulas", "graph", "derivation", "code"]
                .map(id => document.querySelectorAll(`#${id} .lit`).length);
            line.focus();
            const lit = count();
            line.click();
            document.querySelector("#formulas [data-at]").dispatchEvent(
                new PointerEvent("pointerover", {bubbles: true}));
            const pinned = count();
            document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
            return {lit, pinned, after: count()};
        })()"""
        found, console = self.run(written, script)
        assert console == ""
        assert isinstance(found, dict)
        assert found["lit"][0] == 1
        assert min(found["lit"]) >= 1
        assert found["pinned"] == found["lit"]
        assert found["after"] == [0] * 5

    def test_it_fits_a_phone(self, written: Path) -> None:
        width, _ = self.run(
            written, "[document.documentElement.scrollWidth, window.innerWidth]", 500
        )
        assert isinstance(width, list)
        assert width[0] <= width[1]
