"""The statistics of a layer of each bundled network, on scenes that no other figure uses; for iba and input_iba.

    python weights/estimate.py           # a few minutes on one CPU core; writes weights/statistics/ and SHA256SUMS

The layer cuts the network for every target: of an R-CNN the first stage (from which every level of the pyramid follows),
of the others where about half of the network's strides are done.
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import igos
from igos.data.emblems import scene
from igos.methods.bottleneck.estimation import estimate
from igos.methods.bottleneck.statistics import write_statistics
from weights.measure import write_sums

SERIES = 5  # of igos.data.emblems; 0 is for training, 1 to 4 for figures, samples and presets
LAYERS = {
    "emblem-m-rcnn": "backbone.body.layer1",
    "emblem-f-rcnn": "backbone.body.layer1",
    "emblem-yolov3spp": "module_list.12",
    "emblem-vgg": "features.11",  # the first convolution after the third pooling, as features.17 of VGG16
    "emblem-resnet": "layer2",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    flags = parser.parse_args()
    for name in flags.models:
        adapter = igos.load(name)
        single = adapter.default_target == "top1"
        pictures = [scene(SERIES, i, 96 if single else 160, single).picture() for i in range(flags.scenes)]
        made = estimate(adapter, LAYERS[name], pictures)
        write_statistics(flags.out / "statistics" / f"{name}.safetensors", made)
        print(f"{name} {made.layer}: {tuple(made.mean.shape)} per {made.per}, {made.n} pictures", flush=True)
    write_sums(flags.out)


if __name__ == "__main__":
    main()
