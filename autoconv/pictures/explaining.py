"""Explains a number of a net: how it was computed, which pixels it depends on, and how it changes the answer."""

import heapq
import itertools
import re

from ..arguments import names
from ..models import Model
from .computation import Computation, Element, Place
from .derivations import AXES, derive, name_axes, name_range
from .reading import ImageLike
from .receptive import find_pixels

BRANCHES = 60  # number of numbers on a page that are not on the path of the largest contributions


class Explanation:
    """An explanation of one number that a net computed for an image, see `pictures.explain`; print() shows it.

    name, value: the number's name, such as conv2d_1:5,7,3, and the net's number. exact: the number in float64, or None
    if its op is not taken apart. steps: the ops that computed it, the last first, up to an op that read several
    numbers. inputs, weights, products (n,), bias: the sum of this op. receptive_field: the rectangle of pixels that the
    number depends on, or None. gradient: the change of the answer's
    score per change of the number, or None.
    """

    def __init__(self, computation: Computation, number: Element) -> None:
        self.computation = computation
        self.steps = [derive(number.result, number.place)]
        while (source := self.steps[-1].follows) is not None:
            self.steps.append(derive(source.result, source.place))
        self.number = number
        self.name = number.label
        self.value = number.value
        self.exact = self.steps[0].exact
        self.inputs, self.weights, self.products = map(self.steps[-1].join, ("values", "weights", "products"))
        self.bias = self.steps[-1].bias
        self.receptive_field = find_pixels(computation, number.result, tuple((i, i) for i in number.place))
        gradient = number.result.gradient
        self.gradient = None if gradient is None else float(gradient[number.place])

    def __str__(self) -> str:
        return self.text()

    def text(self, all_products: bool = False) -> str:
        """Returns the explanation as text, with the largest products of a sum, or all of them."""
        lines = []
        for step in self.steps:
            lines += [f"{step.number.label} = {step.number.value:.6g}", f"    {step.describe()}"]
        numbers = step.numbers()
        shown = range(len(numbers)) if all_products else step.largest()
        wide = max((len(numbers[i].label) for i in shown), default=0)
        for each in (numbers[i] for i in shown):
            product = f" x {each.weight:>12.6g} = {each.product:>12.6g}" * step.is_sum
            lines.append(f"      {each.label:<{wide}}  {each.value:>12.6g}{product}")
        if step.is_sum:
            lines += [f"      {name:<{wide + 29}} = {value:>12.6g}" for name, value in step.rest(shown)]
        return "\n".join([*lines, *self.sentences(), *self.compare_prediction()])

    def html(self, title: str = "", facts: dict[str, str] | None = None, all_products: bool = False) -> str:
        """Returns a page about the number and about the numbers before it that contributed most, back to the pixels.
        facts: names and values that are shown below the title.
        """
        from . import explanation_page  # imported here because it is slow

        return explanation_page.page(self, collect(self), title or f"How the net computed {self.name}", facts or {},
                                     all_products)

    def sentences(self) -> list[str]:
        """Returns sentences about the number's accuracy, its pixels, and its effect on the answer."""
        said = [step.difference() for step in self.steps if step.exact not in (None, step.number.value)]
        if self.receptive_field is not None:
            height, width = self.computation.picture.array.shape[1:3]
            top, bottom, left, right = self.receptive_field
            spans = (top, bottom - 1), (left, right - 1)
            said.append(f"Receptive field: {' and '.join(map(name_range, AXES[3], spans))} of the picture, which has "
                        f"{height} rows and {width} columns.")
        answer = self.computation.answer
        score = "the number before its softmax or sigmoid" * self.computation.has_probabilities or "this number"
        if self.number.key == answer.key:
            said.append("This is the net's answer, the largest number of the last layer.")
        elif self.gradient is None and self.number.result.is_output:
            said.append(f"The net's answer {answer.label} has no gradient with respect to {self.name}.")
        elif self.gradient is not None:
            said.append(f"The net's answer is {answer.label} = {answer.value:.6g}. The gradient of {score} with "
                        f"respect to {self.name} is {self.gradient:.6g}.")
        return said

    def compare_prediction(self) -> list[str]:
        """Returns [a sentence that compares the number with that of a prediction, which fuses layers], or []."""
        predicted = self.computation.predict(self.number.result)
        if predicted is None:
            return []
        value = float(predicted[self.number.place])
        return [f"A prediction, which fuses layers, computes {value:.9g} for {self.name}, a difference of "
                f"{abs(value - self.value):.2g}."]


def collect(start: Explanation) -> dict[tuple[int, Place], Explanation]:
    """Returns explanations by the keys of their numbers: the start, the largest contribution to it, the largest
    contribution to that number and so on back to the pixels, then `BRANCHES` other numbers with the largest shares.
    """
    found: dict[tuple[int, Place], Explanation] = {}
    queue: list[tuple[float, int, Element]] = []  # minus the share of the start, a serial number, the number
    serials = itertools.count()

    def add(explanation: Explanation, share: float) -> tuple[float, Element] | None:
        """Adds an explanation. Returns the largest contribution to it, with its share; None if that is a pixel."""
        found[explanation.number.key] = explanation
        largest = None
        for step in explanation.steps:
            numbers = step.numbers()
            shares = step.shares()
            items = [(share * float(shares[i]), numbers[i]) for i in step.largest()]
            items = [item for item in items if item[1].result.op != "picture"]
            for part, number in items:
                heapq.heappush(queue, (-part, next(serials), number))
            largest = items[0] if items else None
        return largest

    following = add(start, 1.0)
    while following is not None:
        share, number = following
        following = add(Explanation(start.computation, number), share)
    limit = len(found) + BRANCHES
    while queue and len(found) < limit:
        part, _, number = heapq.heappop(queue)
        if number.key not in found:
            add(Explanation(start.computation, number), -part)
    return found


def explain(model: Model, image: ImageLike, at: str | None = None) -> Explanation:
    """Explains a number that a model computes for an image: the window, the weights and their products, the pixels
    that the number depends on, and its effect on the answer.

    at: LAYER:ROW,COLUMN,CHANNEL or LAYER:NUMBER, such as "conv2d_1:5,7,3"; by default the answer, the largest number of
    the last layer. image: an array or a file, see `activations`. Raises ValueError for an unknown layer or place.
    """
    computation = Computation(model, image)
    if at is None:
        return Explanation(computation, computation.answer)
    layer, _, numbers = at.rpartition(":")
    if not layer or not re.fullmatch(r" *\d{1,9} *(, *\d{1,9} *)*", numbers):
        raise ValueError("The number must be given as LAYER:ROW,COLUMN,CHANNEL, or as LAYER:NUMBER for a layer with "
                         f"one axis. Received: {at!r}. Layers: {', '.join(computation.layers)}.")
    result = names.lookup("layer", layer, computation.layers)
    shape = result.array.shape[1:]
    place = tuple(int(n) for n in numbers.split(","))
    if len(place) != len(shape) or not all(i < n for i, n in zip(place, shape)):
        valid = ", ".join(f"{axis} 0..{n - 1}" for axis, n in zip(name_axes(len(shape)), shape))
        raise ValueError(f"The place must exist in the output of {layer}, whose shape is {shape}: {valid}. "
                         f"Received: {at!r}.")
    return Explanation(computation, Element(result, (0, *place)))
