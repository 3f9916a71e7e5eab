"""report.html of a diagnosis: one file without scripts that needs no network; and ten lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from igos.base.files import write_bytes
from igos.base.inside import inside
from igos.diagnose.choose import GROUPS
from igos.diagnose.outcomes import FALSE
from igos.metrics.statistics import ENOUGH
from igos.results import page

MOST = 300  # errors that the page lists; objects.csv has all
SIDE = 480  # longest side of a card's picture
TITLES = {
    "false alarm": "Why is it there? False alarms",
    "missed": "Why was it missed?",
    "confusion": "Why this class and not that one?",
    "context": "What the network leans on: detections with the most context",
}
PAGE = "report.html"


def write_report(folder: Path, data: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Path:
    """The page of what `data` (diagnosis.json) and the rows of objects.csv say; answers its path."""
    shown = {c["folder"]: c["id"] for c in data["explained"]}
    errors, left = list[dict[str, Any]](), 0
    for row in rows:
        if row["outcome"] in (*FALSE, "missed"):
            if len(errors) < MOST or row["folder"] in shown:
                errors.append({**row, "picture": Path(row["image"]).name, "card": shown.get(row["folder"])})
            else:
                left += 1
    groups = []
    for group in GROUPS:
        own = [{**c, "source": _picture(folder, c), "photo": Path(c["image"]).name} for c in data["explained"]
               if c["group"] == group]  # fmt: skip
        groups.append({"title": TITLES[group], "cards": own})
    content = {
        **data,
        "title": f"Diagnosis of {data['model']}: {folder.resolve().name}",
        "groups": [g for g in groups if g["cards"]],
        "errors": errors,
        "left": left,
        "enough": ENOUGH,
        "bars": bars(data),
        "matrix": _matrix(data["heat"]),
        "none": not errors and data["annotated"],
    }
    write_bytes(folder / PAGE, page.render_plain("diagnosis.html", content).encode("utf-8", "replace"), within=folder)
    return folder / PAGE


def bars(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Counts with the width of their bar, in percent of the largest."""
    made: list[dict[str, Any]] = []
    for title, counts in (
        ("Detections", data["detections"]),
        ("Annotated objects", data["objects"]),
        ("Misses by reason", data["reasons"]),
    ):  # fmt: skip
        if counts:
            most = max(counts.values())
            lines = [{"name": k, "count": n, "width": round(100 * n / most)} for k, n in counts.items()]
            made.append({"title": title, "lines": lines})
    return made


def _matrix(heat: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Rows of classes, columns own, other classes, elsewhere, as shares with a shade."""
    others = sorted(
        {k for row in heat.values() for k, v in row.items() if k not in ("own", "elsewhere") and v >= 0.005}
    )
    columns = ["own", *others, "elsewhere"]
    rows = [{"name": n, "cells": [row.get(c, 0.0) for c in columns]} for n, row in heat.items()]
    return {"columns": ["own object", *others, "elsewhere"], "rows": rows}


def _picture(folder: Path, card: Mapping[str, Any]) -> str | None:
    """The card's picture as an address; None where it is not there."""
    try:
        return page.inline(page.shrunk(inside(folder, card["picture"]).read_bytes(), SIDE))
    except OSError:
        return None


def told(data: Mapping[str, Any]) -> list[str]:
    """At most nine lines."""

    def listed(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{n} {k}" for k, n in counts.items()) or "none"

    many = "s" * (data["pictures"] != 1)
    lines = [f"{data['pictures']} picture{many}; detections: {listed(data['detections'])}"]
    if data["annotated"]:
        lines.append(f"objects: {listed(data['objects'])}; missed, by TIDE's rule: {data['tide_missed']}")
        lines.append(f"missed because: {listed(data['reasons'])}")
        lines.append("AP50: " + ("not known" if data["ap50"] is None else f"{data['ap50']:.3f}"))
    out = (
        [f"objects of classes that the model lacks: {listed(data['unknown_classes'])}"]
        if data["unknown_classes"]
        else []
    )
    not_judged = data["classes_not_annotated"]
    out += [f"detections of classes that are not annotated: {listed(not_judged)}"] if not_judged else []
    out += [f"pictures that could not be looked at: {data['not_looked_at']}"] if data["not_looked_at"] else []
    out += [f"pictures of which an annotation is damaged: {data['damaged_annotations']}"] * bool(
        data["damaged_annotations"]
    )
    out += [f"pictures that the annotations do not know: {data['not_annotated']}"] if data["not_annotated"] else []
    if out:
        lines.append(f"left out, {'; '.join(out)}")
    by_context = [c for c in data["classes"] if c["context"] is not None and c["detections"] >= 3]
    most = sorted(by_context, key=lambda c: -c["context"])[:3]
    if most:
        lines.append("most context: " + ", ".join(f"{c['name']} {c['context']:.2f}" for c in most))
    if data["substrate_dependent"]:
        many = "s" * (data["substrate_dependent"] != 1)
        lines.append(f"{data['substrate_dependent']} detection{many} whose causes depend on what hides them")
    verdicts = [c["verdict"] for c in data["explained"] if c["verdict"]]
    counted = {v: verdicts.count(v) for v in ("covered", "sensitive", "missing") if v in verdicts}
    nulls = data["nulls"]
    lines.append(
        f"{len(data['explained'])} explained; why not: {listed(counted)} ({nulls['count']} nulls, {nulls['from']})"
    )
    return lines[:9]
