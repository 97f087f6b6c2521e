"""The disk cache of compiled kernels: content-addressed, safe to share, safe to lose.

An entry is a folder named by a hash of everything that its machine code depends on. It holds the
generated module and Numba's own cache files beside it. A folder that cannot be written costs
speed only; an entry that is not what its name says is made anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType

_LOCK = threading.RLock()


def folder() -> Path:
    """Return the cache folder: SYMGRAD_CACHE_DIR, else the platform's cache folder."""
    chosen = os.environ.get("SYMGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "symgrad"


def clear() -> int:
    """Delete every entry and return how many there were."""
    entries = [path for path in folder().glob("symgrad_*") if path.is_dir()]
    for path in entries:
        shutil.rmtree(path, ignore_errors=True)
    return len(entries)


def key(source: str) -> str:
    """Return the name of the entry for ``source`` on this machine with these versions."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba
    import numpy as np

    parts = [
        source,
        _interfaces(),
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        sys.version,
        platform.machine(),
        str(object.__basicsize__),
        llvm.get_host_cpu_name(),
    ]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    return f"symgrad_{digest}"


@functools.cache
def _interfaces() -> str:
    """Return the source of what is compiled into kernels, or agrees with them on addresses."""
    names = (
        *("entry", "entry_writer", "interleave", "jit", "layout", "machine_code"),
        *("steps", "steps_writer"),
    )
    return "\0".join(Path(__file__).with_name(f"{name}.py").read_text("utf-8") for name in names)


def load(source: str) -> ModuleType:
    """Return the module that ``source`` is, from the cache where that is possible."""
    name = key(source)
    with _LOCK:
        # Under the lock, a module in sys.modules is a whole one, also with several threads.
        if name not in sys.modules:
            path = _entry(name, source)
            try:
                _executed(name, source) if path is None else _imported(name, path)
            except BaseException:
                sys.modules.pop(name, None)
                raise
        return sys.modules[name]


def _entry(name: str, source: str) -> Path | None:
    """Return the entry's module file, written if need be; None where nothing can be written."""
    path = folder() / name / f"{name}.py"
    try:
        if path.is_file() and path.read_bytes() == source.encode():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(source.encode())
        # Renaming is atomic: a second process sees the whole file or none.
        Path(temporary).replace(path)
    except OSError:
        return None
    return path


def _imported(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Numba's cache unpickles functions by module name, so it must be there before they load.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception:
        # A damaged index or object file of Numba's: drop the entry's compiled files, once more.
        with contextlib.suppress(OSError):
            shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        spec.loader.exec_module(module)


def _executed(name: str, source: str) -> None:
    """Compile the module in memory only."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source.replace("cache=True", "cache=False"), f"<{name}>", "exec"), module.__dict__)
