"""The compiled part: one call advances all lanes of a cohort by many steps.

A step is Keras's own train step with every variable replaced by a tensor (`StatelessScope`), mapped over the lanes by
`over_lanes`; a loop over the steps stands around it, and XLA compiles the whole. Nothing in it knows a trial.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend import StatelessScope

from pipelines.training.batches import steps_in_epoch
from pipelines.training.feeding import Held
from pipelines.training.lanes.layout import Layout
from pipelines.training.lanes.lifting import each_lifted
from pipelines.training.lanes.mapping import over_lanes
from pipelines.training.lanes.mixing import Mixture
from pipelines.training.lanes.rule import Rule, chosen, first_bad
from pipelines.training.lanes.template import metrics_of
from pipelines.training.values import variables_of

Tensors = list[tf.Tensor]


class Program:
    """Trains and validates `width` lanes of one model.

    Tensors of all lanes have the lane as their first axis. `values` are those of the mixture, and `metrics` those of
    the model's metrics, both packed by a `Layout`; `settings` are what `settings_of` says of the lanes.
    """

    def __init__(
        self,
        mixture: Mixture,
        train: Held,
        validation: Held,
        *,
        width: int,
        batch_size: int,
        validation_batch: int,
        compiled: bool = True,
        rest_compiled: bool = True,
    ) -> None:
        """Takes what is trained, on what.

        Args:
            mixture: Models, built and compiled; they are not changed, and their values do not matter.
            train: What is learned from.
            validation: What is validated with.
            width: Lanes.
            batch_size: Samples in a step; the last may be smaller.
            validation_batch: The same of validation.
            compiled: Whether XLA compiles it, which is much faster for dense models and much slower for convolutions.
            rest_compiled: The same of the smaller last batch and the validation: a part of an epoch that takes as long
                to compile as all the rest.
        """
        self.width = width
        self.compiled = compiled
        self.whole = len(train) // batch_size
        self.steps = steps_in_epoch(len(train), batch_size)
        self._model = model = mixture.main.model
        self._lifts = mixture.lifts
        self._train_data, self._validation_data = train, validation
        self._batch, self._validation_batch = batch_size, validation_batch
        self._variables = variables_of(model)
        self._places = mixture.places[0]
        self._rules = [
            Rule(template, places) for template, places in zip(mixture.templates.values(), mixture.places, strict=True)
        ]
        self._metrics = metrics_of(model, train, batch_size)
        self._total = [id(one) for one in self._metrics].index(id(model._loss_tracker.total))
        model.reset_metrics()
        zeros = [variable.numpy() for variable in self._metrics]
        self._values, self._seen = Layout(mixture.first), Layout(zeros)
        self._zeros = [tf.convert_to_tensor(np.stack([row] * width)) for row in self._seen.rows(zeros)]
        self._trains = tf.function(self._train, jit_compile=compiled, autograph=False)
        self._tails = tf.function(self._tail, jit_compile=compiled and rest_compiled, autograph=False)
        self._validates = tf.function(self._validate, jit_compile=compiled and rest_compiled, autograph=False)
        self._results = tf.function(self._result, autograph=False)

    def fresh(self) -> Tensors:
        """The metrics at the beginning of an epoch."""
        return self._zeros

    def train(
        self, values: Tensors, metrics: Tensors, settings: Tensors, order: tf.Tensor, first: int, count: int
    ) -> tuple[Tensors, Tensors, tf.Tensor]:
        """Makes `count` steps from step `first` of an epoch on.

        Args:
            values: As they are before.
            metrics: The same.
            settings: Of each lane.
            order: Which samples come when, int32 (lanes, n).
            first: The step to begin with.
            count: How many, at most to the end of the epoch.

        Returns:
            Values and metrics after them, and by lane the first step after which the mean loss was not a finite number,
            or -1, int32 (lanes,).
        """
        data = self._train_data
        whole = max(0, min(count, self.whole - first))
        bad = tf.fill([self.width], -1)
        if whole:
            values, metrics, bad = self._trains(
                values, metrics, settings, order, data.x, data.y, data.weights, tf.constant(first), tf.constant(whole)
            )
        if first + count > self.whole:
            values, metrics, bad = self._tails(values, metrics, settings, order, data.x, data.y, data.weights, bad)
        return values, metrics, bad

    def validate(self, values: Tensors, settings: Tensors) -> Tensors:
        """The metrics of all lanes on the validation samples."""
        data = self._validation_data
        return list(self._validates(values, self._zeros, settings, data.x, data.y))

    def results(self, metrics: Tensors) -> dict[str, np.ndarray]:
        """What the metrics say, by name, (lanes,) each: the logs that Keras gives to callbacks."""
        return {name: value.numpy() for name, value in self._results(metrics).items()}

    def traces(self, values: Tensors, settings: Tensors, order: tf.Tensor) -> list[tf.Graph]:
        """The graphs of everything that trains and validates, traced and not compiled yet."""
        # what is mapped over the lanes by a loop is noted as a warning, of which nobody could make anything
        logger = tf.get_logger()
        level = logger.level
        logger.setLevel("ERROR")
        try:
            return self._traced(values, settings, order)
        finally:
            logger.setLevel(level)

    def _traced(self, values: Tensors, settings: Tensors, order: tf.Tensor) -> list[tf.Graph]:
        data, validation, none = self._train_data, self._validation_data, tf.constant(0)
        began = (values, self._zeros, settings, order, data.x, data.y, data.weights)
        found = []
        if self.whole:
            found.append(self._trains.get_concrete_function(*began, none, none).graph)
            if self.compiled:  # by XLA, without Python: what goes wrong in it goes wrong again in its use
                Thread(target=_quietly, args=(self._trains, *began, none, none)).start()  # Python's end waits for it
        if self.steps > self.whole:
            found.append(self._tails.get_concrete_function(*began, tf.fill([self.width], -1)).graph)
        checked = (values, self._zeros, settings, validation.x, validation.y)
        found.append(self._validates.get_concrete_function(*checked).graph)
        self._results.get_concrete_function(self._zeros)
        return found

    # what is traced

    def _train(
        self,
        values: Tensors,
        metrics: Tensors,
        settings: Tensors,
        order: tf.Tensor,
        x: tf.Tensor,
        y: tf.Tensor,
        weights: tf.Tensor | None,
        first: tf.Tensor,
        count: tf.Tensor,
    ) -> Any:
        def body(step: tf.Tensor, values: Tensors, metrics: Tensors, bad: tf.Tensor) -> Any:
            rows = tf.slice(order, [0, step * self._batch], [self.width, self._batch])
            values, metrics, finite = self._step(values, metrics, settings, rows, x, y, weights)
            return step + 1, values, metrics, first_bad(bad, finite, step)

        end = first + count
        none = tf.fill([self.width], -1)
        begin = (first, self._values.unpacked(values), self._seen.unpacked(metrics), none)
        _, values, metrics, bad = tf.while_loop(lambda step, *_: step < end, body, begin, parallel_iterations=1)
        return self._values.packed(values), self._seen.packed(metrics), bad

    def _tail(
        self,
        values: Tensors,
        metrics: Tensors,
        settings: Tensors,
        order: tf.Tensor,
        x: tf.Tensor,
        y: tf.Tensor,
        weights: tf.Tensor | None,
        bad: tf.Tensor,
    ) -> Any:
        rows = order[:, self.whole * self._batch :]
        values, metrics = self._values.unpacked(values), self._seen.unpacked(metrics)
        values, metrics, finite = self._step(values, metrics, settings, rows, x, y, weights)
        bad = first_bad(bad, finite, tf.constant(self.whole))
        return self._values.packed(values), self._seen.packed(metrics), bad

    def _step(
        self,
        values: Tensors,
        metrics: Tensors,
        settings: Tensors,
        rows: tf.Tensor,
        x: tf.Tensor,
        y: tf.Tensor,
        weights: tf.Tensor | None,
    ) -> tuple[Tensors, Tensors, tf.Tensor]:
        batch = [tf.gather(x, rows), tf.gather(y, rows)]
        if weights is not None:
            batch.append(tf.gather(weights, rows))
        after, changed, seen, finite = over_lanes(self._one_step, values, metrics, settings[:-1], batch)
        return chosen(self._rules, after, changed, settings[-1]), seen, finite

    def _validate(self, values: Tensors, metrics: Tensors, settings: Tensors, x: tf.Tensor, y: tf.Tensor) -> Tensors:
        size, count = self._validation_batch, int(x.shape[0])
        whole = count // size
        values, metrics = self._values.unpacked(values), self._seen.unpacked(metrics)

        def body(step: tf.Tensor, metrics: Tensors) -> Any:
            at = step * size
            return step + 1, self._checks(values, metrics, settings, x[at : at + size], y[at : at + size], size)

        if whole == 1:
            _, metrics = body(tf.constant(0), metrics)
        elif whole:
            _, metrics = tf.while_loop(lambda step, _: step < whole, body, (tf.constant(0), metrics))
        if count % size:
            rest = whole * size
            metrics = self._checks(values, metrics, settings, x[rest:], y[rest:], count - rest)
        return self._seen.packed(metrics)

    def _checks(
        self, values: Tensors, metrics: Tensors, settings: Tensors, x: tf.Tensor, y: tf.Tensor, size: int
    ) -> Tensors:
        x = tf.ensure_shape(tf.cast(x, tf.float32), (size, *x.shape[1:]))
        y = tf.ensure_shape(y, (size, *y.shape[1:]))
        found: Tensors = over_lanes(partial(self._one_check, x=x, y=y), values, metrics, settings[:-1])
        return found

    def _result(self, metrics: Tensors) -> dict[str, tf.Tensor]:
        def one(metrics: Tensors) -> dict[str, tf.Tensor]:
            with StatelessScope(state_mapping=list(zip(self._metrics, metrics, strict=True))):
                found = self._model.get_metrics_result()
            return {name: tf.cast(value, keras.config.floatx()) for name, value in found.items()}

        said: dict[str, tf.Tensor] = over_lanes(one, self._seen.unpacked(metrics))
        return said

    # one lane

    def _one_step(self, values: Tensors, metrics: Tensors, settings: Tensors, batch: Tensors) -> Any:
        model, first = self._model, self._rules[0]
        optimizer = first.optimizer
        x, y, *rest = batch
        x, weights = tf.cast(x, tf.float32), rest[0] if rest else None
        trained = [values[place] for place in first.trained]
        of_optimizer = [values[place] for place in first.optimized]
        own = each_lifted(self._lifts, settings)
        with first.lifted(own):
            with (
                tf.GradientTape() as tape,
                StatelessScope(state_mapping=[*self._mapping(values, metrics)], collect_losses=True) as scope,
            ):
                tape.watch(trained)
                predicted = model(x, training=True)
                loss = model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weights, training=True)
                model._loss_tracker.update_state(loss, sample_weight=x.shape[0])
                with StatelessScope(state_mapping=list(zip(optimizer.variables, of_optimizer, strict=True))):
                    scaled = optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, trained)
            after = list(values)
            for variable, place in zip(self._variables, self._places, strict=True):
                after[place] = tf.cast(scope.get_current_value(variable), values[place].dtype)
            seen = [*map(scope.get_current_value, self._metrics)]
            with StatelessScope(state_mapping=list(zip(self._metrics, seen, strict=True))) as scope:
                model.compute_metrics(x, y, predicted, sample_weight=weights)
            seen = [*map(scope.get_current_value, self._metrics)]
        changed = [rule.applied(values, gradients, own) for rule in self._rules]
        return after, changed, seen, tf.math.is_finite(seen[self._total])

    def _one_check(self, values: Tensors, metrics: Tensors, settings: Tensors, x: tf.Tensor, y: tf.Tensor) -> Tensors:
        model = self._model
        with (
            self._rules[0].lifted(each_lifted(self._lifts, settings)),
            StatelessScope(state_mapping=[*self._mapping(values, metrics)], collect_losses=True) as scope,
        ):
            predicted = model(x, training=False)
            loss = model._compute_loss(x=x, y=y, y_pred=predicted, sample_weight=None, training=False)
            model._loss_tracker.update_state(loss, sample_weight=x.shape[0])
            model.compute_metrics(x, y, predicted, sample_weight=None)
        return [*map(scope.get_current_value, self._metrics)]

    def _mapping(self, values: Tensors, metrics: Tensors) -> Any:
        yield from ((variable, values[place]) for variable, place in zip(self._variables, self._places, strict=True))
        yield from zip(self._metrics, metrics, strict=True)


def _quietly(act: Callable[..., object], *given: Any) -> None:
    with suppress(Exception):
        act(*given)
