"""Imports point one way, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import symgrad

PACKAGE = Path(symgrad.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MIDDLE = {"autodiff", "passes", "show", "lower"}
LAYERS: list[set[str]] = [
    {"errors"},
    {"ir"},
    {"tensor"},
    {"ops"},
    MIDDLE,
    {"backends"},
    {
        *("bind", "compile", "derivatives", "model", "check"),
        *("module", "init", "optim", "pretty", "derivation", "description", "report", "tracing"),
        "notebook",
    },
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
LAZY = {"numba", "scipy", "sympy"}
KERNELS_ONLY = {
    PACKAGE / "backends" / f"{name}.py"
    for name in ("entry", "entry_writer", "interleave", "jit", "machine_code", "steps_writer")
}
"""Imported by generated kernels, and inside functions by what calls them."""


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in ast.unparse(test)


def imports(tree: ast.AST) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line, module and names of every import, also inside functions."""
    for child in ast.iter_child_nodes(tree):
        match child:
            case ast.If(test=test, orelse=otherwise) if is_type_checking(test):
                for statement in otherwise:
                    yield from imports(statement)
            case ast.Import(names=names):
                yield from ((child.lineno, name.name, []) for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"line {child.lineno}: a relative import"
                yield child.lineno, module or "", [name.name for name in names]
            case _:
                yield from imports(child)


def imported_rooms(file: Path) -> Iterator[tuple[int, str]]:
    for line, module, names in imports(ast.parse(file.read_text())):
        parts = module.split(".")
        if parts[0] != "symgrad":
            continue
        yield from ((line, room) for room in (parts[1:2] or names) if room in LEVEL)


def identity(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def test_every_file_is_in_a_room() -> None:
    roots = {"__init__", "__main__"}
    assert {room_of(f) for f in FILES} - roots <= set(LEVEL)
    assert not {"utils", "core", "_src", "common", "helpers"} & {f.stem for f in FILES}


@pytest.mark.parametrize("file", FILES, ids=identity)
def test_imports_point_one_way(file: Path) -> None:
    mine = room_of(file)
    if mine in ("__init__", "__main__"):
        return
    for line, room in imported_rooms(file):
        down = LEVEL[room] < LEVEL[mine] or room == mine
        beside = LEVEL[room] == LEVEL[mine] and mine not in MIDDLE
        assert down or beside, f"{identity(file)}:{line}: {mine} imports {room}"


@pytest.mark.parametrize("file", FILES, ids=identity)
def test_what_is_heavy_is_imported_inside_functions(file: Path) -> None:
    for statement in ast.parse(file.read_text()).body:
        for line, module, _ in imports(ast.Module([statement], [])):
            heavy = module.split(".")[0] in LAZY
            inside = isinstance(statement, ast.FunctionDef | ast.ClassDef)
            allowed = inside or file in KERNELS_ONLY
            assert not heavy or allowed, f"{identity(file)}:{line}: {module} at import"


def loaded(*command: str) -> set[str]:
    """Return the modules that a fresh process has loaded after running ``command``."""
    script = (
        "import runpy, sys\n"
        "try:\n"
        f"    {'; '.join(command)}\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print('\\n' + ' '.join(m for m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_symgrad_loads_nothing_heavy() -> None:
    assert not loaded("import symgrad") & LAZY


def test_help_loads_nothing_heavy() -> None:
    run = "sys.argv = ['symgrad', '--help']", "runpy.run_module('symgrad', run_name='__main__')"
    assert not loaded(*run) & LAZY


def test_the_numpy_backend_loads_nothing_heavy() -> None:
    build = (
        "import symgrad as sg",
        "x = sg.vector('x')",
        "f = sg.compile([x], [sg.sum(x), sg.grad(sg.sum(x ** 2), x)], backend='numpy')",
        "f([1.0, 2.0])",
        "str(sg.optimize(f.graph))",
    )
    assert not loaded(*build) & LAZY


def test_no_public_function_is_hidden_by_a_module() -> None:
    """Importing a submodule binds its name in the package, over a function of that name."""
    modules = {name for name in symgrad.__all__ if isinstance(getattr(symgrad, name), ModuleType)}
    assert modules == {"errors", "init", "linalg", "nn", "optim", "special"}
