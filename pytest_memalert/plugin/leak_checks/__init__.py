"""Check tests for leaks: which, for how long, and what earlier sessions found of them."""
