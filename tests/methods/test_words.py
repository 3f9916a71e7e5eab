"""The bottleneck on words: planted evidence, the traps of recurrent networks, and the page."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from igos.cli import main, text
from igos.data import sentences
from igos.methods.bottleneck import words as reader
from igos.types import ConfigError, WeightsError


@pytest.fixture(scope="module")
def model() -> reader.Reader:
    return reader.load()


def test_evidence_ranks_first_in_held_out_sentences(model: reader.Reader) -> None:
    made = [s for s in (sentences.sentence(1, i) for i in range(30)) if s.evidence]
    hits = [int(reader.explain(model, s.words, opt_steps=30).bits.argmax()) in s.evidence for s in made]
    assert sum(hits) / len(hits) >= 0.9
    alone = [h for h, s in zip(hits, made, strict=True) if len(s.evidence) == 1]
    assert sum(alone) / len(alone) >= 0.9 and len(alone) > 10


def test_the_task_pulls_at_the_gates(model: reader.Reader) -> None:
    """Behind a layer that the answer passes by, the task would have no say and another label the same map."""
    words = sentences.sentence(1, 1).words
    a, b = (reader.explain(model, words, label).bits for label in ("food", "music"))
    assert not torch.allclose(a, b, rtol=0.05)


def test_dropout_is_off_while_explaining_and_back_afterwards() -> None:
    words = ("the", "rain", "in", "may")
    model = reader.load()
    model.dropout.p = 0.9
    model.train()
    first, again = (reader.explain(model, words) for _ in range(2))
    assert model.training and torch.equal(first.bits, again.bits)
    assert torch.equal(first.bits, reader.explain(reader.load(), words).bits)


def test_padding_takes_no_part(model: reader.Reader) -> None:
    ids = model.ids(["the", "violin", "house"])
    padded = nn.functional.pad(ids, (0, 4))[None]
    with torch.no_grad():
        plain = model.logits(model.embedding(ids)[None])
        torch.testing.assert_close(model.logits(model.embedding(padded), torch.tensor([3])), plain)


def test_nothing_passes_at_a_high_price_and_that_is_told(model: reader.Reader) -> None:
    e = reader.explain(model, ("the", "rain"), beta=1e5, lr=1.0)
    assert float(e.bits.max()) < 0.1 and "smaller beta" in e.warnings[0]


def test_a_file_holds_the_model_and_others_are_refused(model: reader.Reader, tmp_path: Path) -> None:
    reader.write(tmp_path / "m.safetensors", model)
    words = ("they", "saw", "snow")
    assert torch.equal(
        reader.explain(reader.load(tmp_path / "m.safetensors"), words).bits, reader.explain(model, words).bits
    )
    (tmp_path / "x.safetensors").write_bytes(b"x")
    for name in ("x.safetensors", "none.safetensors"):
        with pytest.raises(WeightsError, match=name):
            reader.load(tmp_path / name)
    with pytest.raises(ConfigError, match="not one of"):
        reader.explain(model, words, "cars")


def test_the_command_writes_a_page_without_foreign_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "s.txt", tmp_path / "o"
    data.write_text("We heard a <b>violin</b> &amp; waited.\n\nSnow near the house, again!\n", encoding="utf-8")
    assert main(["text", "--data", str(data), "--out", str(out)]) == 0
    assert "violin" in capsys.readouterr().out
    rows = [json.loads(line) for line in (out / "text.jsonl").read_text().splitlines()]
    assert [r["label"] for r in rows] == ["music", "weather"]
    shown = re.findall(r"<span[^>]*>([^<]*)</span>", (out / "text.html").read_text())
    assert [html.unescape(w) for w in shown] == [w for r in rows for w in r["words"]]
    page = text.html([reader.TextExplanation(("<script>", "&"), torch.tensor([1.0, 0.5]), "<i>", 0.5)])
    assert "<script>" not in page and "<i>" not in page and "&lt;script&gt;" in page
    assert main(["text", "--data", str(data), "--out", str(out)]) == 2
    assert "holds a result already" in capsys.readouterr().err
    assert main(["text", "--data", str(tmp_path / "none")]) == 2
