"""Plain tables on standard output."""

from collections.abc import Sequence

import click


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Rows in columns; nothing is wrapped or cut, so that paths can be copied."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
