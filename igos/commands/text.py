"""`python -m igos text`: the words that decide what sentences are about, as coloured words on a page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from igos import text as sentences
from igos.commands.parts import Parser
from igos.files import write_bytes
from igos.presets import coerce
from igos.types import ConfigError


def text(words: Sequence[str]) -> int:
    """`python -m igos text`: reads a sentence per line of --data, writes text.html and text.jsonl."""
    parser = Parser(prog="igos text", description=text.__doc__, allow_abbrev=False)
    parser.add_argument("--data", required=True, metavar="FILE", help="text, a sentence per line")
    parser.add_argument("--model_file", metavar="X", help="a model of igos.text.write; the bundled one")
    parser.add_argument("--label", metavar="X", help="explain this answer; the model's own")
    parser.add_argument("--manual_seed", type=lambda v: coerce("--manual_seed", v, int), default=0, metavar="N")
    parser.add_argument("--output", "--out", metavar="DIR", help="folder of the results; Output/<time>-text")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    flags = parser.parse_args(words)
    try:
        lines = Path(flags.data).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--data {flags.data}: cannot be read ({error})") from None
    asked = [w for line in lines if (w := sentences.split_words(line))]
    if not asked:
        raise ConfigError(f"--data {flags.data}: no sentence in it")
    folder = Path(flags.output or f"Output/{time.strftime('%Y-%m-%d_%H-%M-%S')}-text")
    if (folder / "text.html").exists():
        raise ConfigError(f"--output {folder}: holds a result already; choose a new folder")
    model = sentences.load(flags.model_file)
    made = [
        sentences.explain(model, w, flags.label, seed=flags.manual_seed)
        for w in tqdm(asked, unit="sentence", disable=None, leave=False)
    ]
    facts = [{"words": e.words, "bits": e.bits.tolist(), "label": e.label, "score": e.score} for e in made]
    write_bytes(folder / "text.jsonl", "".join(json.dumps(f) + "\n" for f in facts).encode())
    write_bytes(folder / "text.html", sentences.html(made).encode())
    for e in made[:40]:
        top = e.bits.topk(min(3, len(e.words)))
        told = ", ".join(
            f"{e.words[i]} {b:.1f}" for i, b in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        )
        print(f"{e.label:10} {e.score:.3f}  {told}")
    print(folder)
    return 0
