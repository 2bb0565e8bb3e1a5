"""What the optimizers of a program make of the gradients, and which lane takes what of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import tensorflow as tf

from pipelines.training.lanes.lifting import Lifted, lifted
from pipelines.training.lanes.optimizing import on_tensors
from pipelines.training.lanes.template import Template
from pipelines.training.values import variables_of

Tensors = list[tf.Tensor]


class Rule:
    """What one optimizer makes of gradients.

    Attributes:
        optimizer: It works on tensors.
        trained: The places of the weights that are trained.
        optimized: The places of the optimizer's own values.
        places: Of all that it changes.
    """

    def __init__(self, template: Template, places: Sequence[int]) -> None:
        """Takes the model with the optimizer, and the places of its values."""
        self._model, self._lifts = template.model, template.lifts
        self.optimizer = on_tensors(self._model.optimizer, self._model.trainable_variables)
        place = {id(variable): at for variable, at in zip(variables_of(self._model), places, strict=True)}
        self.trained = [place[id(variable)] for variable in self._model.trainable_variables]
        self.optimized = [place[id(variable)] for variable in self._model.optimizer.variables]
        self.places = [*self.trained, *self.optimized]

    def lifted(self, own: Mapping[str, Lifted]) -> AbstractContextManager[None]:
        """Has its model and its optimizer compute with a lane's settings."""
        return lifted(self._model, self.optimizer, {name: own[name] for name in self._lifts})

    def applied(self, values: Tensors, gradients: Tensors, own: Mapping[str, Lifted]) -> Tensors:
        """What comes to be at its places."""
        trained, optimized = [[values[place] for place in some] for some in (self.trained, self.optimized)]
        with self.lifted(own):
            trained, optimized = self.optimizer.stateless_apply(optimized, gradients, trained)
        changed = [*trained, *optimized]
        return [tf.cast(new, values[place].dtype) for new, place in zip(changed, self.places, strict=True)]


def chosen(rules: Sequence[Rule], values: Tensors, changed: Sequence[Tensors], kinds: tf.Tensor) -> Tensors:
    """The values of all lanes after a step, where each lane takes what its own rule has made of them.

    Args:
        rules: All of a program.
        values: As they are without, (lanes, ...) each.
        changed: What each rule has made of what is at its places.
        kinds: By lane, the number of its rule, int32 (lanes,).
    """
    after = list(values)
    for number, (rule, made) in enumerate(zip(rules, changed, strict=True)):
        for place, value in zip(rule.places, made, strict=True):
            # every rule changes the weights, so there the first needs no choice
            if number or (len(rules) > 1 and place not in rule.trained):
                own = tf.reshape(kinds == number, [-1] + [1] * (len(value.shape) - 1))
                value = tf.where(own, value, after[place])
            after[place] = value
    return after


def first_bad(bad: tf.Tensor, finite: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """By lane, the first step after which its loss was not finite, or -1, with what this step has shown."""
    return tf.where((bad < 0) & ~finite, tf.fill(tf.shape(bad), step), bad)
