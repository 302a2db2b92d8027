"""Show, without the plugin, that click's CliRunner keeps its stream wrappers (seen in click 8.5.1)."""

import gc
import sys
from importlib.metadata import version

import click
from click.testing import CliRunner


@click.command()
def hello() -> None:
    click.echo("hello")


for total in (100, 200, 300):
    for _ in range(100):
        CliRunner().invoke(hello)
    gc.collect()
    print(f"click {version('click')}: {sys.getallocatedblocks()} blocks after {total} calls")
