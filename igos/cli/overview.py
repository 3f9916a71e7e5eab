"""What `igos` and `igos --help` say: what it is, its commands in groups, examples. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from igos.base.names import VERSION

GROUPS = {  # what for -> the commands, each with its line
    "look": {
        "demo": "explain what the bundled detector sees in its sample pictures",
        "explain": "show what each detection or class rests on",
        "serve": "a live page: click on an object, see why",
        "text": "the words that decide what a sentence is about",
    },
    "judge": {
        "evaluate": "several methods on the same objects, with figures",
        "diagnose": "where a detector errs, and what its errors rest on",
        "compare": "one page of several runs, object by object",
    },
    "prepare": {
        "model": "what a model is, reads and sees; a first model file",
        "estimate": "statistics of a layer, for iba and input_iba",
        "fit-patterns": "patterns of a model, for the pattern_* methods",
        "split": "pictures by class into two sets",
    },
    "share": {
        "report": "write the page of a run again",
        "figure": "pictures for slides of some rows of a run",
        "export": "the maps of a run as COCO, PNG or FiftyOne",
        "merge": "join the parts of a run",
    },
}
EXAMPLES = (
    "igos demo",
    "igos --model yolov8n.onnx --data photos/ --target class:dog",
    "igos evaluate --methods iGOS++,IG,rise --model m-rcnn --pretrained --data photos/",
)


def overview(modules: Mapping[str, str]) -> str:
    """One screen. modules: the commands that there are, each with its module."""
    lines = [
        f"igos {VERSION}: see which parts of a picture a detection or a classification rests on.",
        "",
        "  igos COMMAND [flags]      without a command: explain",
    ]
    for title, commands in groups(modules).items():
        lines += ["", f"{title}:", *(f"  {name:13} {text}" for name, text in commands.items())]
    lines += ["", "examples:", *(f"  {line}" for line in EXAMPLES), ""]
    return "\n".join([*lines, "igos COMMAND --help shows its flags, igos --list every model, method and metric."])


def greeting() -> str:
    """Ten lines for who types `igos` alone."""
    return f"""igos {VERSION} shows which parts of a picture a detection or a classification rests on.

  igos demo                              try it: explains sample pictures, in about a minute
  igos --model MODEL --data PICTURES     explain what a model sees in your pictures
  igos --method iGOS++ --opt NAG         the method of your choice, here on the samples
  igos model MODEL --data PICTURE        what a model is and sees, before anything is explained

  igos --list                            every model, method and metric
  igos --help                            the other commands
  igos COMMAND --help                    the flags of a command"""


def groups(modules: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The commands that there are; one that stands in no group with the first sentence of its help."""
    known = {title: {n: text for n, text in own.items() if n in modules} for title, own in GROUPS.items()}
    rest = [name for name in modules if not any(name in own for own in known.values())]
    more = {name: first_sentence(import_module(modules[name]).parser().description) for name in rest}
    return {title: own for title, own in {**known, "more": more}.items() if own}


def first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0].split(": ")[0].rstrip(".")
