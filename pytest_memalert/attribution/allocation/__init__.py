"""Where it was allocated: sites of objects; lines where native memory grows, or descriptors are opened."""
