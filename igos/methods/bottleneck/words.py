"""The bottleneck of iba.py on the tokens of a sentence, for a small LSTM that tells what sentences are about.

    Z_t = lambda_t R_t + (1 - lambda_t) eps,   R_t the embedding of token t,   eps ~ N(mu, sigma^2) over tokens
    min_lambda  -log y(Z) + beta * mean L,   map_t = sum of L over the embedding, in bits

R is what the recurrent layer reads, so that everything the score sees comes through the bottleneck; behind it, on the
layer's outputs, a network that answers by its last state would pass it by. mu and sigma count tokens and no padding;
the network is in eval mode, so that no dropout adds noise of its own. Where two words say the same, one is enough: the
bottleneck may leave the other out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from igos.base import resources
from igos.base.files import write_bytes
from igos.base.untrusted import load_json
from igos.data.sentences import EVIDENCE, LABELS, PLAIN, sentence
from igos.methods.bottleneck.bottleneck import NATS_PER_BIT, gates, information, learn, log_loss, warned
from igos.types import ConfigError, WeightsError

UNKNOWN, MIN_STD = "<unknown>", 0.01


class Reader(nn.Module):
    """Words -> embedding -> LSTM -> the class by the state after the last word; mu, sigma: of embedded tokens."""

    mu: Tensor
    sigma: Tensor

    def __init__(self, words: Sequence[str], labels: Sequence[str], width: int = 32, state: int = 48) -> None:
        super().__init__()
        self.words, self.labels = tuple(words), tuple(labels)
        self._ids = {word: i for i, word in enumerate(self.words)}
        self.embedding = nn.Embedding(len(self.words), width)
        self.lstm = nn.LSTM(width, state, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(state, len(self.labels))
        self.register_buffer("mu", torch.zeros(width))
        self.register_buffer("sigma", torch.ones(width))

    def ids(self, words: Sequence[str]) -> Tensor:
        """(T,); a word that is not known is UNKNOWN."""
        return torch.tensor([self._ids.get(w.lower(), self._ids[UNKNOWN]) for w in words])

    def logits(self, embedded: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embedded (N,T,width) -> (N,C); lengths (N,): of sentences that are padded at their end."""
        states, _ = self.lstm(embedded)
        rows = torch.arange(len(embedded))
        return self.fc(self.dropout(states[rows, (lengths if lengths is not None else embedded.shape[1]) - 1]))


@dataclass(frozen=True, eq=False)
class TextExplanation:
    """bits (T,): how much of each word must be read for the label; score: its probability."""

    words: tuple[str, ...]
    bits: Tensor
    label: str
    score: float
    warnings: tuple[str, ...] = ()


def explain(
    model: Reader,
    words: Sequence[str],
    label: str | None = None,
    *,
    beta: float = 1.0,
    opt_steps: int = 60,
    copies: int = 10,
    lr: float = 0.3,
    seed: int = 0,
) -> TextExplanation:
    """The information of each word for a label, by default the one that the model answers.

    Settings are IBA's (igos/methods/iba.py). Raises ConfigError for no words or an unknown label.
    """
    if not words:
        raise ConfigError("a sentence needs at least one word")
    if label is not None and label not in model.labels:
        raise ConfigError(f"label {label!r} is not one of {', '.join(model.labels)}")
    training, generator = model.training, torch.Generator().manual_seed(seed)
    model.eval()
    try:
        with torch.no_grad():
            r = model.embedding(model.ids(words))[None]
            y = model.logits(r).softmax(dim=1)[0]
        target = int(y.argmax()) if label is None else model.labels.index(label)
        mu, sigma = model.mu, model.sigma.clamp(min=MIN_STD)

        def task(_: int, open: Tensor) -> tuple[Tensor, Tensor]:
            eps = mu + sigma * torch.randn(copies, *r.shape[1:], generator=generator)
            z = (r * open + (1 - open) * eps).requires_grad_(True)
            lost = log_loss(model.logits(z).softmax(dim=1)[:, target])
            (g,) = torch.autograd.grad(lost.sum(), z)
            return lost.detach().mean()[None], (g * (r - eps)).mean(dim=0, keepdim=True)

        course = learn(r, opt_steps, lr, beta, gates, lambda g: information(g, (r - mu) / sigma), task)
    finally:
        model.train(training)
    g = gates(course.alpha)
    bits = information(g, (r - mu) / sigma)[0].sum(dim=1) / NATS_PER_BIT
    return TextExplanation(tuple(words), bits, model.labels[target], float(y[target]), warned(course, g.open)[0])


def train(count: int = 4000, epochs: int = 6, seed: int = 0) -> Reader:
    """A Reader of the planted sentences of series 0; half a minute on one core."""
    torch.manual_seed(seed)
    model = Reader([UNKNOWN, *PLAIN, *(w for words in EVIDENCE.values() for w in words)], LABELS)
    made = [sentence(0, i) for i in range(count)]
    tokens = [model.ids(s.words) for s in made]
    wanted = torch.tensor([model.labels.index(s.label) for s in made])
    lengths = torch.tensor([len(t) for t in tokens])
    padded = nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    adam = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(epochs):
        for part in torch.randperm(count).split(50):
            unread = torch.rand(padded[part].shape) < 0.03
            seen = padded[part].masked_fill(unread, model.ids([UNKNOWN])[0])
            loss = nn.functional.cross_entropy(model.logits(model.embedding(seen), lengths[part]), wanted[part])
            adam.zero_grad()
            loss.backward()
            adam.step()
    with torch.no_grad():
        read = model.embedding(torch.cat(tokens))
        model.mu.copy_(read.mean(dim=0))
        model.sigma.copy_(read.std(dim=0))
    return model.eval()


def write(path: str | Path, model: Reader) -> None:
    """A .safetensors file, whole or not there."""
    words = {"words": json.dumps(model.words), "labels": json.dumps(model.labels)}
    write_bytes(Path(path), save({k: v.contiguous() for k, v in model.state_dict().items()}, words))


def load(path: str | Path | None = None) -> Reader:
    """The Reader of the file, else the bundled one. Raises WeightsError for a file of another kind."""
    path = resources.folder("weights") / "text.safetensors" if path is None else Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        width, state = tensors["embedding.weight"].shape[1], tensors["fc.weight"].shape[1]
        words, labels = load_json(facts["words"]), load_json(facts["labels"])
        if UNKNOWN not in words or not labels or not all(isinstance(w, str) for w in [*words, *labels]):
            raise ValueError("no words and answers")
        with torch.device("meta"):  # storage only for what the file holds
            model = Reader(words, labels, width, state)
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except Exception as error:  # a damaged file can make the reader raise nearly anything
        raise WeightsError(f"{path}: no reader of sentences ({type(error).__name__})") from None
    return model.eval()
