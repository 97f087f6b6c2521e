"""Passes: graph in, graph out, each writing what it did to the ledger."""
