"""How each library is used: one module each, with ``value_and_grad`` and ``train``.

``value_and_grad(row, problem)`` returns ``bind``, and ``bind(problem)`` a call without arguments
that gives the value and the gradients; the arrays of ``problem`` are converted while binding.
``train(row, problem)`` returns ``(step, parameters)``: ``step()`` moves the parameters and gives
the loss, ``parameters()`` shows where they are.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple


class Peer(NamedTuple):
    """A contestant: its name in the report, its module here, and options for that module."""

    title: str
    module: str
    options: dict[str, Any]

    def load(self) -> ModuleType:
        """Import the module, and with it the library."""
        return import_module(f"benchmarks.peers.{self.module}")


PEERS = {
    "symgrad": Peer("symgrad", "symgrad", {}),
    "numpy": Peer("NumPy by hand", "by_hand", {}),
    "jax": Peer("JAX", "jax", {}),
    "pytensor-c": Peer("PyTensor, C", "pytensor", {"mode": "cvm"}),
    "pytensor-numba": Peer("PyTensor, Numba", "pytensor", {"mode": "numba"}),
    "torch": Peer("PyTorch", "torch", {}),
    "torch.compile": Peer("torch.compile", "torch", {"compiled": True}),
    "casadi": Peer("CasADi", "casadi", {}),
    "casadi-jit": Peer("CasADi through C", "casadi", {"jit": True}),
}


def title(name: str) -> str:
    """Return what the report calls a contestant."""
    if name in PEERS:
        return PEERS[name].title
    peer, dash, variant = name.partition("-")
    return f"{PEERS[peer].title}, {variant}" if dash and peer in PEERS else name
