"""Are planted flaws found? The figures of a diagnosis on `emblem-flawed`, whose flaws are known (igos/data/flawed.py).

    python benchmarks/flawed.py --learnt          # that the network has learnt the flaws: pixels are swapped, no map
    python benchmarks/flawed.py --context         # how much of the scores is the object's and how much its context's
    python benchmarks/flawed.py --alarms          # what the shortcut's false alarms stand on: maps and peers
    python benchmarks/flawed.py --missed          # why blocked objects, and objects without their glyph, are missed

Scenes of series 6, which no network was trained on. --learnt switches marks and glyphs on and off, nothing else of
which changes, and asks how often the network's own `detect` gives the class (score >= .4, IoU >= .5 with the body).
--classes asks of these alone, here and with --context, so that many bodies of one class take little time.

--context: igos/diagnose/causal.py on every detection of a body, by class; of the redundant class those with both cues.

--alarms explains every detection of the shortcut's class on a body without a label beside a mark. `top`: the share
whose most important cell outside the body lies on the mark (to half a cell); `AP`: the average precision of the map's
pixels outside the body for those of the mark. The body itself is left out of both, for it is a cause too: a mark
beside nothing is no detection. Every map has 28 x 28 cells, hidden is blurred; `images`: those the network saw.

--missed asks `why-not` of every ring that its blocker hides from the network, and of honest objects and rings without
a blocker whose glyph the body's texture covers. `top`: the share whose most important cell lies on the blocker; the
verdicts are those of igos/metrics/raised.py for every method alike, against null candidates of the same scenes.

`wrong` counts sentences: of an alarm, a top cell that is not on the mark; of a blocked object, "missing", and "covered"
with a top cell that is not on the blocker; of one without its glyph, "covered". "sensitive" names no cause.
"95 %" is the interval of the figure to its left: of a share Wilson's, of another mean that of the bootstrap over rows.
--rows FILE keeps what each method gave of each object; what FILE holds is not asked again, so that --alarms and
--missed may be stopped and go on. It knows weights by the name of their file alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.peers import WAYS, Peer  # noqa: E402
from igos.base.boxes import best_match  # noqa: E402
from igos.data.emblems import CLASSES, NONE  # noqa: E402
from igos.data.flawed import BLOCKED, CUE, HONEST, REDUNDANT, SHORTCUT, FlawedScene, flawed_scene  # noqa: E402
from igos.data.nulls import Null  # noqa: E402
from igos.data.truth import LEAST_IOU, peak_on, source_box  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.methods.asked import answering  # noqa: E402
from igos.methods.blackbox.drise import DRISE  # noqa: E402
from igos.metrics.raised import Raised  # noqa: E402
from igos.metrics.statistics import interval  # noqa: E402
from igos.run.explain import Job, explain, explain_jobs  # noqa: E402
from igos.run.presets import pick_preset  # noqa: E402
from igos.types import Adapter, Explanation, Image, Target  # noqa: E402

SERIES = 6  # of igos.data.flawed; training drew from series 0
THRESHOLD = 0.4
RANGE = "95 %"  # of the figure to its left
LEARNT = {"class": 8, "glyph": 6, "mark": 8, "bodies": 6, "seen": 6, RANGE: 11}
CONTEXT = {"class": 16, "n": 4, "f": 6, "f_object": 8, "f_context": 9, "f_neither": 9, "object": 6, "context": 7}
CONTEXT |= {f"context {RANGE}": 15, "interaction": 11, f"interaction {RANGE}": 16}
ALARMS = {"method": 10, "alarms": 6, "top": 6, f"top {RANGE}": 11, "AP": 6, f"AP {RANGE}": 11, "images": 6, "wrong": 6}
MISSED = {"method": 10, "blocked": 7, "top": 6, "covered": 7, f"covered {RANGE}": 12, "sensitive": 9, "hidden": 6}
MISSED |= {"missing": 7, f"missing {RANGE}": 12, "falsely": 7, "images": 6, "wrong": 6}
PEERS = {name: Peer(name) for name in WAYS}
METHODS: dict[str, Any] = {"iGOS++": "iGOS++", "drise": DRISE(n_masks=500), **PEERS}


def scenes(count: int, first: int = 0) -> list[FlawedScene]:
    return [flawed_scene(SERIES, i, test=True) for i in range(first, first + count)]


def name_of(s: FlawedScene, i: int) -> str:
    """The class of body i; of one without a label, the class that its mark is about."""
    if s.bodies[i].name != NONE:
        return s.bodies[i].name
    return REDUNDANT if s.beside[i].kind == CUE else SHORTCUT


def seen(adapter: Adapter, s: FlawedScene, i: int, name: str, bare: bool = False) -> bool:
    """Whether the network sees the class at body i; bare: with the body's glyphs hidden by its texture."""
    hidden = {(i, j) for j in range(len(s.bodies[i].emblems))} if bare else set()
    image = adapter.read(s.picture(hidden))
    boxes = [source_box(t, image) for t in adapter.detect(image, THRESHOLD) if t.name == name]
    return bool(boxes) and best_match(np.array(s.box(i)), boxes, LEAST_IOU) is not None


def swapped(
    adapter: Adapter, chosen: Sequence[FlawedScene], classes: Collection[str]
) -> Iterator[tuple[str, str, str, bool]]:
    """(class, glyph, mark, seen) of each body of the scenes, for its mark switched off and on and its glyph too."""
    for s in chosen:
        for i, b in enumerate(s.bodies):
            kind, name = s.beside[i].kind, name_of(s, i)
            if name not in classes:
                continue
            for bare in (False, True) if b.emblems else (True,):
                for there in (False, True):
                    glyph = "bare" if bare else "glyph"
                    yield name, glyph, kind if there else "no mark", seen(adapter, s.switched(i, there), i, name, bare)


def learnt(adapter: Adapter, count: int, classes: Collection[str] = CLASSES) -> list[dict[str, object]]:
    """A row per class, glyph and mark: on how many bodies, and the share of these that the network sees. The honest
    classes are one row more for all their marks."""
    found: dict[tuple[str, str, str], list[bool]] = {}
    for name, glyph, mark, hit in swapped(adapter, scenes(count), classes):
        found.setdefault((name, glyph, mark), []).append(hit)
        if name in HONEST:
            found.setdefault(("honest", glyph, mark if mark == "no mark" else "any mark"), []).append(hit)
    order = {name: n for n, name in enumerate((SHORTCUT, BLOCKED, REDUNDANT, *HONEST, "honest"))}
    return [
        {"class": name, "glyph": glyph, "mark": mark, "bodies": len(hits), "seen": mean(hits), RANGE: wilson(hits)}
        for (name, glyph, mark), hits in sorted(found.items(), key=lambda f: (order[f[0][0]], f[0][1:]))
    ]


@dataclass(frozen=True)
class Alarm:
    """A false alarm of the shortcut: scene and body, the picture, the detection, the pixels (H,W) bool of its body and
    of its mark.
    """

    of: str
    image: Image
    target: Target
    body: np.ndarray
    mark: np.ndarray


def alarms(adapter: Adapter, count: int) -> list[Alarm]:
    found = []
    for s in scenes(count):
        lures = [b.name == NONE and m.there for b, m in zip(s.bodies, s.beside, strict=True)]
        if not any(lures):
            continue
        image = adapter.read(s.picture())
        seen = [t for t in adapter.detect(image, THRESHOLD) if t.name == SHORTCUT]
        for i in range(len(s.bodies)):
            if not lures[i]:
                continue
            place = best_match(np.array(s.box(i)), [source_box(t, image) for t in seen], LEAST_IOU)
            if place is not None:
                found.append(Alarm(f"{s.index}/{i}", image, seen[place], s.mask(i), s.disc(s.beside[i].mark)))
    return found


def top_outside(e: Explanation, body: np.ndarray, region: np.ndarray) -> bool:
    """Whether the largest of the cells outside the body (H,W) bool lies on the region, to half a cell."""
    cells = e.saliency.float().numpy()
    y, x = (np.linspace(0, n - 1, c).round().astype(int) for n, c in zip(body.shape, cells.shape, strict=True))
    outside = np.where(body[np.ix_(y, x)], cells.min(), cells)
    return bool(peak_on(replace(e, saliency=torch.from_numpy(outside), detail=None), region) > 0)


def average_precision(heat: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the true pixels (n,) of the precision at their heat (n,); of equal heat all are taken together."""
    values, place = np.unique(-heat, return_inverse=True)
    hits = np.bincount(place, weights=truth, minlength=len(values))
    taken = np.cumsum(np.bincount(place, minlength=len(values)))
    return float((hits * np.cumsum(hits) / taken).sum() / hits.sum())


class Kept:
    """What was asked before, by the weights, the part, the method and the object; in a file, if there is one."""

    def __init__(self, file: Path | None, of: str) -> None:
        self.file, self.of = file, of
        lines = file.read_text().splitlines() if file is not None and file.is_file() else []
        self._held = {tuple(key): told for key, told in map(json.loads, lines)}

    def __call__(self, part: str, name: str, object_: str, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        key = (self.of, part, name, object_)
        if key not in self._held:
            self._held[key] = ask()
            if self.file is not None:
                with self.file.open("a") as file:
                    file.write(json.dumps([key, self._held[key]]) + "\n")
        return dict(self._held[key])


def why(adapter: Adapter, found: Sequence[Alarm], name: str, kept: Kept) -> dict[str, object]:
    """The row of one method on the false alarms."""

    def ask(a: Alarm) -> dict[str, Any]:
        (e,) = explain(adapter, a.image, [a.target], METHODS[name], metrics="none")
        precision = average_precision(e.on_source()[~a.body], a.mark[~a.body])
        return {"top": top_outside(e, a.body, a.mark), "AP": precision, "images": seen_by(e)}

    told = [kept("alarms", name, a.of, lambda a=a: ask(a)) for a in found]  # type: ignore[misc]
    tops, precisions = [t["top"] for t in told], [t["AP"] for t in told]
    row: dict[str, object] = {"alarms": len(found), "top": mean(tops), f"top {RANGE}": wilson(tops)}
    row |= {"AP": mean(precisions), f"AP {RANGE}": drawn_again(precisions), "images": images_of(told)}
    return {**row, "wrong": 100 * (1 - float(np.mean(tops))) if tops else None}


def seen_by(e: Explanation) -> int:
    """Pictures that the network saw for a map, forward and back."""
    return e.network_images + e.backward_images


def images_of(told: Sequence[Mapping[str, Any]]) -> int:
    return round(float(np.mean([t["images"] for t in told] or [0])))


def context(
    adapter: Adapter,
    chosen: Sequence[FlawedScene],
    more: Sequence[FlawedScene],
    classes: Collection[str] = CLASSES,
) -> list[dict[str, Any]]:
    """A row per class: of the detections of its bodies the means of f and of the figures of causal.py. more: scenes
    into which objects are put.
    """
    from igos.diagnose.causal import causes

    found: dict[str, list[dict[str, Any]]] = {}
    others = torch.stack([adapter.read(s.picture()).pixels for s in more])
    for s in chosen:
        if not any(name_of(s, i) in classes for i in range(len(s.bodies))):
            continue
        image, own = adapter.read(s.picture()), list[tuple[str, Target, np.ndarray]]()
        for t in adapter.detect(image, THRESHOLD):
            i = best_match(source_box(t, image), [np.array(s.box(j)) for j in range(len(s.bodies))], LEAST_IOU)
            if i is None or t.name not in classes or (t.name != SHORTCUT and s.bodies[i].name != t.name):
                continue
            if t.name != REDUNDANT or (s.bodies[i].emblems and s.beside[i].there):
                own.append((t.name if t.name != REDUNDANT else f"{t.name}, both cues", t, s.mask(i)))
        figures, _ = causes(adapter, image, [t for _, t, _ in own], [m for _, _, m in own], others)
        for (name, _, _), row in zip(own, figures, strict=True):
            found.setdefault(name, []).append(row)
    keys = ("f", "f_object", "f_context", "f_neither", "object", "context", "interaction")
    made = []
    for name, rows in sorted(found.items()):
        values = {k: [r[k] for r in rows] for k in keys}
        ranges = {f"{k} {RANGE}": drawn_again(values[k]) for k in ("context", "interaction")}
        made.append({"class": name, "n": len(rows), **{k: mean(v) for k, v in values.items()}, **ranges})
    return made


@dataclass(frozen=True)
class Lost:
    """A missed object: scene and body, the picture, the candidate in its place, and the blocker (H,W) bool; None where
    its glyph is covered.
    """

    of: str
    image: Image
    target: Target
    blocker: np.ndarray | None


def lost(adapter: Adapter, count: int, most: int) -> list[Lost]:
    """Of so many scenes, at most `most` that are blocked and as many that are without their glyph."""
    made = list[Lost]()
    for s in scenes(count):
        if len(made) == 2 * most:
            break
        for i, b in enumerate(s.bodies):
            blocked = b.name == BLOCKED and s.beside[i].there
            if not blocked and b.name not in (BLOCKED, *HONEST):
                continue
            if sum((o.blocker is not None) == blocked for o in made) >= most:
                continue
            hidden = () if blocked else {(i, j) for j in range(len(b.emblems))}
            image = adapter.read(s.picture(hidden))
            target = igos.expect(adapter, image, b.name, s.box(i), THRESHOLD)
            if target.reason != "found":
                made.append(Lost(f"{s.index}/{i}", image, target, s.disc(s.beside[i].mark) if blocked else None))
    return made


def nulls(adapter: Adapter, count: int, kept: Kept) -> list[Null]:
    """Candidates of classes that are nowhere in their scene, which is none of those that are measured."""
    made = list[Null]()
    for s in scenes(count, first=100_000):
        image = adapter.read(s.picture())
        there = {b.name for b in s.bodies} | {SHORTCUT, REDUNDANT}
        every = adapter.candidates(image)
        assert every.boxes is not None
        absent = [adapter.labels.index(n) for n in adapter.labels if n not in there]
        label = absent[s.index % len(absent)]
        scores = every.scores()[0, :, label]
        row = int(scores.masked_fill(scores >= THRESHOLD, -1).argmax())
        name, box = adapter.labels[label], every.boxes[0, row]
        target = Target(label, name, float(scores[row]), box, index=row, reason="below-threshold")
        told = kept("null", "iGOS++", str(s.index), lambda lost=Lost("", image, target, None): _null(adapter, lost))  # type: ignore[misc]
        made.append(Null(told["score"], tuple(told["medians"]), told["best"]))
    return made


def _null(adapter: Adapter, o: Lost) -> dict[str, Any]:
    e = asked(adapter, o, method_of(adapter, "iGOS++"), ())
    assert e.scores[0].curve is not None
    detail = e.scores[0].detail
    return {"score": detail["raised_of"], "best": detail["raised_over"], "medians": e.scores[0].curve[1].tolist()}


def asked(adapter: Adapter, o: Lost, method: Any, known: Sequence[Null]) -> Explanation:
    """`why-not` of a missed object, with the figures of `raised`."""
    job = Job(o.target, o.image)
    (e,), _ = explain_jobs(adapter, [job], method, [Raised()], ask="why-not", threshold=THRESHOLD, nulls=known)
    return e


def method_of(adapter: Adapter, name: str) -> Any:
    """What answers why-not where this method is named."""
    made = PEERS.get(name)
    if made is not None:
        return replace(made, sign=-1)
    return build_method(answering(name, "why-not"), {}, pick_preset(None, adapter.preset, {}))


def why_not(adapter: Adapter, found: Sequence[Lost], name: str, known: Sequence[Null], kept: Kept) -> dict[str, object]:
    """The row of one method on missed objects."""

    def ask(o: Lost) -> dict[str, Any]:
        e = asked(adapter, o, method_of(adapter, name), known)
        top = None if o.blocker is None else bool(peak_on(replace(e, detail=None), o.blocker) > 0)
        return {"verdict": e.scores[0].detail["verdict"], "top": top, "images": seen_by(e)}

    told = [kept(f"missed, {len(known)} nulls", name, o.of, lambda o=o: ask(o)) for o in found]  # type: ignore[misc]
    blocked = [t["verdict"] for t, o in zip(told, found, strict=True) if o.blocker is not None]
    hidden = [t["verdict"] for t, o in zip(told, found, strict=True) if o.blocker is None]
    tops = [t["top"] for t, o in zip(told, found, strict=True) if o.blocker is not None]
    wrong = sum(v == "missing" or (v == "covered" and not top) for v, top in zip(blocked, tops, strict=True))
    wrong += hidden.count("covered")
    row: dict[str, object] = {"blocked": len(blocked), "top": mean(tops)}
    row |= {v: mean([b == v for b in blocked]) for v in ("covered", "sensitive")}
    row |= {f"covered {RANGE}": wilson([b == "covered" for b in blocked])}
    row |= {"hidden": len(hidden), "missing": mean([h == "missing" for h in hidden])}
    row |= {f"missing {RANGE}": wilson([h == "missing" for h in hidden])}
    row |= {"falsely": mean([h == "covered" for h in hidden]), "images": images_of(told)}
    return {**row, "wrong": 100 * wrong / max(len(found), 1)}


def mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def wilson(hits: Sequence[bool]) -> str | None:
    """The 95 % interval of a share. Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953."""
    if not len(hits):
        return None
    n, p, z = len(hits), float(np.mean(hits)), 1.96
    middle, reach = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (max(0.0, (middle + side) / (1 + z * z / n)) for side in (-reach, reach))
    return f"{low:.3f}..{high:.3f}"


def drawn_again(values: Sequence[float]) -> str | None:
    """The 95 % interval of a mean, by the bootstrap; None of one value."""
    if len(values) < 2:
        return None
    return "{:.3f}..{:.3f}".format(*interval(values, [str(i) for i in range(len(values))]))


def main() -> None:
    global SERIES
    parser = table.parser(__doc__ or "")
    parser.add_argument("--model_file", help="other weights than those that ship")
    for part in ("--learnt", "--context", "--alarms", "--missed"):
        parser.add_argument(part, action="store_true")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--most", type=int, default=1000, help="objects of each kind that --missed takes (1000)")
    parser.add_argument("--nulls", type=int, default=50, help="null candidates (50)")
    parser.add_argument("--rows", type=Path, help="a file of answers: what it holds is not asked again")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--classes", nargs="+", default=list(CLASSES), choices=CLASSES)
    parser.add_argument("--series", type=int, default=SERIES, help="of the scenes (6); tune on any other but 0")
    flags = parser.parse_args()
    SERIES = flags.series
    torch.set_num_threads(flags.threads)
    adapter = igos.load("emblem-flawed", flags.model_file)
    series = f", series {SERIES}" if parser.get_default("series") != SERIES else ""
    kept = Kept(flags.rows, f"{flags.model_file}{series}")
    rows = list[Mapping[str, object]]()
    if flags.learnt:
        rows += show(LEARNT, learnt(adapter, flags.scenes, flags.classes))
    if flags.context:
        rows += show(CONTEXT, context(adapter, scenes(flags.scenes), scenes(8, flags.scenes), flags.classes))
    if flags.alarms:
        found = alarms(adapter, flags.scenes)
        rows += show(ALARMS, ({"method": name, **why(adapter, found, name, kept)} for name in flags.methods))
    if flags.missed:
        gone, known = lost(adapter, flags.scenes, flags.most), nulls(adapter, flags.nulls, kept)
        rows += show(MISSED, ({"method": name, **why_not(adapter, gone, name, known, kept)} for name in flags.methods))
    table.write_json(flags.json, table.header(SERIES), rows)


def show(widths: Mapping[str, int], rows: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Print the rows, each as soon as it is known, and give them back."""
    print(table.line({k: k for k in widths}, widths))
    shown = []
    for row in rows:
        print(table.line(row, widths), flush=True)
        shown.append(row)
    return shown


if __name__ == "__main__":
    main()
