"""Tables on the terminal: in colours where a person looks on, else as plain text."""

from __future__ import annotations

from typing import Any

from igos.base.terminal import note, quiet, watched
from igos.results.tables import Table

WIDE = 100  # columns of a terminal from which on there is room between those of a table
STATUS = {"ok": "green", "unsure": "yellow"}  # any other: red


def show(table: Table) -> None:
    """Print a table; not with -q."""
    if quiet():
        return
    if not watched(error=False):
        note(table.text())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as Coloured
    from rich.text import Text

    console = Console(highlight=False)
    gap = int(console.width >= WIDE)
    made = Coloured(
        box=box.SIMPLE_HEAD, show_footer=bool(table.foot), pad_edge=False, padding=(0, gap, 0, 0), show_edge=False
    )
    for i, name in enumerate(table.head):
        right = i in table.right
        foot = Text(table.foot[i]) if table.foot else ""
        head = Text(name.replace("_", "_\n").replace(" ", "\n"))
        least = max((len(row[i]) for row in table.rows), default=0) if right else 6  # figures are never cut
        side: Any = "right" if right else "left"
        made.add_column(head, foot, justify=side, min_width=least, overflow="fold", footer_style="bold")
    for row in table.rows:
        made.add_row(*(Text(word, _style(table, i, word)) for i, word in enumerate(row)))
    if table.more:
        made.caption, made.caption_justify = Text(table.more), "left"
    console.print(made)


def _style(table: Table, column: int, word: str) -> str:
    return STATUS.get(word, "red") if table.head[column] == "status" else ""
