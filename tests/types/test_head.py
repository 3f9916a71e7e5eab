"""How a classifier's answers are read: what makes probabilities of them, the true logits, and what contradicts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import igos
from igos.methods.quantus import as_explain_func
from igos.types import ConfigError
from igos.types.head import recognise

ENDS: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda z: z,
    "softmax": lambda z: z.softmax(dim=1),
    "F.softmax": lambda z: F.softmax(z, dim=-1),
    "log_softmax": lambda z: F.log_softmax(z, dim=1),
    "sigmoid": torch.sigmoid,
    "expit": torch.special.expit,
    "squeezed": lambda z: torch.sigmoid(z).flatten(1) if z.shape[1] > 1 else torch.sigmoid(z).squeeze(1),
    "one by hand": lambda z: z.exp() / z.exp().sum(dim=1, keepdim=True),
    "clamped": lambda z: (z / 8 + 0.5).clamp(0, 1),
}
NAMES = ["cat", "dog", "owl"]


class Net(nn.Module):
    """Logits that follow the picture, with an ending of its own; layer `body` has a map of features."""

    def __init__(self, classes: int, end: str = "logits", module: nn.Module | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6, classes)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator)
        self.end, self.last = end, module

    def logits(self, x: Tensor) -> Tensor:
        return 3 * self.fc(self.body(x).relu().mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        z = self.logits(x)
        return ENDS[self.end](z) if self.last is None else self.last(z)


def adapted(end: str, classes: int = 3, labels: Any = None, **options: Any) -> Any:
    return igos.adapt(Net(classes, end), labels, crop=32, resize=32, **options)


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def both(adapter: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The true logits of the photo, the adapter's probabilities and its logits, (classes,) each, by label."""
    image = adapter.read(photo())
    targets = sorted(adapter.detect(image, 0.0), key=lambda t: t.label)
    x = image.pixels[None, None].expand(len(targets), 1, -1, -1, -1)
    with torch.no_grad():
        z = adapter.module.logits((image.pixels[None] - adapter._mean) / adapter._std)[0]
        made = [adapter.scorer(targets, score)(x)[:, 0] for score in ("prob", "logit")]
    assert [t.score for t in targets] == pytest.approx(made[0].tolist(), abs=1e-6)
    return z, made[0], made[1]


@pytest.mark.parametrize(
    ("end", "given", "activation"),
    [
        ("logits", None, "softmax"),
        ("logits", "softmax", "softmax"),
        ("logits", "sigmoid", "sigmoid"),
        ("softmax", None, "none"),
        ("F.softmax", None, "none"),
        ("log_softmax", None, "softmax"),
        ("sigmoid", None, "none"),
        ("expit", "none", "none"),
        ("squeezed", None, "none"),
        ("one by hand", None, "none"),
    ],
)
def test_probabilities_and_logits_are_the_networks_own(end: str, given: str | None, activation: str) -> None:
    adapter = adapted(end, activation=given)
    assert adapter.activation == activation
    z, p, logits = both(adapter)
    apart = end in ("sigmoid", "expit", "squeezed") or given == "sigmoid"
    assert torch.allclose(p, z.sigmoid() if apart else z.softmax(0), atol=1e-6)
    wanted = z.log_softmax(0) if end == "one by hand" else z
    assert torch.allclose(logits, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("end", "given"), [("logits", None), ("sigmoid", None), ("squeezed", None), ("logits", "sigmoid")]
)
def test_one_column_is_two_classes(end: str, given: str | None) -> None:
    """.7456 is explained as .7456, not as the softmax of one number."""
    adapter = adapted(end, 1, ["cat", "dog"], activation=given)
    z, p, logits = both(adapter)
    assert torch.allclose(p, torch.cat([-z, z]).sigmoid(), atol=1e-6)
    assert torch.allclose(logits, torch.cat([-z, z]), atol=1e-5)
    assert adapter.labels == ["cat", "dog"]
    assert adapted(end, 1, ["dog"]).labels == ["not dog", "dog"]
    assert adapted(end, 1).labels == ["class 0", "class 1"]
    with pytest.raises(ConfigError, match="labels: 3 class names, but the network has 2 classes"):
        adapted(end, 1, NAMES)


@pytest.mark.parametrize(
    ("end", "classes", "given", "told"),
    [
        ("softmax", 3, "softmax", "its rows sum to 1: they are probabilities already; take none"),
        ("softmax", 3, "sigmoid", "its rows sum to 1; take none"),
        ("log_softmax", 3, "sigmoid", "it ends in a logarithm of softmax; take softmax"),
        ("log_softmax", 3, "none", "no probability; softmax or sigmoid makes one of it"),
        ("sigmoid", 3, "softmax", "it ends in a sigmoid: they are probabilities already; take none"),
        ("sigmoid", 1, "sigmoid", "it ends in a sigmoid; take none"),
        ("logits", 3, "none", "no probability; softmax or sigmoid makes one of it"),
        ("logits", 1, "softmax", "one column, whose softmax is always 1; take sigmoid"),
        ("logits", 3, "tanh", "'tanh' is not one of softmax, sigmoid, none"),
    ],
)
def test_what_contradicts_the_answers_is_refused(end: str, classes: int, given: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        adapted(end, classes, activation=given)
    assert str(caught.value).startswith("activation") and "\n" not in str(caught.value)


def test_what_is_taken_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="igos"):
        adapted("logits"), adapted("sigmoid", activation="none")
        assert not caplog.records
        adapted("softmax"), adapted("clamped"), adapted("logits", 1)
    told = [r.getMessage() for r in caplog.records]
    assert told == [
        "Net: its rows sum to 1, so its answers are taken as probabilities (activation none)",
        "Net: all its answers lie in [0,1], so its answers are taken as probabilities (activation none)",
        "Net: it answers one column, so its answers are taken as a logit of the second class (activation sigmoid)",
    ]


@pytest.mark.parametrize(
    ("classes", "step"),
    [
        (2, lambda z: z),
        (1, lambda z: z),
        (1, lambda z: z.flatten()),
        (1, lambda z: z[:, 0]),
        (1, lambda z: z.clone().squeeze(1)),
        (2, lambda z: z / 1.5 + 0.1),
        (2, lambda z: z[..., None, None].relu().mean(dim=(2, 3))),  # as SqueezeNet ends
        (2, lambda z: torch.stack(z.unbind(1), 1).transpose(0, 1).T),
    ],
)
def test_logits_that_happen_to_lie_in_the_unit_interval_stay_logits(classes: int, step: Callable[..., Tensor]) -> None:
    small = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))
    nn.init.zeros_(small[2].weight)
    nn.init.constant_(small[2].bias, 0.4)
    head = recognise(lambda x: step(small(x)), torch.randn(2, 3, 8, 8))
    assert head.activation == ("softmax" if classes > 1 else "sigmoid")


def test_an_answer_beyond_what_the_probe_showed_is_refused() -> None:
    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            plain = (x.amax(dim=(2, 3)) == x.amin(dim=(2, 3))).float()
            return 0.5 + plain + 0 * x.mean(dim=(2, 3))

    adapter = igos.adapt(Late(), NAMES, crop=32, resize=32)
    assert adapter.activation == "none"
    with pytest.raises(ConfigError, match="Late answers 1.5, no probability: its activation is softmax or sigmoid"):
        adapter.detect(adapter.read(np.zeros((32, 32, 3), np.uint8)))


@pytest.mark.parametrize("end", ["logits", "softmax", "sigmoid"])
def test_every_method_sees_the_same_network(end: str) -> None:
    """A network with and without its ending is one function: same scores, maps and figures, by prob and by logit."""
    one = adapted(end, labels=NAMES, activation="sigmoid" if end == "logits" else None)
    plain = adapted("logits", labels=NAMES, activation="softmax" if end == "softmax" else "sigmoid")
    image = one.read(photo())
    a, b = (next(t for t in m.detect(image, 0.0) if t.name == "dog") for m in (one, plain))
    assert a.score == pytest.approx(b.score, abs=1e-6)
    for method, settings in (("iGOS++", {"iterations": 3}), ("grad_cam", {"layer": "body"}), ("rise", {"n_masks": 20})):
        for score in ("prob", "logit"):
            made = [
                igos.explain(m, image, [t], method, metrics=["deletion"], score=score, **settings)[0]
                for m, t in ((one, a), (plain, b))
            ]
            assert torch.allclose(made[0].saliency, made[1].saliency, atol=1e-3), (method, score)
            assert made[0].score_original == pytest.approx(made[1].score_original, abs=1e-4)
            assert made[0].scores[0].value == pytest.approx(made[1].scores[0].value, abs=1e-3)


def test_the_gradient_of_the_logit_does_not_die_where_the_probability_is_full() -> None:
    """Sure to the last bit, p is 1 and has no gradient; its logit has."""
    adapter = adapted("sigmoid")
    adapter.module.fc.bias.data += 40
    image = adapter.read(photo())
    (target,) = adapter.detect(image, 0.0)[:1]
    assert target.score == 1
    made = igos.explain(adapter, image, [target], "vanilla_grad", score="logit", metrics=())[0]
    assert made.status == "ok" and made.saliency.abs().max() > 0


def test_a_binary_network_has_an_effect() -> None:
    """The softmax of one column is 1 whatever is shown: no-effect, deletion 1, insertion 1."""
    adapter = adapted("logits", 1, ["cat", "dog"])
    image = adapter.read(photo())
    z, _, _ = both(adapter)
    adapter.module.fc.bias.data += (1.0749 - float(z)) / 3
    (target,) = adapter.detect(image, 0.5)
    assert (target.name, target.score) == ("dog", pytest.approx(0.7455, abs=1e-4))
    (made,) = igos.explain(
        adapter, image, [target], "iGOS+", metrics=["deletion", "insertion"], alpha=200, L2=0.05, sure=False
    )
    assert made.status == "ok" and made.score_original == pytest.approx(target.score, abs=1e-6)
    assert all(s.value < 0.99 for s in made.scores)


@pytest.mark.parametrize("end", ["softmax", "sigmoid"])
def test_quantus_asks_the_same_scores(end: str) -> None:
    x, y = torch.rand(2, 3, 16, 16).numpy(), np.array([2, 0])
    explain = as_explain_func("integrated_gradients", n_steps=4, size=16, score="logit")
    other = as_explain_func("integrated_gradients", n_steps=4, size=16, score="logit", activation="sigmoid")
    assert explain(Net(3, end), x, y) == pytest.approx(other(Net(3), x, y), abs=1e-5)
    single = as_explain_func("integrated_gradients", n_steps=4, size=16)(Net(1), x, np.array([1, 0]))
    assert np.abs(single).max() > 0
