"""One sentence for each error, with its control, that needs no knowledge of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igos.data.truth import LEAST_IOU
from igos.metrics.ladder import percent, short, turning

WHAT = {  # of what is annotated, for annotations may lack an object
    "localization": "badly placed: it overlaps the {partner} there by {iou} only{also}",
    "classification": "no {name} is annotated there, but {partner} is (overlap {iou})",
    "duplicate": "a second detection of one {partner}, which has a better one (overlap {iou})",
    "background": "nothing is annotated there (the best overlap is {iou})",
    "both": "no {name} is annotated there; the nearest is {partner} (overlap {iou})",
}
NOT_JUDGED = "not judged (it lies in a crowd or on a difficult object, or its class is not annotated)"
BOTH = 0.3  # of interaction, from which it is told


def of_record(kind: str, r: Mapping[str, Any]) -> str:
    """What is known without a map."""
    if kind == "object":
        return "" if r["outcome"] == "found" else _missed(r)
    told = f"{r['name']} {short(r['score'])}"
    if r["outcome"] in WHAT:
        other = r.get("also")
        also = f", and covers {other[0]} by {short(other[1])}" if other else ""
        what = WHAT[r["outcome"]].format(name=r["name"], partner=r["partner_name"], iou=short(r["iou"]), also=also)
        return f"{told}, a false alarm: {what}"
    return f"{told}{', ' + NOT_JUDGED if r['outcome'] == 'ignored' else ''}: {_context(r)}"


def _missed(r: Mapping[str, Any]) -> str:
    rival = r.get("rival")
    other = f"{rival['name']} {short(rival['score'])}" if rival else "other detection"
    near = f"the nearest has {short(r['score'])}"
    if (covers := r.get("iou")) is not None and covers < LEAST_IOU:
        near += f" and overlaps it by {short(covers)} only"
    reasons = {
        "shared": f"its only detection, the {other}, belongs to another object",
        "suppressed": f"it was seen with {short(r['score'])}, but removed for the {other} beside it",
        "classification": f"it was taken for {other}",
        "localization": f"the {other} beside it overlaps it too little",
        "below-threshold": f"it was seen, but with {short(r['score'])} only",
        "no-proposal": "the network proposed nothing there",
        "no-candidate": f"no candidate covers it with a score above .01 ({near})",
    }
    return f"{r['name']}, missed: {reasons[r['reason']]}"


def _context(r: Mapping[str, Any]) -> str:
    if r.get("context") is None:
        return "its causes are not known"
    drop, other = r["f"] - r["f_object"], r.get("f_another")
    elsewhere = other is not None and other >= r["f"] / 2
    whose = "this candidate's" if elsewhere else "its"
    told = f"of {whose} score {short(max(r['context'], 0))} is its surroundings', {short(max(r['object'], 0))} its own"
    if abs(r.get("interaction") or 0) >= BOTH:
        told += ": both are needed" if r["interaction"] > 0 else ": either is enough"
    keeps = f"cut out and put elsewhere this candidate keeps {short(r['f_object'])} of {short(r['f'])}"
    keeps += f", but another one sees it there with {short(other or 0)}" if elsewhere else ""
    cut = keeps if abs(drop) > 0.01 else ""
    control = f"three backgrounds differ by {short(r['range'])}"
    control += ", so this depends on what hides" if r["substrate_dependent"] else ""
    return f"{told}{'; ' + cut if cut else ''} ({control})"


def of_answer(kind: str, r: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What is known with the map of its question."""
    head = of_record(kind, r)
    ask = row.get("ask")
    if ask == "why-not":
        return f"{head}; {row['sentence']}" if row.get("sentence") else head
    if ask in ("versus", "versus-row"):
        return f"{head}; {_versus(r, row)}"
    parts = [_why(row)]
    if r.get("outcome") not in ("correct", None) and r.get("context") is not None:
        parts.append(_context(r))
    return f"{head}; {'; '.join(filter(None, parts))}"


def _why(row: Mapping[str, Any]) -> str:
    needed, enough = row.get("necessary"), row.get("sufficient")
    told = []
    if needed is not None:
        told.append(f"blurring {percent(needed)} of the picture halves it")
    if enough is not None:
        told.append(f"{percent(enough)} alone keep 90 %")
    control = "by the order of one map" if told else "no share up to 32 % of the picture halves it or is enough for it"
    return f"{' and '.join(told)} ({control})" if told else control


def _versus(r: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    if r["target"].get("rival") and r["target"]["rival"]["label"] == r["target"]["label"]:
        return "the map shows what speaks for it against the other (it compares the two, and proves no cause)"
    name = r.get("partner_name") or "the other class"
    return turning(name, row.get("flips"), row.get("flips_to"))


def question(r: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    """The question of an answer, with the class that it names."""
    rival = r["target"].get("rival") if r.get("target") else None
    if str(row.get("ask")).startswith("versus") and rival and rival["label"] != r["target"]["label"]:
        return f"versus:{rival['name']}"
    return row.get("ask")
