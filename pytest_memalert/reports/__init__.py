"""A finished run as text, one module for each format: ``render(run)``.

A report reads the run alone: no clock, no process, no file. Whoever asks for one writes it.
"""
