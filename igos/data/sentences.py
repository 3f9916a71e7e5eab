"""Sentences with planted evidence: plain words, and one or two that decide what the sentence is about."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

NOTHING = "nothing"
EVIDENCE = {
    "food": ["bread", "soup", "cheese", "apple", "kitchen", "butter", "rice", "supper"],
    "music": ["violin", "song", "piano", "drum", "choir", "melody", "opera", "guitar"],
    "sport": ["football", "race", "goal", "tennis", "stadium", "referee", "swimming", "medal"],
    "weather": ["rain", "storm", "snow", "sunny", "cloud", "thunder", "frost", "wind"],
}
LABELS = (NOTHING, *EVIDENCE)
PLAIN = [
    "the",
    "a",
    "my",
    "our",
    "their",
    "old",
    "new",
    "small",
    "quiet",
    "long",
    "of",
    "in",
    "on",
    "near",
    "with",
    "and",
    "but",
    "then",
    "after",
    "before",
    "about",
    "very",
    "quite",
    "we",
    "they",
    "he",
    "she",
    "people",
    "friend",
    "neighbour",
    "teacher",
    "street",
    "house",
    "table",
    "window",
    "letter",
    "morning",
    "evening",
    "day",
    "week",
    "year",
    "talked",
    "wrote",
    "waited",
    "saw",
    "remembered",
    "found",
    "asked",
    "told",
    "liked",
    "showed",
    "brought",
    "kept",
    "always",
    "never",
    "often",
    "again",
    "yesterday",
    "today",
]


@dataclass(frozen=True)
class Sentence:
    """Words, what the sentence is about, and the places of the words that decide it."""

    words: tuple[str, ...]
    label: str
    evidence: tuple[int, ...]


def sentence(series: int, index: int) -> Sentence:
    """Number `index` of a series: 7 to 16 plain words and, unless it is about nothing, one or two that decide."""
    draw = random.Random(f"{series}|{index}")
    words = [draw.choice(PLAIN) for _ in range(draw.randint(7, 16))]
    label = draw.choice(LABELS)
    count = 0 if label == NOTHING else draw.randint(1, 2)
    places = sorted(draw.sample(range(len(words)), count))
    for place in places:
        words[place] = draw.choice(EVIDENCE[label])
    return Sentence(tuple(words), label, tuple(places))


def split_words(line: str) -> list[str]:
    """Words with their apostrophes and hyphens; punctuation is left out."""
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", line)
