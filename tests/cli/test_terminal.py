"""Colours: with rich, on a terminal, and not where NO_COLOR forbids them."""

from __future__ import annotations

import sys

import pytest

from symgrad.cli.terminal import show

LINES = ["Passes: 3 nodes become 2", "  cse", "  A GRADIENT IS WRONG"]


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def test_headings_are_bold_and_warnings_red(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    on_a_terminal(monkeypatch)
    show(LINES)
    out = capsys.readouterr().out
    assert "\x1b[1mPasses: 3 nodes become 2" in out
    assert "\n  cse\n" in out
    assert "\x1b[1;31m  A GRADIENT IS WRONG" in out


def test_no_color(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    show(LINES)
    assert capsys.readouterr().out == "\n".join(LINES) + "\n"


def test_without_rich(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    show(LINES)
    assert capsys.readouterr().out == "\n".join(LINES) + "\n"


def test_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(LINES)
    assert capsys.readouterr().out == "\n".join(LINES) + "\n"
