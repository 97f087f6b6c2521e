"""The text of a value, and how strongly it binds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from symgrad.ir.size import Shape

# Binding strengths: what is weaker than its place needs parentheses.
RELATION, SUM, QUOTIENT, HADAMARD, PRODUCT, POWER, ATOM = range(7)


class Factor(NamedTuple):
    """A factor of a product: its place in the order of writing, its text, and what that may do.

    ``is_name`` means that it can be raised to a power as it stands, ``open`` that it would take
    in what is written after it, as a sum sign does.
    """

    kind: int
    text: str
    is_name: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """The text of a value, how strongly it binds, and how many ops it shows and nests.

    ``opposite`` is the value without its minus sign, for one that starts with such a sign;
    ``turned`` is b − a for a difference a − b;
    ``shape`` is that of the value that is shown, before axes are added that do not show;
    ``open`` marks what would take in a factor after it, as a sum sign does;
    ``factors`` are those of a plain product;
    ``quotient`` is what a fraction is a fraction of;
    ``number`` is the value of a number, ``coefficient`` that of the first factor of a product;
    ``between`` are x and y for x ⊙ y, ``square_of`` is x for x², ``diagonal_of`` A for diag(A);
    ``squares`` is x for the sum of all its squares, whose root is its norm;
    ``transposed`` is A for Aᵀ, ``inverse_of`` A for A⁻¹;
    ``symmetric`` marks what is its own transpose, as Aᵀ A is, ``identity`` the identity matrix.
    """

    text: str
    strength: int = ATOM
    weight: int = 0
    depth: int = 0
    opposite: Part | None = None
    turned: Part | None = None
    shape: Shape | None = None
    open: bool = False
    factors: tuple[Factor, ...] = ()
    quotient: tuple[Part, Part] | None = None
    number: float | None = None
    coefficient: float | None = None
    between: tuple[Part, Part] | None = None
    square_of: Part | None = None
    diagonal_of: Part | None = None
    squares: Part | None = None
    transposed: Part | None = None
    inverse_of: Part | None = None
    symmetric: bool = False
    identity: bool = False
