"""Run the command: ``python -m pytest_memalert.cli``."""

from __future__ import annotations

from pytest_memalert.cli import main

if __name__ == "__main__":
    main(prog_name="memalert")
