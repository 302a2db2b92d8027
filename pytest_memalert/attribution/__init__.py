"""Explain a confirmed leak: ``explain`` brings together what the other modules find out."""
