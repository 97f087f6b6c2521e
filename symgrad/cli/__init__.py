"""The command line: ``symgrad compile model.py`` and its relatives."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from symgrad.errors import SymgradError
from symgrad.passes.pipeline import NAMES

DONE, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 the model failed, 2 usage."""
    options = _parser().parse_args(arguments)
    _spell_what_cannot_be_encoded()
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except SymgradError as error:
        print(f"symgrad: {error}", file=sys.stderr)
        return getattr(error, "status", FAILED)
    except OSError as error:
        print(f"symgrad: {error.strerror}: {error.filename}", file=sys.stderr)
        return FAILED
    return status


def _spell_what_cannot_be_encoded() -> None:
    """Print formulas in ASCII where the terminal's encoding has no signs for them."""
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "ascii"
        if not encoding.lower().startswith("utf") and hasattr(stream, "reconfigure"):
            from symgrad.show.ascii import replace_unencodable

            replace_unencodable()
            stream.reconfigure(errors="symgrad.spelled")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="symgrad", description="Differentiate and compile models whose output one can read."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser(
        "compile", help="print formulas, passes, kernels and a check; write a stand-alone module"
    )
    _model_argument(command)
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="the module to write")
    command.add_argument("--backend", choices=("numba", "numpy"), default="numba")
    command.add_argument(
        "--without", action="append", default=[], choices=NAMES, help="a pass to leave out"
    )
    command.add_argument(
        "--stabilize",
        choices=("on", "report", "off"),
        default="on",
        help="rewrite what overflows or cancels, only say where it does, or neither",
    )
    command.add_argument("--json", action="store_true", help="print the same facts as JSON")
    command.set_defaults(run=_compile)

    command = commands.add_parser("print", help="print the gradients of a model")
    _model_argument(command)
    forms = command.add_mutually_exclusive_group()
    for form in ("ascii", "latex", "mathml", "numpy", "ir", "source"):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    command.add_argument("--wrt", nargs="+", metavar="NAME", help="gradients by these tensors only")
    command.set_defaults(run=_print, form="text")

    command = commands.add_parser("explain", help="derive the gradients of a model, step by step")
    _model_argument(command)
    forms = command.add_mutually_exclusive_group()
    for form in ("latex", "html"):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    command.add_argument("--all", action="store_true", help="all lines, however many there are")
    command.add_argument("--why", metavar="NAME", help="why is the gradient by NAME zero?")
    command.set_defaults(run=_explain, form="text")

    command = commands.add_parser("graph", help="draw the loss and its gradients as a graph")
    _model_argument(command)
    forms = command.add_mutually_exclusive_group()
    for form in ("svg", "dot", "mermaid"):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form)
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="the file to write")
    command.add_argument("--all", action="store_true", help="every value, however many there are")
    command.set_defaults(run=_graph, form="svg")

    command = commands.add_parser("report", help="write everything about a model as one page")
    _model_argument(command)
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="the HTML file to write")
    command.set_defaults(run=_report)

    command = commands.add_parser("check", help="compare gradients with finite differences")
    _model_argument(command)
    command.set_defaults(run=_check)

    command = commands.add_parser("cache", help="the folder of compiled kernels")
    command.add_argument("action", choices=("dir", "clear"))
    command.set_defaults(run=_cache)
    return parser


def _model_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "model", metavar="model.py[:name]", help="a Python file with an sg.Model in it"
    )


# The commands are imported when they run: help needs none of what they need.


def _compile(options: argparse.Namespace) -> int:
    from symgrad.cli.compile import run

    return run(options)


def _print(options: argparse.Namespace) -> int:
    from symgrad.cli.show import run

    return run(options)


def _explain(options: argparse.Namespace) -> int:
    from symgrad.cli.explain import run

    return run(options)


def _graph(options: argparse.Namespace) -> int:
    from symgrad.cli.graph import run

    return run(options)


def _report(options: argparse.Namespace) -> int:
    from symgrad.cli.report import run

    return run(options)


def _check(options: argparse.Namespace) -> int:
    from symgrad.cli.check import run

    return run(options)


def _cache(options: argparse.Namespace) -> int:
    from symgrad.backends import cache

    if options.action == "dir":
        print(cache.folder())
    else:
        print(f"{cache.clear()} entries removed from {cache.folder()}")
    return DONE
