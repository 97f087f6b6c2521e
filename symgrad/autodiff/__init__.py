"""Derivatives as graphs: reverse mode, forward mode, and what is built on the two."""
