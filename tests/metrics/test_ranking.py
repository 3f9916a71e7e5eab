"""Average precision, precision at the truth's area and leak: by hand, at their ends, and against a plain loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from igos.base.geometry import Geometry
from igos.base.ops import downscale, upscale
from igos.data.truth import Truth, match
from igos.metrics.curves import Deletion, Insertion
from igos.metrics.evidence import EvidenceShare
from igos.metrics.ranking import EvidenceAP, Leak, MaskAP, PrecisionAtArea, average_precision, precision_at_area
from igos.types import Explanation, Image, Target
from tests.conftest import net_score, toy_image, toy_problem

REGION = np.zeros((4, 4), bool)
REGION[0, :2] = REGION[1, 0] = True


def shown(heat: np.ndarray) -> Explanation:
    """A map with a cell on every pixel."""
    size = heat.shape
    image = Image(torch.zeros(3, *size), Geometry(size, size), np.zeros((*size, 3), np.uint8))
    return Explanation(torch.from_numpy(heat).float(), Target(0, "cat", 0.9), image, "hand")


def truth(mask: np.ndarray, evidence: tuple[np.ndarray, ...] = ()) -> Truth:
    return Truth("cat", np.array([0.0, 0, 2, 2]), mask, evidence)


def test_by_hand() -> None:
    heat = np.zeros((4, 4))
    heat[0, 0], heat[3, 3], heat[0, 1], heat[1, 0] = 9, 8, 7, 6  # hit, miss, hit, hit, then a tie of misses
    assert average_precision(heat, REGION) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert precision_at_area(heat, REGION) == pytest.approx(2 / 3)
    assert average_precision(heat**3, REGION) == average_precision(heat, REGION), "contrast changes nothing"


def test_extremes_and_ties() -> None:
    for figure in (average_precision, precision_at_area):
        assert figure(REGION * 1.0, REGION) == 1
        assert figure(np.ones((4, 4)), REGION) == pytest.approx(3 / 16), "a constant map knows the area alone"
    assert precision_at_area(~REGION * 1.0, REGION) == 0
    half = np.zeros((4, 4))
    half[0] = 1  # four tied pixels, two of them hits, of which three are taken
    assert precision_at_area(half, REGION) == pytest.approx(3 * (2 / 4) / 3)


def test_against_a_plain_loop_over_the_levels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        heat, region = rng.integers(0, 5, (6, 7)).astype(float), rng.random((6, 7)) < 0.3
        total, seen = 0.0, 0.0
        for level in np.unique(heat)[::-1]:
            chosen = heat >= level
            recall, precision = (chosen & region).sum() / region.sum(), (chosen & region).sum() / chosen.sum()
            total, seen = total + (recall - seen) * precision, recall
        assert average_precision(heat, region) == pytest.approx(total)


def test_the_metrics_read_what_they_are_named_after() -> None:
    e, evidence = shown(REGION * 1.0), np.zeros((4, 4), bool)
    evidence[0, 0] = True
    known = truth(REGION, (evidence,))
    values = {m.name: m.measure(None, e, known).value for m in (MaskAP(), EvidenceAP(), PrecisionAtArea())}  # type: ignore[arg-type]
    assert values == pytest.approx({"mask_ap": 1, "evidence_ap": 1 / 3, "precision_at_area": 1 / 3})
    assert PrecisionAtArea().measure(None, e, truth(REGION)).value == 1  # type: ignore[arg-type]
    for m in (MaskAP(), EvidenceAP(), PrecisionAtArea(), Leak()):
        assert np.isnan(m.measure(None, e, None).value)  # type: ignore[arg-type]
    assert np.isnan(EvidenceAP().measure(None, e, truth(REGION)).value)  # type: ignore[arg-type]


def test_leak_is_the_heat_on_other_objects_of_the_class() -> None:
    heat = np.zeros((4, 4))
    heat[0, 0], heat[3, 3], heat[2, 0] = 3, 1, -5
    other = np.zeros((4, 4), bool)
    other[3, 2:] = other[2, 0] = True
    leak = Leak().measure(None, shown(heat), replace(truth(REGION), rivals=other))  # type: ignore[arg-type]
    assert leak.value == pytest.approx(1 / 4)
    assert np.isnan(Leak().measure(None, shown(heat), truth(REGION)).value), "no rival is known"  # type: ignore[arg-type]


def test_a_matched_object_knows_its_rivals_of_the_same_class() -> None:
    image, target = toy_image(), Target(0, "cat", 0.9, torch.tensor([4.0, 4, 14, 14]))
    masks = [np.zeros((24, 32), bool) for _ in range(3)]
    masks[0][4:14, 4:14], masks[1][4:14, 12:24], masks[2][:3] = True, True, True
    boxes = [np.array(b, float) for b in ([4, 4, 14, 14], [12, 4, 24, 14], [0, 0, 32, 3])]
    cat, other, dog = (Truth(n, b, m) for n, b, m in zip(("cat", "cat", "dog"), boxes, masks, strict=True))
    found = match(target, image, [other, cat, dog])
    assert found is not None and found.mask is cat.mask and found.rivals is not None
    assert np.array_equal(found.rivals, masks[1] & ~masks[0]), "what both hold is no leak"
    alone = match(target, image, [cat, dog])
    assert alone is not None and alone.rivals is None


def test_localisation_reads_the_detail_and_curves_read_the_cells() -> None:
    problem = toy_problem(net_score())
    detail = torch.zeros(24, 32)
    detail[10, 12] = 1
    plain = Explanation(torch.rand(7, 9), problem.targets[0], problem.images[0], "m")
    fine = replace(plain, detail=detail)
    spot = np.zeros((24, 32), bool)
    spot[10, 12] = True
    known = Truth("toy", np.array([12.0, 10, 13, 11]), spot, (spot,))
    assert EvidenceAP().measure(problem, fine, known).value == 1
    assert EvidenceShare().measure(problem, fine, known).value == pytest.approx(1, abs=1e-6)
    assert EvidenceAP().measure(problem, plain, known).value < 0.5
    for metric in (Deletion(steps=5), Insertion(steps=5)):
        assert metric(problem, [fine])[0].value == metric(problem, [plain])[0].value


@pytest.mark.parametrize("metric", [Deletion(steps=9, resolution=7), Insertion(steps=9, resolution=7)])
def test_a_map_and_its_upsampling_have_equal_curves(metric: Deletion) -> None:
    problem = toy_problem(net_score())
    cells = torch.rand(7, 7, generator=torch.Generator().manual_seed(2))
    own = Explanation(cells, problem.targets[0], problem.images[0], "m")
    finer = replace(own, saliency=upscale(cells.double(), (24, 32)))
    assert torch.allclose(downscale(upscale(cells.double(), (24, 32)), (7, 7)), cells.double(), atol=1e-9)
    one, other = metric(problem, [own])[0], metric(problem, [finer])[0]
    assert one.curve is not None and other.curve is not None
    assert np.allclose(one.curve, other.curve, atol=1e-9)
    with pytest.raises(ValueError):
        downscale(cells, (28, 28))
