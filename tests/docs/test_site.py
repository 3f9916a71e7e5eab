"""The documents: the site builds without a warning, tables and pages are those of the code, the code in them runs."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shlex
import shutil
import sys
from dataclasses import fields
from fnmatch import fnmatch
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import igos
from igos import cli
from igos.base import resources
from igos.base.names import PARTS
from igos.cli.main import COMMANDS
from igos.methods import METHODS
from igos.metrics import METRICS
from igos.run import presets
from igos.run.settings import Run
from igos.types import STATUSES
from tests.commands import Command

ROOT = Path(__file__).resolve().parents[2]
TESTED = 'pip install -e ".[test]" && pytest'  # what .ci/run takes from the README
OTHERS = ("--help",)
LOADERS = ("igos.cli.session", "igos.run.models")  # who loads a model for a command
FREE = {"public domain", "MIT", "BSD 3-Clause", "CC BY 2.0", "no known copyright restrictions"}
MEASURED = ("0.003", "0.830", "0.789", "0.314")  # by quality.py --split held, whose rows are not kept
DOCS = ROOT / "docs"
PAGES = {p.stem: p.read_text() for p in sorted(DOCS.glob("*.md"))}
TUTORIALS = {f"tutorials/{p.stem}": p.read_text() for p in sorted((DOCS / "tutorials").glob("*.md"))}
PAGES |= TUTORIALS  # their code runs in test_tutorials.py
DOCUMENTS = PAGES | {name: (ROOT / f"{name}.md").read_text() for name in ("README", "CONTRIBUTING")}
PICTURES = DOCS / "pictures"


def needs_mkdocs() -> None:
    if not all(importlib.util.find_spec(name) for name in ("mkdocs", "material")):
        assert os.environ.get("CI") != "true", "CI must have mkdocs-material: pip install -e '.[docs]'"
        pytest.skip("mkdocs-material is not installed: pip install -e '.[docs]'")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    needs_mkdocs()
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Words(HTMLParser):
    """The text of a page, that of its formulas, and what it loads when it is opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.formulas, self.loads = "", "", list[str]()
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "br", "link", "meta", "input", "hr"):
            self.inside.append(tag)
        if tag in ("img", "script", "link", "iframe"):
            self.loads += [value for key, value in attrs if key in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.inside):
            self.text += data
            self.formulas += data if "pre" in self.inside else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Words]:
    """Every page of the site, built as CI builds it."""
    needs_mkdocs()
    out = tmp_path_factory.mktemp("site")
    words = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    code, _, err = Command(*words, cwd=ROOT, env={"NO_MKDOCS_2_WARNING": "1"}).end(300)
    assert code == 0 and "WARNING" not in err, err
    assert not list(out.rglob("*.py"))
    return {str(p.parent.relative_to(out)): Words(p.read_text()) for p in out.rglob("index.html")}


def test_the_site_has_a_page_for_each_method_with_formula_and_facts(site: dict[str, Words]) -> None:
    for name, method in METHODS.items():
        page = site[f"methods/{name}"]
        assert method.paper in page.text and method().cost in page.text, name
        head = inspect.getdoc(sys.modules[method.__module__]) or ""
        formulas = [line.strip() for line in head.split("\n") if line.startswith("    ") and "http" not in line]
        assert all(line in page.formulas for line in formulas), name
    assert "min over M in [0,1]   P(I,B,M) + l1*L1(M) + l2*TV(M)" in site["methods/I-GOS"].formulas
    assert "z = lambda r + (1 - lambda) eps" in site["methods/iba"].formulas, "of the file that it builds on"
    assert "R = max(0, J^T G)" in site["methods/guided_backprop"].formulas
    assert "R = J^T max(0, G)" in site["methods/guided_integrated_gradients"].formulas


def test_tables_of_the_site_are_those_of_the_code(site: dict[str, Words]) -> None:
    from detectors import ADAPTERS

    assert all(name in site["metrics"].text for name in METRICS)
    assert "| sum_i a_i - (f(x) - f(x')) |" in site["metrics"].formulas
    assert all(name in site["models"].text for name in ADAPTERS)
    assert all(method().cost in site["choosing"].text for method in METHODS.values())
    signs = ("<!--", "\\_", "\\*", "\\<", "&lt;")
    assert not [(place, sign) for place, page in site.items() for sign in signs if sign in page.text]


@pytest.mark.parametrize("page", PAGES)
def test_tables_in_the_pages_are_those_of_the_code(page: str, generate: ModuleType) -> None:
    assert generate.written(PAGES[page]) == PAGES[page], "python docs/generate.py writes them"


def test_the_tables_of_the_code_stand_in_the_pages() -> None:
    assert all(f"| `{name}` |" in PAGES["choosing"] for name in METHODS)
    assert all(f"| `{name}` |" in PAGES["metrics"] for name in METRICS)
    assert all(f"| `--{f.name}`" in PAGES["flags"] for f in fields(Run))
    assert all(f"| `igos {name}` |" in PAGES["flags"] for name in COMMANDS)
    assert sum(text.count("<!-- end -->") for text in PAGES.values()) == 7


def test_a_page_loads_nothing_from_elsewhere(site: dict[str, Words]) -> None:
    assert not [(place, x) for place, page in site.items() for x in page.loads if re.match(r"(https?:)?//", x)]


def test_signs_of_a_docstring_mean_themselves(generate: ModuleType) -> None:
    assert generate.prose("a_i * b_i < c\n\n    a_i * b_i") == r"a\_i \* b\_i &lt; c" + "\n\n    a_i * b_i"
    assert generate.plain("see https://x.org/a_b and `a_b`") == "see https://x.org/a_b and `a_b`"
    with pytest.raises(KeyError):
        generate.filled("<!-- table: nothing -->")


def test_every_method_has_its_picture_and_all_are_small() -> None:
    drawn = [
        p for p in PICTURES.glob("*.jpg") if not p.name.startswith(("photo-", "tutorial-", "diagnose-", "method-"))
    ]
    assert {p.stem for p in drawn} == {*METHODS, "photos"}
    curves = PICTURES.glob("curves-*.png")
    assert sum(p.stat().st_size for p in (*drawn, *curves, DOCS / "overlay.png", DOCS / "report.png")) < 1.5e6


def test_pages_name_what_exists() -> None:
    flags = {flag for name in COMMANDS for flag in flags_of(name)} | set(OTHERS)
    presets = {p.stem for p in resources.folder("configs").glob("*.yaml")}
    for name, text in PAGES.items():
        inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        named = {word for code in inline for word in re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", code)}
        named -= {flag for script in set(re.findall(r"python (\w+/\w+\.py)", text)) for flag in flags_in(script)}
        assert {n.replace("-", "_") for n in named} <= {flag.replace("-", "_") for flag in flags}, name
    text = PAGES["choosing"].split("The preset decides")[1].split("A preset is")[0]
    named = set(re.findall(r"`([\w-]+)", text))
    assert named and all(any(preset.startswith(name) for preset in presets) for name in named), named
    assert all(f"| `{status}` |" in PAGES["results"] for status in STATUSES)
    assert all(f"`{part}`" in PAGES["scores"] for part in PARTS)
    metrics = set(re.findall(r"`(\w+)`: ", PAGES["curves"]))
    assert metrics and metrics <= set(METRICS)
    for left in re.findall(r"^\| ([^|]+) \|", PAGES["limits"], re.MULTILINE):
        assert {word.strip("`") for word in re.findall(r"`\w+`", left)} <= set(METHODS), left


def test_every_public_name_has_its_place_in_the_reference() -> None:
    told = {line.rpartition(".")[2] for line in PAGES["api"].splitlines() if line.startswith("::: ")}
    told |= set(re.findall(r"`igos\.([A-Z]+)`", PAGES["api"])) | {"__version__"}
    assert told == set(igos.__all__)


def test_figures_in_the_text_are_those_of_the_tables() -> None:
    measured = [line for text in PAGES.values() for line in text.splitlines() if line.startswith("| ")]
    tables = "\n".join(measured)
    for name, text in DOCUMENTS.items():
        prose = re.sub(r"```.*?```|<!-- (\w+): begin -->.*?<!-- \1: end -->", "", text, flags=re.DOTALL)
        lines = [line for line in prose.splitlines() if name == "README" or not line.startswith("| ")]
        for figure in re.findall(r"(?<![\w.])\d\.\d{3}\b", "\n".join(lines)):
            assert figure in tables or figure in MEASURED, f"{name}.md quotes {figure}, no table has it"


@pytest.mark.parametrize("page", DOCUMENTS)
def test_no_table_is_torn(page: str) -> None:
    """A row stands below another row, or is a head."""
    lines = re.sub(r"```.*?```", "", DOCUMENTS[page], flags=re.DOTALL).split("\n")
    below = zip(["", *lines[:-1]], lines, [*lines[1:], ""], strict=True)
    head = re.compile(r"\|[-|: ]+\|")
    assert not [row for over, row, under in below if row[:2] == "| " and over[:1] != "|" and not head.fullmatch(under)]


def few(block: dict[str, Any]) -> dict[str, Any]:
    """Settings of a method with so many steps as a map needs to be one: 2, not asked whether they were enough."""
    if "iterations" in block:
        return {**block, "iterations": 2, "early": None, "sure": False}
    return {key: few(value) if isinstance(value, dict) else value for key, value in block.items()}


def few_steps(name: str, read: Any = presets.read_preset) -> dict[str, Any]:
    """A preset with a few network images in the place of many."""
    preset = read(name)
    steps = {"n_steps": 4, **preset["methods"].get("integrated_gradients", {})}
    return {
        **preset,
        "set": [*preset.get("set", ()), "deletion.steps=4", "insertion.steps=4"],
        "methods": {**{name: few(block) for name, block in preset["methods"].items()}, "integrated_gradients": steps},
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_curves: None) -> Path:
    """A folder like the source's, with the files that the pages' commands name."""
    for folder in ("samples", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "PHOTOS").mkdir()
    shutil.copy(ROOT / "samples" / "scene-07.png", tmp_path / "PHOTOS")
    shutil.copy(ROOT / "samples" / "scene-07.png", tmp_path / "photo.jpg")
    monkeypatch.setattr(presets, "read_preset", few_steps)
    for name in ("F.cfg", "F.weights", "F.names", "F.pth", "S.safetensors"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENTS[page], re.DOTALL)


@pytest.mark.parametrize(
    "page", [p for p in DOCUMENTS if p not in {"CONTRIBUTING", *TUTORIALS} and blocks(p, "python")]
)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, place: Path) -> None:
    names: dict[str, object] = {}
    for code in blocks(page, "python"):
        exec(compile(code, f"{page}.md", "exec"), names)


def commands(page: str, language: str = "sh") -> list[list[str]]:
    lines = "\n".join(blocks(page, language)).replace("\\\n", " ").replace("&&", "\n").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


class Loading(Exception):
    """The command has understood all its words and asks for the model."""


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("page", [page for page in DOCUMENTS if page not in TUTORIALS and blocks(page, "sh")])
def test_the_commands_of_a_page_run_or_get_as_far_as_the_users_own_files(
    page: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object of each picture is explained where a command does not say which."""

    def stop(*_: object) -> None:
        raise Loading

    monkeypatch.setattr(presets, "read_preset", lambda name: {**few_steps(name), "target": "top1"})
    for words in commands(page):
        if words[:3] != ["python", "-m", "igos"]:
            assert words[:2] == ["pip", "install"] or words == ["pytest"], words
            continue
        every_sample = words[3].startswith("-") and "--data" not in words
        if "PHOTOS" not in words and not every_sample:
            assert cli.main(words[3:]) == 0, capsys.readouterr().err
            continue
        with monkeypatch.context() as patch:
            for module in LOADERS:
                patch.setattr(import_module(module), "load_models", stop)
            try:
                code = cli.main(words[3:])
            except Loading:
                continue
        pytest.fail(f"{shlex.join(words)}: exit {code}: {capsys.readouterr().err}")


def flags_of(command: str) -> set[str]:
    """Every flag that igos COMMAND takes, those of other tools' commands too."""
    return {flag for flag in import_module(COMMANDS[command]).parser()._option_string_actions if flag.startswith("--")}


def flags_in(script: str) -> set[str]:
    """The flags that a script of the project takes."""
    sources = (ROOT / script).read_text() + (ROOT / "benchmarks" / "table.py").read_text()
    return set(re.findall(r"\"(--[A-Za-z][\w-]*)\"", sources))


@pytest.mark.parametrize("page", DOCUMENTS)
def test_commands_that_are_not_run_have_flags_and_scripts_that_exist(page: str) -> None:
    outside = re.sub(r"^ *```.*?```", "", DOCUMENTS[page], flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^    (python .*)", outside, re.MULTILINE)
    for words in [*map(shlex.split, indented), *commands(page, "bash")]:
        flags = {word for word in words if re.match("--[A-Za-z]", word)}
        if words[:3] == ["python", "-m", "igos"]:
            command = words[3] if words[3] in COMMANDS else "explain"
            assert flags <= flags_of(command), words
        elif words[0] == "python":
            assert flags <= flags_in(words[1]), words


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_lead_to_what_exists(page: str) -> None:
    folder = ROOT if page in ("README", "CONTRIBUTING") else (DOCS / page).parent
    made = {"methods/index.md", *(f"methods/{name}.md" for name in METHODS)}
    prose = re.sub(r"```.*?```", "", DOCUMENTS[page], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", prose):
        target = "".join(link)
        if not target.startswith("http") and not (folder == DOCS and target in made):
            assert (folder / target).exists(), target


@pytest.mark.parametrize("page", DOCUMENTS)
def test_places_named_in_the_documents_exist(page: str) -> None:
    pattern = r"`((?:igos|benchmarks|configs|detectors|tests|samples|docs|weights)/[\w./]*)"
    for place in re.findall(pattern, DOCUMENTS[page]):
        assert (ROOT / place).exists(), place


def test_the_readme_is_one_page_and_begins_with_the_two_commands() -> None:
    lines = DOCUMENTS["README"].splitlines()
    assert len(lines) <= 160
    installs = [line.strip() for line in lines if re.match(r"\s*pip install ", line)]
    assert installs[:2] == ["pip install -e . && python -m igos --method iGOS++ --opt NAG", TESTED]


def test_the_page_of_a_method_shows_a_photo_where_there_is_one(generate: ModuleType) -> None:
    """Each family of methods has some, and whose photo it is stands in the credits."""
    made = {p.stem.removeprefix("method-"): p for p in PICTURES.glob("method-*.jpg")}
    assert made.keys() <= METHODS.keys()
    families = {method.__module__.split(".")[2] for method in METHODS.values()}
    assert {METHODS[name].__module__.split(".")[2] for name in made} >= families - {"bottleneck"}, (
        "which needs statistics"
    )
    assert (
        "| `method-*.jpg` | darknet_giraffe.jpg | Yolo-Fastest | public domain |"
        in (PICTURES / "CREDITS.md").read_text()
    )
    for name in METHODS:
        assert (f"../pictures/method-{name}.jpg" in generate.method_page(name)) == (name in made)
    assert sum(p.stat().st_size for p in made.values()) < 1.2e6


def test_each_photo_has_its_credit_and_all_are_small() -> None:
    photos = sorted(PICTURES.glob("photo-*"))
    credits = (PICTURES / "CREDITS.md").read_text()
    row = r"^\| `(photo-[\w-]+\.jpg)` \| ([^|]+) \| [^|]+ \| ([^|]+) \| https?://\S+ \|$"
    rows = re.findall(row, credits, re.MULTILINE)
    assert photos and sorted(name for name, *_ in rows) == [p.name for p in photos]
    for picture in PICTURES.glob("diagnose-*"):
        assert f"`{picture.name}`" in credits and picture.stat().st_size <= 60_000
        assert picture.name in DOCUMENTS["diagnose"]
    assert len({photo for _, photo, _ in rows}) <= 12
    assert {licence for *_, licence in rows} <= FREE
    assert sum(p.stat().st_size for p in photos) < 1.5e6
    shown = "".join(DOCUMENTS.values())
    assert all(p.name in shown for p in photos)


def test_the_pictures_of_the_tutorials_are_credited_shown_and_small() -> None:
    made = sorted(PICTURES.glob("tutorial-*.jpg"))
    credits = (PICTURES / "CREDITS.md").read_text()
    named = re.findall(r"^\| `(tutorial-[\w*-]+\.jpg)` \| ([^|]+) \|$", credits, re.MULTILINE)
    known = {photo for _, photo, *_ in re.findall(r"^\| `(photo-[^`]+)` \| ([^|]+) \|", credits, re.MULTILINE)}
    photos = {photo for _, cell in named for photo in cell.split(", ")}
    assert photos <= known | {"a drawn scene"}
    assert made and all(any(fnmatch(p.name, pattern) for pattern, _ in named) for p in made)
    assert all(p.stat().st_size <= 60_000 for p in made)
    assert all(any(f"pictures/{p.name})" in text for text in TUTORIALS.values()) for p in made)
