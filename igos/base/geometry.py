"""How source pixels became network pixels, and boxes and maps brought from one to the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """How source pixels became network pixels: x_network = x_source * scale + offset, per axis.

    `source` and `network` are (height, width); `scale` and `offset` are (y, x). A positive offset is
    padding (letterbox), a negative one a crop.

    >>> half = igos.Geometry(source=(200, 100), network=(100, 50), scale=(0.5, 0.5))
    >>> half.to_network(torch.tensor([10.0, 20.0, 30.0, 40.0]))
    tensor([ 5., 10., 15., 20.])
    """

    source: tuple[int, int]
    network: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def to_network(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) xyxy, source pixels -> network pixels."""
        (sy, sx), (oy, ox) = self.scale, self.offset
        boxes = boxes.to(torch.get_default_dtype()) if not boxes.is_floating_point() else boxes
        return boxes * boxes.new_tensor([sx, sy, sx, sy]) + boxes.new_tensor([ox, oy, ox, oy])

    def to_source(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) xyxy, network pixels -> source pixels, clipped to the picture."""
        (sy, sx), (oy, ox) = self.scale, self.offset
        out = (boxes - boxes.new_tensor([ox, oy, ox, oy])) / boxes.new_tensor([sx, sy, sx, sy])
        height, width = self.source
        return torch.minimum(out.clamp(min=0), out.new_tensor([width, height, width, height]))

    def map_to_source(self, saliency: Tensor) -> Tensor:
        """A map (h, w) on the mask grid -> (H0, W0) on source pixels; 0 where the network saw nothing.

        The grid's corner nodes lie on the centres of the network picture's corner pixels
        (the align_corners upsampling that the masks use).
        """
        axes = []
        for n, n0, size, scale, offset in zip(
            saliency.shape, self.source, self.network, self.scale, self.offset, strict=True
        ):
            pixel = (torch.arange(n0, dtype=torch.float64) + 0.5) * scale + offset - 0.5
            node = 2 * pixel.clamp(0, size - 1) / max(size - 1, 1) - 1
            axes.append((node if n > 1 else node * 0, (pixel >= -0.5) & (pixel <= size - 0.5)))
        (y, in_y), (x, in_x) = axes
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None].to(saliency)
        out = F.grid_sample(saliency[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[
            0, 0
        ]
        return out * (in_y[:, None] & in_x[None, :]).to(out)
