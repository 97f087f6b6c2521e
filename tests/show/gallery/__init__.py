"""A hundred gradients as textbooks print them, and as symgrad does."""
