"""How a classifier's answers are read: what makes probabilities of them, and where the logits are.

    softmax   p = softmax(z)    the classes exclude one another
    sigmoid   p = sigmoid(z)    each class for itself; one column z is binary: p of the second class, 1 - p of the first
    none      the answers are p already: the network ends in a softmax or a sigmoid of its own

The logit is z. Of a network that answers p, z is what goes into its last softmax or sigmoid; where that is not seen,
log p of classes that exclude one another, else log p/(1-p).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from igos.base.errors import ConfigError
from igos.base.names import ACTIVATIONS
from igos.types.candidates import odds_of

Run = Callable[[Tensor], Any]  # pictures (N,3,H,W) as the network takes them -> its answers (N,columns) or (N,)
ENDINGS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {  # functions of torch by name
    "softmax": ("softmax", lambda z: z.softmax(dim=-1)),
    "log_softmax": ("log_softmax", lambda z: z.log_softmax(dim=-1)),
    "sigmoid": ("sigmoid", torch.sigmoid),
    "expit": ("sigmoid", torch.sigmoid),
    "special_expit": ("sigmoid", torch.sigmoid),
}
LINEAR = ("Addmm", "Mm", "Bmm", "Convolution")  # how the graph of logits mostly ends, before steps such as these:
PASSING = (
    *("View", "UnsafeView", "Reshape", "ReshapeAlias", "Alias", "Squeeze", "Unsqueeze", "Flatten", "Select", "Unbind"),
    *(
        "Slice",
        "Split",
        "Clone",
        "ToCopy",
        "Transpose",
        "Permute",
        "T",
        "Cat",
        "Stack",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Neg",
    ),
    *("Mean", "Sum", "AdaptiveAvgPool2D", "Relu", "Threshold"),
)
CLOSE = 1e-3  # how far a row's sum may be from 1, and a probability outside of [0,1]
TINY = 1e-30


class _Ending(TorchFunctionMode):
    """While it lasts: the last softmax or sigmoid that runs, what goes in and what comes out."""

    last: tuple[str, Tensor, Tensor] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ENDINGS and isinstance(out, Tensor):
            self.last = name, args[0] if args else kwargs["input"], out
        return out


@dataclass(frozen=True)
class Head:
    """activation: one of ACTIVATIONS; exclusive: whether the classes exclude one another; single: whether one column
    stands for two classes; inside: whether the network ends in a softmax or sigmoid whose input is its logits; why:
    what was seen, "" where that is nothing.
    """

    activation: str = "softmax"
    exclusive: bool = True
    single: bool = False
    inside: bool = False
    why: str = ""

    def __call__(self, run: Run, pictures: Tensor, score: str) -> Tensor:
        """Scores (N,classes) of pictures; score one of SCORES, or margin, which is the logit."""
        if score != "prob":
            z = self._logits(run, pictures)
            z = torch.cat([-z, z], dim=1) if self.single else z
            return self.odds(z) if score == "logodds" else z
        out = columns(run(pictures))
        if self.activation == "softmax":
            return out.softmax(dim=1)
        if self.activation == "none":
            return torch.cat([1 - out, out], dim=1) if self.single else out
        return torch.cat([-out, out], dim=1).sigmoid() if self.single else out.sigmoid()

    def odds(self, logits: Tensor) -> Tensor:
        """The log-odds (N,classes) of the probabilities of logits (N,classes)."""
        return odds_of(logits) if self.exclusive and not self.single else logits

    def _logits(self, run: Run, pictures: Tensor) -> Tensor:
        if not self.inside:
            out = columns(run(pictures))
        else:
            _, out, z = ended(run, pictures)
            if z is not None:
                return z
        return out if self.activation != "none" else odds(out, self.exclusive)

    def check(self, p: Tensor, name: str) -> None:
        """Refuse probabilities (N,classes) that are none. Raises ConfigError."""
        if self.activation == "none" and bool(((p < -CLOSE) | (p > 1 + CLOSE)).any()):
            worst = float(p.flatten()[(p.flatten() - 0.5).abs().argmax()])
            raise ConfigError(f"{name} answers {worst:.3g}, no probability: its activation is softmax or sigmoid")


def columns(out: Any) -> Tensor:
    """Answers as (N,columns): a network with one answer may give (N,)."""
    return out[:, None] if out.ndim == 1 else out


def ended(run: Run, pictures: Tensor) -> tuple[str, Tensor, Tensor | None]:
    """The name of the softmax or sigmoid that makes the answers, "" without one; the answers (N,columns), and what
    went into it, of the same shape, or None.
    """
    with _Ending() as ending:
        out = columns(run(pictures))
    if ending.last is None:
        return "", out, None
    name, z, made = ending.last
    if made.numel() != out.numel() or made.data_ptr() != out.data_ptr():
        return "", out, None
    return name, out, z.reshape(out.shape)


def odds(p: Tensor, exclusive: bool) -> Tensor:
    """A logit of each probability (N,classes): log p where the classes exclude one another, else log p/(1-p)."""
    low = p.clamp(min=TINY).log()
    return low if exclusive else low - (1 - p).clamp(min=torch.finfo(p.dtype).eps).log()


def recognise(run: Run, probe: Tensor, activation: str | None = None, name: str = "the network") -> Head:
    """The Head of a network by its answers to a probe (N,3,H,W), N >= 2, as the network takes it.

    activation: what the user says it is. Raises ConfigError where that contradicts what is seen.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise ConfigError(f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
    with torch.enable_grad():
        asked, out, z = ended(run, probe.detach().requires_grad_(True))
    if out.ndim != 2:
        return Head(activation or "softmax", exclusive=activation != "sigmoid")
    ending, made = ENDINGS.get(asked, ("", None))
    linear, single, out = _linear(out.grad_fn), out.shape[1] == 1, out.detach()
    if z is None or made is None or not torch.allclose(made(z.detach()), out, atol=1e-5, equal_nan=True):
        ending, z = "", None
    within = bool(((out >= -CLOSE) & (out <= 1 + CLOSE)).all())
    sums = within and not single and bool(((out.sum(dim=1) - 1).abs() <= CLOSE).all())
    seen = (
        "its rows sum to 1" if sums
        else "it ends in a sigmoid" if ending == "sigmoid"
        else "it ends in a logarithm of softmax" if ending == "log_softmax"
        else ""
    )  # fmt: skip
    if activation is not None:
        _check(activation, seen, within, single, out, name)
    elif seen and ending != "log_softmax":
        activation = "none"
    elif within and not linear:
        activation, seen = "none", "all its answers lie in [0,1]"
    elif single:
        activation, seen = "sigmoid", "it answers one column"
    else:
        activation, seen = "softmax", ""
    exclusive = activation == "softmax" or (activation == "none" and sums)
    return Head(activation, exclusive, single, inside=z is not None, why=seen)


def _check(activation: str, seen: str, within: bool, single: bool, out: Tensor, name: str) -> None:
    """Refuse an activation that contradicts what was seen. Raises ConfigError."""
    if activation == "none" and not within:
        worst = float(out.flatten()[(out.flatten() - 0.5).abs().argmax()])
        why = f"{name} answers {worst:.3g}, no probability; softmax or sigmoid makes one of it"
    elif activation == "softmax" and single:
        why = f"{name} answers one column, whose softmax is always 1; take sigmoid"
    elif activation == "sigmoid" and seen:
        why = f"of {name} {seen}; take {'softmax' if 'logarithm' in seen else 'none'}"
    elif activation == "softmax" and seen and "logarithm" not in seen:
        why = f"of {name} {seen}: they are probabilities already; take none"
    else:
        return
    raise ConfigError(f"activation {activation}: {why}")


def _linear(node: Any) -> bool:
    """Whether answers whose graph ends in `node` are seen to come from a linear layer: logits wherever they lie."""
    while node is not None and node.name().split("Backward")[0] in PASSING and node.next_functions:
        node = next((before for before, _ in node.next_functions if before is not None), None)
    return node is not None and node.name().startswith(LINEAR)
