"""Measure each test: one attempt at it, the readings around it, and the wider fixtures that it set up."""
