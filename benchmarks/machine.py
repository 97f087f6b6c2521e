"""Where the numbers come from: versions, processor, load, date."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "jax", "jaxlib", "pytensor", "torch", "casadi")
ROOT = Path(__file__).resolve().parent.parent


def described() -> dict[str, str]:
    """Return what a reader needs to judge or repeat the measurement."""
    return {
        "Date": datetime.date.today().isoformat(),
        "Processor": f"{_processor()}, {cores()} cores",
        "System": f"{platform.system()} {platform.machine()}, load {os.getloadavg()[0]:.1f} "
        "at the start",
        "Python": platform.python_version(),
        "C compiler": _first_line("gcc", "--version") or "none",
        "symgrad": _symgrad(),
        "Libraries": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def stolen() -> int:
    """Return for how long others had the processor that this guest runs on, in ticks (Linux)."""
    counts = Path("/proc/stat")
    return int(counts.read_text().split(maxsplit=9)[8]) if counts.exists() else 0


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _symgrad() -> str:
    import symgrad

    commit = _first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    return f"{symgrad.__version__}" + (f", commit {commit}" if commit else "")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.partition("\n")[0] if done.returncode == 0 else ""
