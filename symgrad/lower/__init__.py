"""From a graph to loop nests, and from loop nests to Python source."""
