"""The disk cache of kernels: warm in a second process, rebuilt when damaged, never in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from symgrad.backends import cache
from tests.process import environment, python

SCRIPT = """
import json
import symgrad as sg

x = sg.vector("x", "n")
loss = sg.sum(sg.nn.sigmoid(x))  # a helper function, so two functions are cached
f = sg.compile(x, [loss, sg.grad(loss, x)]).ready()
value, gradient = f([0.0, 0.0])
stats = f.program.kernel.stats
print(json.dumps([value, *gradient, sum(stats.cache_hits.values())]))
"""
COLD, WARM = [1.0, 0.25, 0.25, 0], [1.0, 0.25, 0.25, 1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "use.py").write_text(SCRIPT)
    return tmp_path / "cache"


def use(folder: Path, **environment: str) -> list[float]:
    """Compile and call in a fresh process; the last number is how many kernels came from disk."""
    done = python("use.py", cwd=folder.parent, SYMGRAD_CACHE_DIR=str(folder), **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: list[float] = json.loads(done.stdout)
    return result


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


def test_a_second_process_starts_warm(folder: Path) -> None:
    assert use(folder) == COLD
    before = contents(folder)
    assert {Path(name).suffix for name in before} == {".py", ".nbi", ".nbc"}
    assert use(folder) == WARM
    assert contents(folder) == before
    assert [path.name[:8] for path in folder.iterdir()] == ["symgrad_"]


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80garbage\xff\n")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_entry_is_rebuilt(folder: Path) -> None:
    assert use(folder) == COLD
    cases: list[tuple[str, Callable[[Path], None]]] = [
        ("*kernel*.nbi", garbage), ("*kernel*.nbc", garbage), ("*kernel*.nbc", truncated),
    ]  # fmt: skip
    for pattern, damage in cases:
        damage(one(folder, pattern))
        assert use(folder) == COLD
    assert use(folder) == WARM


def test_a_damaged_source_is_written_again(folder: Path) -> None:
    assert use(folder) == COLD
    path = one(folder, "symgrad_*.py")
    expected = path.read_bytes()
    for content in (b"raise SystemExit('foreign code ran')\n", b"\x80garbage\xff\n"):
        path.write_bytes(content)
        assert use(folder)[:3] == COLD[:3]
        assert path.read_bytes() == expected


@pytest.mark.parametrize("kind", ["a file", "below a file", "an entry that is a file"])
def test_an_unusable_folder_costs_speed_only(kind: str, folder: Path) -> None:
    if kind == "an entry that is a file":
        assert use(folder) == COLD
        path = one(folder, "symgrad_*.py")
        path.unlink()
        path.mkdir()
    else:
        folder.write_text("in the way")
    place = folder / "below" if kind == "below a file" else folder
    done = python("use.py", cwd=folder.parent, SYMGRAD_CACHE_DIR=str(place))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == COLD


def test_two_processes_at_once(folder: Path) -> None:
    env = environment(SYMGRAD_CACHE_DIR=str(folder))
    both = [
        subprocess.Popen(
            [sys.executable, "use.py"], cwd=folder.parent, env=env, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert json.loads(out)[:3] == COLD[:3]
    assert use(folder)[:3] == COLD[:3]
    assert not list(folder.rglob("*.tmp"))


def test_the_key_covers_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.key("a = 1\n") == cache.key("a = 1\n")
    assert cache.key("a = 1\n") != cache.key("a = 2\n")
    before = cache.key("a = 1\n")
    for module, version in (("numba", "0.0"), ("numpy", "0.0"), ("llvmlite", "0.0")):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.__version__", version)
            assert cache.key("a = 1\n") != before


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path))
    assert cache.folder() == tmp_path
    monkeypatch.delenv("SYMGRAD_CACHE_DIR")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "symgrad"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.folder() == tmp_path / "local" / "symgrad"


def test_a_module_that_failed_to_load_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path))
    source = "raise ValueError('never loads')\n"
    for _ in range(2):
        with pytest.raises(ValueError, match="never loads"):
            cache.load(source)
    assert cache.key(source) not in sys.modules
