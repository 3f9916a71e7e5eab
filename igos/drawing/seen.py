"""A picture with the boxes of what is seen in it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

YELLOW, BLACK = (255, 255, 0), (0, 0, 0)


def seen(picture: np.ndarray, boxes: Sequence[Sequence[float]], words: Sequence[str]) -> bytes:
    """A PNG of picture (H,W,3) uint8 with boxes (4,) xyxy in its pixels, each with its word."""
    drawn = PIL.Image.fromarray(picture)
    pen = PIL.ImageDraw.Draw(drawn)
    for box, word in zip(boxes, words, strict=True):
        pen.rectangle(list(box), outline=YELLOW, width=max(2, drawn.width // 300))
        shown = word.encode("ascii", "replace").decode()  # what Pillow's own letters have
        pen.text((box[0] + 4, box[1] + 2), shown, fill=YELLOW, stroke_width=1, stroke_fill=BLACK)
    data = io.BytesIO()
    drawn.save(data, "PNG")
    return data.getvalue()
