"""INGREDIENTS: what some methods need beside the pictures and the score, and where it comes from.

A method names them in its class attribute `ingredients`; it finds them under the same names in Problem.ingredients.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from igos.data.references import source
from igos.methods.backward import pattern_files
from igos.methods.bottleneck.estimation import statistics_for
from igos.types import Adapter, Image, Statistics

OfImage = Callable[[Image], Any]  # what a picture's explanations get


class Ingredient(NamedTuple):
    """load(method, adapter, given, data) -> what each picture gets; given: what the user named for it, or None; data:
    the run's pictures. flag: the user's word for it; text: what it is; use: what a method without it does not do;
    share: methods with one answer share what is loaded; by_picture: whether pictures get different ones.
    """

    flag: str
    text: str
    use: str
    load: Callable[[Any, Adapter, Any, Sequence[str]], OfImage]
    share: Callable[[Any], Hashable] = lambda method: None
    by_picture: bool = False


def _references(method: Any, adapter: Adapter, given: Any, data: Sequence[str]) -> OfImage:
    """(R,3,H,W) in [0,1]: given, from the folder named, else from the data or generated."""
    if isinstance(given, Tensor):
        return lambda _: given
    return source(adapter, given, data)[0]


def _patterns(method: Any, adapter: Adapter, given: Any, data: Sequence[str]) -> OfImage:
    """By layer: given, from the file named, else those that go with the model."""
    patterns = given if isinstance(given, Mapping) else pattern_files.load(adapter, given)
    return lambda _: patterns


def _statistics(method: Any, adapter: Adapter, given: Any, data: Sequence[str]) -> OfImage:
    """Of the method's layer: given, from the file named, else those that ship with the model."""
    statistics = given if isinstance(given, Statistics) else statistics_for(adapter, given, method.layer)
    return lambda _: statistics


INGREDIENTS = {
    "references": Ingredient(
        "references", "reference pictures", "compares with other pictures; exp_grad and gradient_shap do", _references,
        by_picture=True,
    ),
    "patterns": Ingredient(
        "patterns", "patterns", "goes back through patterns; the pattern_* methods do", _patterns
    ),
    "statistics": Ingredient(
        "stats", "statistics of a layer", "needs statistics of a layer; iba and input_iba do", _statistics,
        share=lambda method: method.layer,
    ),
}  # fmt: skip


def ingredients_of(method: Any) -> tuple[str, ...]:
    """The names of what a method, or any callable in its place, needs."""
    return tuple(getattr(method, "ingredients", ()))


def by_picture(method: Any) -> bool:
    """Whether the method gets something else for each picture."""
    return any(INGREDIENTS[name].by_picture for name in ingredients_of(method))


def load_ingredients(
    methods: Sequence[Any], adapter: Adapter, given: Mapping[str, Any], data: Sequence[str] = ()
) -> list[dict[str, OfImage]]:
    """What each of the methods needs, and no more. given: by flag, what the user named; what methods share is loaded
    once.

    Raises ConfigError or WeightsError where something needed is not there or does not fit the model.
    """
    loaded: dict[Hashable, OfImage] = {}
    answers = []
    for method in methods:
        for name in ingredients_of(method):
            one = INGREDIENTS[name]
            key = name, one.share(method)
            if key not in loaded:
                loaded[key] = one.load(method, adapter, given.get(one.flag), data)
        answers.append({name: loaded[name, INGREDIENTS[name].share(method)] for name in ingredients_of(method)})
    return answers
