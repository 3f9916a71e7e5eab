"""From a question to an answer that is kept, on a bundled network in this process."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from starlette.testclient import TestClient

from igos import cli
from igos.results.read import read_run
from igos.serve import asked as words
from igos.serve.network import Network, painted
from igos.serve.session import Session
from tests.conftest import ROOT
from tests.serve.here import HOST, TOKEN, Here, guarded, session

PICTURE = str(ROOT / "samples" / "singles" / "scene-00.png")


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(
        {"set": ["deletion.steps=5", "insertion.steps=5"], "metrics": ["deletion", "insertion"]}, ["emblem-vgg"]
    )


@pytest.fixture(scope="module")
def made(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Session:
    found = sorted((ROOT / "samples" / "singles").glob("*.png"))[:2]
    return session(network, tmp_path_factory.mktemp("live") / "run", [str(p) for p in found])


@pytest.fixture(scope="module")
def client(network: Network, made: Session) -> Iterator[TestClient]:
    with TestClient(guarded(made, Here(network)), base_url=f"http://{HOST}") as one:
        one.get("/", params={"token": TOKEN})
        yield one


def events(client: TestClient, **asked: Any) -> list[tuple[str, dict[str, Any]]]:
    question = {"picture": 0, "index": 0, "method": "iGOS++", "preset": "quick", "question": "why", **asked}
    seen = client.get(f"/picture/{question['picture']}/seen").json()["detections"]
    question["label"] = seen[question["index"]]["label"]
    with client.stream("POST", "/explain", json=question) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = "".join(answer.iter_text())
    blocks = [b.splitlines() for b in text.split("\n\n") if b.startswith("event")]
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in blocks]


@pytest.fixture(scope="module")
def answered(client: TestClient) -> list[tuple[str, dict[str, Any]]]:
    return events(client)


def test_what_is_seen_is_what_the_model_sees(client: TestClient, network: Network) -> None:
    seen = client.get("/picture/0/seen").json()
    assert len(seen["detections"]) == len(network.models[0][0].labels)
    scores = [d["score"] for d in seen["detections"]]
    assert scores == sorted(scores, reverse=True) and abs(sum(scores) - 1) < 1e-4


def test_each_step_is_a_frame(answered: list[tuple[str, dict[str, Any]]]) -> None:
    steps = [content for kind, content in answered if kind == "step"]
    assert [s["step"] for s in steps] == list(range(len(steps))) and len(steps) >= 3, "step 0 is one"
    assert all(s["total"] >= s["step"] for s in steps) and steps[0]["total"] == 2
    assert "heat" not in steps[0] and all(s["heat"] for s in steps[1:])
    assert all(0 <= s[name] <= 1 for s in steps for name in ("hidden", "shown")), "each with its scores"
    assert steps[-1]["hidden"] < steps[0]["hidden"] and steps[-1]["left"] == 0
    assert [kind for kind, _ in answered][0] == "begun" and answered[-1][0] == "done"


def test_the_scores_of_a_step_are_those_of_its_pictures(network: Network) -> None:
    """Hidden and shown by a mask that marks everything or nothing are the two ends."""
    from igos.run.problem import make_problem
    from igos.serve.network import scores_of

    adapter = network.models[0][0]
    image = adapter.read(str(sorted((ROOT / "samples" / "singles").glob("*.png"))[0]))
    problem = make_problem(adapter, image, adapter.detect(image, 0.0)[:1])
    whole, blurred = problem.score_ends()[0].tolist()
    before = problem.score.forward_images.copy()
    nothing, everything = (scores_of(problem, torch.full((1, 7, 7), v)) for v in (1.0, 0.0))
    assert nothing["hidden"] == pytest.approx(whole, abs=1e-5) == everything["shown"]
    assert nothing["shown"] == pytest.approx(blurred, abs=1e-5) == everything["hidden"]
    assert (problem.score.forward_images == before).all(), "not counted as the method's"


def test_a_row_and_its_arrays_lie_in_the_runs_folder(
    client: TestClient, made: Session, answered: list[tuple[str, dict[str, Any]]]
) -> None:
    answer = answered[-1][1]
    row = client.get(f"/answer/{answer['id']}/row.json").json()
    assert row["method"] == "iGOS++" and row["preset"] == "quick" and row["model"] == "emblem-vgg"
    data = client.get(f"/answer/{answer['id']}/explanation.npz").content
    assert data == (made.folder.path / answer["folder"] / "explanation.npz").read_bytes()
    [item] = answer["book"]["items"]
    assert item["play"] == ["deletion", "insertion"], "its steps can be played"
    values = dict(zip([c["key"] for c in answer["book"]["columns"]], item["values"], strict=True))
    assert values["deletion"] == pytest.approx(row["deletion"], rel=1e-4)
    assert client.get("/start").json()["answers"][answer["id"]] == answer, "a page that is loaded again knows it"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"method": "grad_cam", "preset": "default", "picture": 1},
        {"question": "why-not", "index": 1},
        {"question": "versus:star", "method": "vanilla_grad"},
    ],
    ids=["mask", "gradient", "why-not", "versus"],
)
def test_command_and_python_give_the_same_map(
    client: TestClient, made: Session, tmp_path: Path, undrawn: None, asked: dict[str, Any]
) -> None:
    _repeated(events(client, **asked)[-1][1], made, tmp_path)


def _repeated(answer: dict[str, Any], made: Session, tmp_path: Path) -> None:
    own = np.load(made.folder.path / answer["folder"] / "explanation.npz")["saliency"]
    program, *flags = shlex.split(answer["command"])
    assert program == "igos" and cli.main([*flags, "--output", str(tmp_path / "run")]) == 0
    [file] = (tmp_path / "run").rglob("explanation.npz")
    assert np.array_equal(np.load(file)["saliency"], own), answer["command"]
    names: dict[str, Any] = {}
    exec(answer["python"], names)  # what the page says
    [e] = names["es"]
    assert np.array_equal(e.saliency.numpy(), own), answer["python"]
    assert made.row(answer["id"])["status"] == e.status
    row = made.row(answer["id"])
    assert row["ask"] == answer["asked"]["question"].partition(":")[0]
    figures = {s.name: None if math.isnan(s.value) else pytest.approx(s.value) for s in e.scores}
    assert figures and all(row[name] == value for name, value in figures.items())


def test_what_was_expected_is_explained_as_the_command_does(undrawn: None, tmp_path: Path) -> None:
    """A box of one's own, of a detector: its reason is told, and the answer can be had again."""
    detector = Network({"metrics": ["deletion"], "set": ["deletion.steps=5"]}, ["emblem-yolov3spp"])
    one = session(detector, tmp_path / "live", [str(ROOT / "samples" / "scene-04.png")])
    what = {"name": "star", "box": [20.0, 200.0, 120.0, 300.0], "threshold": 0.4}
    message = one.message(0, what, 0, {"method": "odam", "preset": "default", "question": "why"})
    answer = one.keep(0, message, detector.explain(message, lambda kind, content: None, lambda idle: None))
    assert one.row(0)["reason"] and one.row(0)["name"] == "star" and answer["folder"].startswith("scene-04/own1-star")
    assert "--target expect:star@20.0,200.0,120.0,300.0 --threshold 0.4" in answer["command"]
    _repeated(answer, one, tmp_path)
    assert one.close() and cli.main(["report", str(one.folder.path), "--strict"]) == 0


def test_words_that_repeat_name_everything_that_decides() -> None:
    flags = {
        "model": "my model.yaml", "part": "box", "set": ["deletion.steps=7", "early=3"], "size": 14, "manual_seed": 5,
        "metrics": ["deletion"], "output": "x", "opt": "LS",
    }  # fmt: skip
    made = words.settings_of(flags, {"method": "igos_pp", "preset": "thorough", "question": "why"})
    assert made["method"] == "iGOS++" and made["config"] == "thorough" and "output" not in made
    command = words.command(made, "a b.png", "index:2", 0.1)
    assert "'my model.yaml'" in command and "'a b.png'" in command and "--target index:2 --threshold 0.1" in command
    python = words.python(made, "a b.png", "index:2", 0.1, "cpu")
    assert (
        "detect(image, 0.1)[2]" in python
        and "replace(target, part='box')" in python
        and "METRICS['deletion'](steps=7)" in python
    )
    assert "early=3" in python and "seed=5" in python and "config='thorough'" in python and "size=14" in python
    other = words.settings_of(flags, {"method": "grad_cam", "preset": "default", "question": "why"})
    assert "opt" not in other and other["set"] == ["deletion.steps=7"], "what the method has not"


def test_a_cancelled_question_ends_within_a_step(network: Network, made: Session) -> None:
    told: list[str] = []

    def between(idle: bool) -> None:
        if told.count("step") == 3:
            raise KeyError

    message = made.message(
        0, {"index": 0, "label": 0}, 0, {"method": "iGOS++", "preset": "thorough", "question": "why"}
    )
    with pytest.raises(KeyError):
        network.explain(message, lambda kind, content: told.append(kind), between)
    assert told == ["step"] * 3, "no step more"


def test_what_is_painted_is_hidden_from_the_network(client: TestClient) -> None:
    import base64

    rows, columns = 12, 12
    for value, check in ((0, lambda a, b: a == pytest.approx(b)), (255, lambda a, b: b < a)):
        paint = base64.b64encode(bytes([value]) * rows * columns).decode()
        asked = {"picture": 0, "index": 0, "rows": rows, "columns": columns, "paint": paint}
        found = client.post("/score", json=asked).json()
        assert check(found["before"], found["now"]), value
    assert client.post("/score", json={**asked, "rows": 11}).status_code == 400


def test_paint_lands_where_it_was_put() -> None:
    """On a letterboxed picture: the bars stay free, the left half of the photo is the left half of what it shows."""
    from types import SimpleNamespace

    from igos.base.geometry import Geometry

    image: Any = SimpleNamespace(geometry=Geometry((60, 120), (64, 64), (64 / 120,) * 2, (16.0, 0.0)))
    grid = torch.zeros(6, 12)
    grid[:, :6] = 1
    on = painted(image, grid)[0, 0]
    assert on[:15].max() == 0 and on[49:].max() == 0, "the bars"
    assert on[24:40, :28].min() > 0.99 and on[24:40, 36:].max() < 0.01


def test_its_overlay_is_drawn_while_the_page_goes_on(made: Session, answered: Any) -> None:
    made._drawing.submit(lambda: None).result(60)
    for row in made.folder.rows:
        drawn = made.folder.path / row["folder"] / "overlay.png"
        assert PIL.Image.open(drawn).size[0] >= 96 and row["files"] == {
            f"{row['folder']}/overlay.png": drawn.stat().st_size
        }


def test_the_folder_is_whole_at_the_end(made: Session, answered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    page = made.page()
    assert "emblem-vgg" in page and page.count("data:image/webp") >= 2
    assert made.close()
    folder = made.folder.path
    names = {"run.yaml", "manifest.jsonl", "results.jsonl", "results.csv", "report.html"}
    assert {p.name for p in folder.iterdir()} >= names
    assert read_run(folder, damage := []) and not damage
    assert cli.main(["report", str(folder), "--strict"]) == 0, capsys.readouterr().err
    assert cli.main(["export", str(folder), "--format", "coco", "--out", str(folder.parent / "coco.json")]) == 0


def test_a_session_without_answers_leaves_nothing(network: Network, tmp_path: Path) -> None:
    one = session(network, tmp_path / "deep" / "run", [PICTURE if Path(PICTURE).is_file() else str(ROOT / "samples")])
    assert not one.close() and not (tmp_path / "deep").exists()
