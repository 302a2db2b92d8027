"""Explain a confirmed leak: ``explanation`` brings together what the other modules find out."""
