"""symgrad against other libraries: the same answers, checked, then timed side by side."""
