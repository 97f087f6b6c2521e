"""Finding the model: a Python file is run, and the `Model` in it is what the command is about."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from symgrad.errors import ModelError, SymgradError
from symgrad.model import Model

_MODULE = "symgrad_model"


class UsageError(ModelError):
    """The command asks for a model that is not there."""

    status = 2


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, its name in its file, and the file."""

    model: Model
    name: str
    path: Path


def load(argument: str) -> Loaded:
    """Return the model that ``file.py`` or ``file.py:name`` names.

    Raises:
        UsageError: if there is no such file, or no one model to take.
        ModelError: if the file cannot be read or run, with the user's own line.
    """
    path, wanted = _split(argument)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    module = _run(path)
    models = {name: value for name, value in vars(module).items() if isinstance(value, Model)}
    if wanted is not None:
        if wanted not in models:
            raise UsageError(f"{path} has no model called {wanted!r}{_candidates(models)}")
        return Loaded(models[wanted], wanted, path)
    if "model" in models:
        return Loaded(models["model"], "model", path)
    if len({id(found) for found in models.values()}) != 1:
        why = "several models" if models else "no model"
        raise UsageError(f"{path} has {why} and none called 'model'{_candidates(models)}")
    name, model = next(iter(models.items()))
    return Loaded(model, name, path)


def _split(argument: str) -> tuple[Path, str | None]:
    head, colon, tail = argument.rpartition(":")
    if colon and tail.isidentifier() and not Path(argument).is_file():
        return Path(head), tail
    return Path(argument), None


def _candidates(models: dict[str, Model]) -> str:
    if not models:
        return "\n  fix: model = sg.Model(loss)"
    names = ", ".join(models)
    return f"\n  there are: {names}\n  fix: symgrad ... file.py:{next(iter(models))}"


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        # What the file prints must not mix with our own output.
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except SymgradError as error:
        raise ModelError(f"{path} failed\n{_indented(str(error))}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{path} failed\n{_indented(_described(error, path))}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _described(error: BaseException, path: Path) -> str:
    """Return what went wrong, with the innermost line that is in the user's own file."""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{Path(error.filename).name}:{error.lineno}   {(error.text or '').strip()}"
        return f"{type(error).__name__}: {error.msg}\n  at {place}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    text = f"{type(error).__name__}: {error}"
    if own:
        text += f"\n  at {path.name}:{own[-1].lineno}   {own[-1].line}"
    return text


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
