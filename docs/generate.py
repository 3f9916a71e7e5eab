"""What the documents take from the code: a page per method, tables of methods, metrics, models and flags. MkDocs' hook.

In the site a page's line `<!-- table: NAME -->` becomes TABLES[NAME]. A table that also stands in the page's own file,
for those who read it without the site, ends with `<!-- end -->`: `python docs/generate.py` writes it there.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.table import markdown  # noqa: E402
from detectors import ADAPTERS  # noqa: E402
from igos.base import resources  # noqa: E402
from igos.cli.main import COMMANDS  # noqa: E402
from igos.methods import ALIASES, METHODS  # noqa: E402
from igos.methods.ingredients import INGREDIENTS  # noqa: E402
from igos.metrics import COLUMNS, METRICS, table  # noqa: E402
from igos.metrics.metric import NEEDS  # noqa: E402
from igos.run.settings import Run  # noqa: E402
from samples.method_photos import FITTED  # noqa: E402

FLAGS = {f.name for f in fields(Run)}
OF_HEADS = "igos.methods."
NO_FORMULA = {"igos.methods.gradient.attribution", "igos.methods.layer.layer", "igos.methods.map_method"}
PHOTOS = "photos"
ON_PHOTO = "A giraffe that Yolo-Fastest 1.1 XL sees with .99, and what made it one"
CLASS_ON_PHOTO = "A zebra that SqueezeNet sees, and what made it one"
PICTURE = "The class of a single body, seen by `emblem-vgg`, and a detection of `emblem-m-rcnn`"
HIDE = "---\nhide: [toc]\n---"


def prose(text: str) -> str:
    """A docstring as Markdown: indented lines stay as they are, signs elsewhere mean themselves."""
    return "\n".join(line if line.startswith("    ") else plain(line) for line in text.split("\n"))


def plain(line: str) -> str:
    """A line in which signs mean themselves; `code` and addresses stay as they are."""
    parts = re.split(r"(`[^`]*`|https?://\S+)", line)
    return "".join(part if n % 2 else escaped(part) for n, part in enumerate(parts))


def escaped(text: str) -> str:
    return re.sub(r"([*_|\[\]])", r"\\\1", text).replace("<", "&lt;")


def aliases(name: str) -> list[str]:
    return [alias for alias, of in ALIASES.items() if of == name]


def needs(method: Any) -> str:
    """In words, what a method asks for."""
    named = (INGREDIENTS[name] for name in getattr(method, "ingredients", ()) if name != method.needs)
    return ", ".join([method.needs, *(f"{made.text} (`--{made.flag}`)" for made in named)])


def heads(method: type[Any]) -> list[tuple[str, str]]:
    """(file, text) of what a method's own file says at its head, then those that it builds on."""
    own = [c.__module__ for c in method.__mro__ if c.__module__.startswith(OF_HEADS)]
    used = [str(getattr(thing, "__module__", "")) for thing in vars(sys.modules[own[0]]).values()]
    methods = {m.__module__ for m in METHODS.values()}
    shared = [m for m in used if m.startswith(OF_HEADS) and m not in methods]
    found = [m for m in dict.fromkeys([*own, *shared]) if m not in NO_FORMULA]
    return [(m.replace(".", "/") + ".py", inspect.getdoc(sys.modules[m]) or "") for m in found]


def own_doc(made: type[Any]) -> str:
    """What a class says of itself; a dataclass that says nothing has its signature there."""
    doc = made.__dict__.get("__doc__") or ""
    return "" if doc.startswith(f"{made.__name__}(") else prose(inspect.cleandoc(doc))


def picture(name: str) -> str:
    return f"pictures/{name}.jpg"


def method_page(name: str) -> str:
    """Facts, picture, formula and settings of METHODS[name]."""
    method = METHODS[name]
    made = method()
    also = ", ".join(f"`{alias}`" for alias in aliases(name))
    facts = [
        ("paper", plain(method.paper)),
        *([("also called", also)] if also else []),
        ("needs", needs(method)),
        ("network images", plain(made.cost)),
        ("complete", {"-": "does not apply"}.get(method.complete, method.complete)),
        (
            "explains",
            {"prob": "the probability", "logit": "the logit"}[method.score] + ", unless `--score` says otherwise",
        ),
        *([("map", f"`{made.aggregate}` of the attribution's channels")] if hasattr(made, "aggregate") else []),
    ]
    settings = [
        (f"`{f.name}`", f"`{getattr(made, f.name)}`", f"`--{f.name}`" if f.name in FLAGS else f"`--set {f.name}=...`")
        for f in fields(method)
    ]
    parts = [HIDE, f"# {name}", "```sh\npython -m igos --method " + name + "\n```", markdown(("", ""), facts)]
    parts += [f"![{PICTURE}](../{picture(name)})", f"*{PICTURE}; [the photos](index.md#photos) show the emblems.*"]
    if (ROOT / "docs" / (on_photo := f"pictures/method-{name}.jpg")).is_file():
        shown = CLASS_ON_PHOTO if name in FITTED else ON_PHOTO
        parts += [
            f"![{shown}](../{on_photo})",
            f"*{shown}; [whose photo](../pictures/CREDITS.md). Some take fewer network images than the default.*",
        ]
    parts += ["## Formula"]
    parts += [f"{prose(text)}\n\n*The head of `{file}`.*" for file, text in heads(method)]
    if settings:
        parts += ["## Settings", own_doc(method), markdown(("setting", "default", "by"), settings)]
        parts += [
            "These are the defaults of the class. A model's preset may change them; `run.yaml` of a run has the values."
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def linked(name: str, page: str = "methods/") -> str:
    return f"[`{name}`]({page}{name}.md)"


def method_table(page: str = "methods/") -> str:
    body = [
        (linked(n, page), needs(m), plain(m().cost), m.complete, m.score, plain(m.paper)) for n, m in METHODS.items()
    ]
    return markdown(("method", "needs", "network images", "complete", "explains", "paper"), body)


def method_index() -> str:
    tiles = [f"<div markdown>\n[![{n}](../{picture(n)})]({n}.md)\n\n{linked(n, '')}\n</div>" for n in METHODS]
    shown = f"## Pictures {{#photos}}\n\n{PICTURE}; first the photos.\n\n![The two photos](../{picture(PHOTOS)})"
    gallery = '<div class="gallery" markdown>\n\n' + "\n\n".join(tiles) + "\n\n</div>"
    made = "`python samples/method_pictures.py` draws them, some with fewer network images than the default."
    text = "*Network images*: pictures through the network per explanation, with the settings of the class."
    return "\n\n".join([HIDE, "# Methods", text, method_table(""), shown, made, gallery]) + "\n"


def metric_table() -> str:
    return markdown(COLUMNS, [(f"`{name}`", *map(plain, more)) for name, *more in table()])


def metric_texts() -> str:
    """The head of each metric's file, and what its classes say, by file."""
    by_file: dict[str, list[str]] = {}
    for name, metric in METRICS.items():
        by_file.setdefault(metric.__module__, []).append(name)
    parts = []
    for module, names in by_file.items():
        parts.append("### " + ", ".join(f"`{name}`" for name in names))
        parts.append(prose(inspect.getdoc(sys.modules[module]) or ""))
        told = {name: own_doc(METRICS[name]) for name in names}
        parts += [f"`{name}`: {doc}" for name, doc in told.items() if doc]
    return "\n\n".join(parts)


def need_table() -> str:
    return markdown(("need", "without it"), [(f"`{key}`", why) for key, why in NEEDS.items()])


def model_table() -> str:
    """A row per family: what loads alike, with one preset, from the same pictures."""
    families: dict[Any, list[str]] = {}
    for name, family in ADAPTERS.items():
        families.setdefault(family, []).append(name)
    body = []
    for family, names in families.items():
        options = [f"`--{flag}`" for flag in family.flags or family.options if flag in FLAGS]
        weights = "bundled" if family.samples else "`--model_file`"
        named = ", ".join(f"`{name}`" for name in names)
        body.append((named, weights, ", ".join(options) or "-", f"`{family.preset}`"))
    return markdown(("`--model`", "weights", "its own flags", "preset"), body)


GROUPS = {  # the first flag of a group -> what its flags decide
    "model": "The model",
    "data": "The pictures",
    "target": "What is explained",
    "method": "How it is explained",
    "metrics": "Figures and results",
    "device": "Where and how the run works",
    "set": "Settings",
}


def flag_tables() -> str:
    """A table per group of the flags of a run, from its fields."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for f in fields(Run):
        group = GROUPS[f.name] if f.name in GROUPS else list(groups)[-1]
        names = ", ".join(f"`{name}`" for name in (f"--{f.name}", *f.metadata.get("aliases", ())))
        choices = ", ".join(f"`{choice}`" for choice in f.metadata.get("choices") or ())
        meaning = plain(f.metadata["help"]).replace("\\|", "|") + (f"; {choices}" if choices else "")
        groups.setdefault(group, []).append((names, meaning))
    return "\n\n".join(f"### {group}\n\n{markdown(('flag', 'meaning'), rows)}" for group, rows in groups.items())


def command_table() -> str:
    """The first words of the command and what each does, as its help says."""
    texts = {name: " ".join(import_module(module).parser().description.split()) for name, module in COMMANDS.items()}
    rows = [(f"`igos {name}`", plain(text.split(". ")[0].rstrip("."))) for name, text in texts.items()]
    return markdown(("command", "what it does"), rows)


def preset_table() -> str:
    """The presets by name, each with the first line of its file."""
    files = sorted(resources.folder("configs").glob("*.yaml"))
    return markdown(("preset", "what for"), [(f"`{p.stem}`", plain(purpose(p))) for p in files])


def purpose(preset: Path) -> str:
    """The first sentence at a preset's head."""
    return preset.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").split(". ")[0].rstrip(".")


TABLES: dict[str, Callable[[], str]] = {
    "methods": method_table,
    "metrics": metric_table,
    "metric texts": metric_texts,
    "needs": need_table,
    "models": model_table,
    "flags": flag_tables,
    "commands": command_table,
    "presets": preset_table,
}


MARK = re.compile(r"<!-- table: ([\w ]+) -->(\n\n(?:(?!<!-- ).*\n)*<!-- end -->)?")


def written(text: str) -> str:
    """A page with the tables that stand in it as the code has them, without links to pages that only the site has."""

    def table(m: re.Match[str]) -> str:
        if m[2] is None:
            return m[0]
        made = re.sub(r"\[(`[^`]+`)\]\([^)]*\)", r"\1", TABLES[m[1]]())
        return f"<!-- table: {m[1]} -->\n\n{made}\n\n<!-- end -->"

    return MARK.sub(table, text)


def pages() -> dict[str, str]:
    """The pages that are made of the code alone, by their place."""
    return {"methods/index.md": method_index(), **{f"methods/{name}.md": method_page(name) for name in METHODS}}


def filled(markdown: str) -> str:
    """Raises KeyError for a table that is not known."""
    return MARK.sub(lambda m: TABLES[m[1]](), markdown)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    parts = (part for item in config.nav or [] for group in item.values() if isinstance(group, list) for part in group)
    (section,) = (part for part in parts if isinstance(part, dict) and "Methods" in part)
    section["Methods"] = ["methods/index.md", *({name: f"methods/{name}.md"} for name in METHODS)]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return filled(markdown)


if __name__ == "__main__":
    for page in sorted((ROOT / "docs").glob("*.md")):
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
