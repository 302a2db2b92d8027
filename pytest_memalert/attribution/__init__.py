"""Explain a confirmed leak: ``explain`` brings together what the other modules find out.

What leaks is in ``survivors/``, where it was allocated in ``allocation/``, what holds it in ``holding/``,
what would let go of it in ``bounding/`` (which reads code: ``reading/``), and what to do in ``advising/``.
"""
