"""What holds it: paths from a root down to an object, and how each step of one is told."""
