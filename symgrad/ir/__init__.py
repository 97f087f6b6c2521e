"""What a graph is: types and sizes, ops, nodes, graphs, walking, verifying, text."""
