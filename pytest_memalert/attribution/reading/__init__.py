"""Reading the code around a container: under which names it is known, and what functions do to it."""
