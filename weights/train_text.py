"""Train the reader of planted sentences (igos/methods/bottleneck/words.py) and measure it on sentences that it has not
seen (series 1).

python weights/train_text.py         # half a minute on one CPU core; writes text.safetensors and SHA256SUMS
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from igos.data import sentences
from igos.methods.bottleneck import words as reader
from weights.measure import write_sums

HERE = Path(__file__).resolve().parent


def measured(model: reader.Reader, count: int) -> tuple[float, float, float]:
    """The share of `count` sentences that are answered right; of those with evidence, that where a word
    of it ranks first, and that where all of it does.
    """
    made = [sentences.sentence(1, i) for i in range(count)]
    with torch.no_grad():
        right = [model.logits(model.embedding(model.ids(s.words))[None]).argmax() for s in made]
    hits = [int(i) == model.labels.index(s.label) for i, s in zip(right, made, strict=True)]
    told = [s for s in made if s.evidence]
    ranks = [reader.explain(model, s.words).bits.argsort(descending=True).tolist() for s in told]
    first = [r[0] in s.evidence for r, s in zip(ranks, told, strict=True)]
    every = [set(r[: len(s.evidence)]) == set(s.evidence) for r, s in zip(ranks, told, strict=True)]
    return sum(hits) / count, sum(first) / len(told), sum(every) / len(told)


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = reader.train()
    reader.write(HERE / "text.safetensors", made)
    write_sums(HERE)
    print("right {:.3f}, evidence first {:.3f}, all of it {:.3f}".format(*measured(reader.load(), 200)))
