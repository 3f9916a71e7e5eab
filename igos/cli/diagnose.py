"""`python -m igos diagnose`: which errors a detector makes on a data set, what they rest on, and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igos.base.errors import ConfigError
from igos.base.names import RETRIED
from igos.base.settings import coerce
from igos.base.terminal import say
from igos.cli.flags import METHOD, OUTPUT, Parser, add_flags, add_progress, progress_of

if TYPE_CHECKING:
    from igos.diagnose.choose import Chosen
    from igos.results.folder import RunFolder
    from igos.run.plan import Plan

NOT_HERE = (
    "target", "part", "score", "ask", "diverse_k", "init_posi", "init_val", "mix_images", "layout", "metrics", "judge",
    "judge_file", "judge_cfg",
)  # fmt: skip
HERE = ("debug", "quiet", "verbose", "pbar", "retry", "explain")
METRICS = {"why": ["sufficient", "necessary"], "why-not": ["raised"], "versus": ["flips"]}
ASKED = {"why": "why", "why-not": "why-not", "versus": "versus-row"}
OTHERS = 8  # pictures into which objects are put


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos diagnose",
        "Match a detector's detections with annotated objects, measure what each score rests on, and explain the most "
        "telling errors by the question that fits: report.html, objects.csv, diagnosis.json. The same command with the "
        "same --output goes on where it stopped. With --shard i/n it looks at one part of the pictures alone; `igos "
        "merge` joins the parts, and the same command without --shard explains what all of them show.",
        examples=[
            ("igos diagnose --model m-rcnn --pretrained --data val2017/ --annotations instances_val2017.json",
             "where it errs, and what its errors rest on"),
            ("igos diagnose --model m-rcnn --pretrained --data val2017/ --shard 1/8 --output PART1",
             "one of eight parts; igos merge PART* --out OUT, then igos diagnose ... --output OUT"),
            ("igos compare OLD NEW --out changes.html", "which errors went from one diagnosis to the next"),
        ],
    )  # fmt: skip
    parser.group(METHOD).add_argument(
        "--explain", metavar="N", default="60", help="errors that are explained (default: 60)"
    )
    add_flags(parser, NOT_HERE)
    add_progress(parser)
    parser.group(OUTPUT).add_argument(
        "--retry", choices=tuple(RETRIED), help="look again at what ended in an error or was not read"
    )
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Look at every picture, explain some errors, write the page; print ten lines and the folder."""
    flags = {k: v for k, v in vars(given).items() if k not in HERE}
    count = coerce("--explain", given.explain, int)
    if count < 0:
        raise ConfigError(f"--explain must be at least 0, got {count}")
    from igos.cli.session import Stopped, end

    begin = time.perf_counter()
    try:
        made = Diagnosis(flags, words, count, progress_of(given), RETRIED.get(given.retry or "", ()))
        made.look()
        if made.plan.run.shard:
            say(made.told_part())
            end(made.output, None)
            return 0
        made.explain()
    except Stopped as stop:
        return stop.code
    page = made.write()
    say(made.told(time.perf_counter() - begin))
    end(made.output, page)
    return 0


class Diagnosis:
    """The runs that a diagnosis is made of: pictures looked at, null candidates, errors explained."""

    def __init__(
        self, flags: Mapping[str, Any], words: Sequence[str], count: int, progress: bool | None, retry: Sequence[str]
    ) -> None:
        from igos.cli.session import look_first
        from igos.run.models import pick_device, pick_model, weights_of
        from igos.run.plan import resolve

        flags, self.preset = pick_model(flags)
        self.words, self.count, self.progress, self.retry = ["diagnose", *words], count, progress, retry
        self.flags = {**flags, "output": None}
        self.output = Path(flags.get("output") or f"Output/{time.strftime('%Y-%m-%d_%H-%M-%S')}-diagnose")
        self.flags.pop("output")
        self.plans = {k: resolve({**self.flags, "ask": ASKED[k], "metrics": METRICS[k]}, self.preset) for k in ASKED}
        self.plan = self.plans["why"]
        if not self.plan.run.data:
            raise ConfigError("no pictures: give --data FILE, FOLDER or PATTERN")
        look_first(self.plan, [path for path, _ in self.plan.run.pictures()])
        pick_device(self.plan.run.device)
        self.weights = weights_of(self.plan.run)
        self.seconds = 0.0
        self.inside = 0.0

    def values(self, plan: Plan, **more: Any) -> dict[str, Any]:
        """For run.yaml."""
        from igos.run.settings import WHERE

        kept = {k: v for k, v in plan.as_preset().items() if k not in WHERE}
        return {**kept, "weights": self.weights, **more}

    def _work(self, folder: RunFolder, cells: Sequence[Any], values: Mapping[str, Any], **more: Any) -> None:
        from igos.cli.session import work_in

        shares = work_in(
            folder, cells, values, self.words, self.progress, again="the same command goes on", **more
        )  # fmt: skip
        self.seconds += shares.seconds * shares.workers
        self.inside += shares.network
        folder.close()

    def look(self) -> None:
        """Every picture's facts."""
        from igos.diagnose.look import Looker, check_known, no_class
        from igos.diagnose.output import facts_of, seen_in
        from igos.diagnose.summary import Summary
        from igos.results.folder import RunFolder
        from igos.run.cells import Cell

        config = self.plan.run
        pictures = config.pictures()
        step = max(len(pictures) // OTHERS, 1)
        options = {"others": [path for path, _ in pictures[::step][:OTHERS]]}
        values = self.values(self.plan, diagnose="look")
        values = values if config.shard else {k: v for k, v in values.items() if k != "shard"}
        folder = RunFolder(self.output, values, retry=self.retry)
        check_known(facts_of(self.output, frozenset(seen_in(folder.rows))), config.annotations)
        self._work(folder, [Cell(self.plan)], values, make=Looker, options=options)
        self.names = frozenset(seen_in(folder.rows))
        self.summary = Summary()
        self.summary.not_looked_at = len({r["item"] for r in folder.rows}) - len(self.names)
        self.summary.damaged = sum("left out" in (r["warning"] or "") for r in folder.rows if r["status"] == "ok")
        for facts in facts_of(self.output, self.names):
            self.summary.add(facts)
        if self.summary.strange:
            raise ConfigError(no_class(str(config.model), list(self.summary.unknown), config.annotations))

    def explain(self) -> None:
        """The chosen errors, and before them null candidates of scores like those of the misses."""
        from igos.data.nulls import COUNT, bundled
        from igos.diagnose.choose import choose, nulls_like
        from igos.diagnose.output import facts_of, folders_of

        chosen, nulls = choose(facts_of(self.output, self.names), self.count)
        asked = [c.record["score"] for c in chosen if c.ask == "why-not"]
        drawn = folders_of(self.output / "nulls")
        like = nulls_like(nulls, asked, COUNT, drawn) if asked else []
        self.nulls, self.nulls_from = list(bundled()), "another detector's, on photos"
        if len(like) >= COUNT // 2:
            rows = self._answer("nulls", like, None, draw=False)
            self.nulls, self.nulls_from = self._read_nulls([row for _, row in rows]), "this model's, on these pictures"
        self.answered = self._answer("explained", chosen, self.nulls, draw=True)

    def _answer(
        self, name: str, chosen: Sequence[Chosen], nulls: Sequence[Any] | None, draw: bool
    ) -> list[tuple[Chosen, dict[str, Any]]]:
        from igos.diagnose.answer import Answerer, items_of
        from igos.results.folder import RunFolder
        from igos.run.cells import Cell

        if not chosen:
            return []
        plans = self.plans if name == "explained" else {"why-not": self.plans["why-not"]}
        cells = [Cell(plan, folder=ask) for ask, plan in plans.items()]
        methods = {plan.label: plan.as_preset()["methods"] for plan in plans.values()}
        values = {**self.values(self.plan), "diagnose": name, "asked": methods}
        folder = RunFolder(self.output / name, values, retry=self.retry)
        options = {"nulls": nulls, "draw": draw}
        items = items_of(chosen, frozenset(folder.held))
        self._work(folder, cells, values, make=Answerer, options=options, items=items)
        rows = {row["folder"]: row for row in folder.rows if row["folder"]}
        return [(c, rows[f"{c.folder}/{c.ask}"]) for c in chosen if f"{c.folder}/{c.ask}" in rows]

    def _read_nulls(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Of what was measured, also written into nulls.json."""
        import json

        from igos.base.files import write_bytes
        from igos.data.nulls import Null, row_of
        from igos.results.read import read_arrays

        made = list[Null]()
        for row in rows:
            curve = read_arrays(self.output / "nulls", row, lambda n: n == "raised_curve").get("raised_curve")
            if curve is not None and row.get("raised_of") is not None:
                made.append(Null(row["raised_of"], tuple(map(float, curve[1])), row.get("raised_over") or 0.0))
        plain = json.dumps({"nulls": [row_of(n, 5) for n in made]}).encode()
        write_bytes(self.output / "nulls.json", plain, within=self.output)
        return made

    def write(self) -> Path:
        """diagnosis.json, the tables and the page."""
        from igos.base.files import write_bytes
        from igos.cli.report import write_page
        from igos.diagnose.output import cards, facts_of, plain_json, rows_of, write_tables
        from igos.diagnose.page import write_report
        from igos.diagnose.summary import by_key

        data = self.summary.data(self.answered, self.plan.run.manual_seed)
        answers = by_key(self.answered)
        write_tables(self.output, (row for f in facts_of(self.output, self.names) for row in rows_of(f, answers)))
        data |= {
            "model": self.plan.run.model,
            "data": list(self.plan.run.data),
            "nulls": {"from": self.nulls_from, "count": len(self.nulls)},
            "explained": cards(self.answered),
        }
        write_bytes(self.output / "diagnosis.json", plain_json(data), within=self.output)
        if self.answered:
            write_page(self.output / "explained")
        self.data = data
        errors = (row for f in facts_of(self.output, self.names) for row in rows_of(f, answers))
        return write_report(self.output, data, errors)

    def told_part(self) -> str:
        """What is said where only a part was looked at."""
        return (
            f"looked at {self.summary.pictures} pictures, part {self.plan.run.shard}; nothing is explained yet: join "
            "all parts by igos merge PART ... --out OUT, then give this command with --output OUT and without --shard"
        )

    def told(self, seconds: float) -> str:
        """Ten lines for a terminal."""
        from igos.diagnose.page import told

        share = self.inside / max(self.seconds, 1e-9)
        rate = self.summary.pictures / max(seconds, 1e-9) * 3600
        return "\n".join(
            [*told(self.data), f"{seconds:.0f} s, {share:.0%} inside the network, {rate:.0f} pictures/hour"]
        )
