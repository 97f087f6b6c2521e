"""Fresh Python processes, with and without symgrad on their path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **extra}


def python(*arguments: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``cwd``; ``extra`` are environment variables."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
