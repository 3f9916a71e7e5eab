"""--keep, where nobody gives it: chosen once, before anything is explained, by the number of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import replace
from pathlib import Path

from igos.results.read import read_run
from igos.run.plan import Plan

MANY = 100  # pictures, above which maps are kept and no pictures are drawn


def with_keep(plan: Plan, pictures: Callable[[], Sized]) -> tuple[Plan, str | None]:
    """The plan with what it keeps: what was asked for, else what the run that lies in its folder keeps, else by the
    number of pictures; and what is to be told of a choice.
    """
    run = plan.run
    if run.keep is not None:
        return plan, None
    if run.output and (Path(run.output) / "run.yaml").is_file():
        kept = read_run(run.output, []).get("keep")  # what is damaged is told when the folder is opened
        return replace(plan, run=replace(run, keep=kept or "all")), None
    count = len(pictures())
    many = count > MANY
    told = f"{count} pictures: of each explanation the maps are kept, in at most 40 kB, and nothing is drawn"
    made = replace(plan, run=replace(run, keep="maps" if many else "all"))
    return made, f"{told} (--keep maps; --keep all keeps everything)" if many else None
