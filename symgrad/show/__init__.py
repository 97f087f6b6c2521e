"""Graphs to people: formulas, listings, pictures."""
