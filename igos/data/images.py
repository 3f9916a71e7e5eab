"""Pictures read one after the other; those that cannot be read are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from igos.types import Adapter, Image, ImageError


class Images:
    """Pictures (paths, or whatever the adapter reads) one after the other; those that cannot be read are left out.

    progress: a bar, None on a terminal only. read counts them, unreadable holds why the others were left out. Raises
    the last reason where none can be read.
    """

    def __init__(self, adapter: Adapter, pictures: Sequence[Any], progress: bool | None = None) -> None:
        self.adapter, self.pictures, self.progress = adapter, pictures, progress
        self.read, self.unreadable = 0, list[ImageError]()

    def __iter__(self) -> Iterator[Image]:
        hidden = None if self.progress is None else not self.progress
        for picture in tqdm(self.pictures, unit="picture", disable=hidden, leave=False):
            try:
                image = self.adapter.read(picture)
            except ImageError as error:
                self.unreadable.append(error)
                continue
            self.read += 1
            yield image
        if self.unreadable and not self.read:
            raise self.unreadable[-1]
