"""`python -m igos text`: the words that decide what sentences are about, as coloured words on a page."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from igos.base.errors import ConfigError
from igos.base.files import write_bytes
from igos.base.settings import coerce
from igos.base.terminal import printable, say
from igos.cli.flags import Parser
from igos.data.sentences import split_words

if TYPE_CHECKING:
    from igos.methods.bottleneck.words import TextExplanation


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos text",
        "The words that decide what each sentence of --data is about: text.html, text.jsonl.",
        examples=[("igos text --data sentences.txt", "a sentence per line")],
    )
    parser.add_argument("--data", required=True, metavar="PATH", help="text, a sentence per line")
    parser.add_argument(
        "--model_file", metavar="PATH", help="a model that weights/train_text.py made (default: the bundled one)"
    )
    parser.add_argument("--label", metavar="NAME", help="explain this answer (default: the model's own)")
    parser.add_argument(
        "--manual_seed",
        type=lambda v: coerce("--manual_seed", v, int),
        default=0,
        metavar="N",
        help="seed of the noise (default: 0)",
    )
    parser.add_argument("--output", "--out", metavar="DIR", help="folder of the results (default: Output/<time>-text)")
    return parser


def run(flags: argparse.Namespace, words: Sequence[str]) -> int:
    """Read a sentence per line; write text.html and text.jsonl."""
    from tqdm import tqdm

    from igos.methods.bottleneck import words as reader

    try:
        lines = Path(flags.data).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--data {flags.data}: cannot be read ({error})") from None
    asked = [w for line in lines if (w := split_words(line))]
    if not asked:
        raise ConfigError(f"--data {flags.data}: no sentence in it")
    folder = Path(flags.output or f"Output/{time.strftime('%Y-%m-%d_%H-%M-%S')}-text")
    if (folder / "text.html").exists():
        raise ConfigError(f"--output {folder}: holds a result already; choose a new folder")
    model = reader.load(flags.model_file)
    made = [
        reader.explain(model, w, flags.label, seed=flags.manual_seed)
        for w in tqdm(asked, unit="sentence", disable=None, leave=False)
    ]
    facts = [{"words": e.words, "bits": e.bits.tolist(), "label": e.label, "score": e.score} for e in made]
    write_bytes(folder / "text.jsonl", "".join(json.dumps(f) + "\n" for f in facts).encode())
    write_bytes(folder / "text.html", html(made).encode())
    for e in made[:40]:
        top = e.bits.topk(min(3, len(e.words)))
        words = ", ".join(
            f"{e.words[i]} {b:.1f}" for i, b in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        )
        say(f"{printable(e.label):10} {e.score:.3f}  {printable(words)}")
    say(folder)
    return 0


def html(explanations: Sequence[TextExplanation]) -> str:
    """One page: a line per sentence, each word the darker the more of it must be read, its bits when pointed at."""
    lines = []
    for e in explanations:
        top = max(float(e.bits.max()), 1e-9)
        words = " ".join(
            f'<span title="{b:.2f} bits" style="--share:{max(b, 0) / top:.2f}">{escape(w)}</span>'
            for w, b in zip(e.words, e.bits.tolist(), strict=True)
        )
        warnings = "".join(f"<br><small>{escape(w)}</small>" for w in e.warnings)
        label = f"<b>{escape(e.label)}</b><br><small>{e.score:.3f}</small>"
        lines.append(f"<tr><td>{label}</td><td>{words}{warnings}</td><td>{top:.1f}</td></tr>")
    return PAGE.replace("ROWS", "\n".join(lines))


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Words that decide</title>
<style>
body{font:16px/1.7 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}
td,th{padding:.5em .8em;border-top:1px solid #ddd;vertical-align:top;text-align:left}
td:first-child{white-space:nowrap;line-height:1.3}
span{padding:.1em .25em;border-radius:.25em;background:rgba(240,120,0,var(--share))}
small{color:#666}
td:last-child{text-align:right}
</style>
<h1>Words that decide</h1>
<p>Each word is the darker the more of it the model must read for its answer, beside the probability of that answer; the
last column is the largest value of the line, in bits.</p>
<table><tr><th>answer</th><th>sentence</th><th>bits</th></tr>
ROWS
</table></html>
"""
