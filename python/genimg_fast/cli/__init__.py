"""The command ``genimg-fast``: pictures in, pictures out, with progress and clear errors."""

from __future__ import annotations

from pathlib import Path

import click

from genimg_fast import __version__
from genimg_fast.cli._errors import OneLineErrors
from genimg_fast.cli.diffusion import anagram, train_diffusion
from genimg_fast.cli.style import style
from genimg_fast.cli.texture import texture


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="genimg-fast")
def main() -> None:
    """Fast kernels for image synthesis, and the textures and styles they make."""


main.add_command(texture)
main.add_command(style)
main.add_command(train_diffusion)
main.add_command(anagram)


@main.command()
def info() -> None:
    """Print what was compiled, which instruction set runs, and whether CUDA is there."""
    from genimg_fast import build_info

    facts = build_info()
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {value}")


@main.command()
@click.option("--full", is_flag=True, help="Every case, not the quick set.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for table, JSON, chart.")
def bench(full: bool, output: Path | None) -> None:
    """Time the operations here, beside the packages they replace where those are installed."""
    from genimg_fast import bench as benchmarks

    benchmarks.main(quick=not full, output=output)
