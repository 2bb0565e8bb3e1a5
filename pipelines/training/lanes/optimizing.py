"""Keras's optimizers, working on tensors instead of variables.

On TensorFlow, Keras refuses `stateless_apply`, as `tf.distribute` could not work with it. Nothing else stands against
it: the rules themselves are written for any backend. So a class is made of each optimizer whose helpers are those of
Keras's base class. They are private names, and the parity tests tell when one moves (Keras 3.15).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops
from keras.src import ops as keras_ops
from keras.src.optimizers.base_optimizer import BaseOptimizer
from keras.src.optimizers.loss_scale_optimizer import LossScaleOptimizer


class _OnTensors(keras.optimizers.Optimizer):  # type: ignore[misc]
    """What Keras's TensorFlow optimizer does by `tf.distribute`, done plainly; stands between a rule and its base."""

    stateless_apply = BaseOptimizer.stateless_apply
    assign = BaseOptimizer.assign
    assign_add = BaseOptimizer.assign_add
    assign_sub = BaseOptimizer.assign_sub
    _var_key = BaseOptimizer._var_key
    _apply_weight_decay = BaseOptimizer._apply_weight_decay
    _backend_update_step = BaseOptimizer._backend_update_step
    _clip_by_norm = BaseOptimizer._clip_by_norm

    def _get_current_learning_rate(self) -> Any:
        """The rate; where a schedule moves it, lanes at different steps are in different branches of it."""
        with _both_branches():
            return BaseOptimizer._get_current_learning_rate(self)

    def _backend_apply_gradients(self, grads: list[Any], trainable_variables: list[Any]) -> None:
        """The update itself. Where it is made every few steps only, lanes at different steps take what is theirs."""
        if self.gradient_accumulation_steps:
            self._accumulate(grads, trainable_variables)
        else:
            self._update(grads, trainable_variables)
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)
            if self.ema_overwrite_frequency:
                due = (self.iterations + 1) % self.ema_overwrite_frequency == 0
                for variable, mean in zip(self._trainable_variables, self._model_variables_moving_average, strict=True):
                    if mean is not None:
                        variable.assign(ops.where(due, mean.value, variable.value))

    def _update(self, grads: list[Any], variables: list[Any]) -> None:
        clipped = self._clip_gradients(grads)
        self._apply_weight_decay(variables)
        self._backend_update_step(clipped, variables, self.learning_rate)

    def _accumulate(self, grads: list[Any], variables: list[Any]) -> None:
        steps = self.gradient_accumulation_steps
        due = (self._iterations + 1) % steps == 0
        sums = [self._accumulated_gradients[self._get_variable_index(variable)] for variable in variables]
        counted = {id(one) for one in (self._iterations, *sums)}
        touched = [*variables, *(one for one in self.variables if id(one) not in counted)]
        before = [one.value for one in touched]
        added = [grad + total.value for grad, total in zip(grads, sums, strict=True)]
        self._update([total / steps for total in added], variables)
        for one, value in zip(touched, before, strict=True):
            one.assign(ops.where(due, one.value, value))
        for total, value in zip(sums, added, strict=True):
            total.assign(ops.where(due, ops.zeros_like(value), value))


@contextmanager
def _both_branches() -> Iterator[None]:
    """Has Keras's `cond` compute both branches and choose; XLA compiles no branch that is mapped over lanes."""

    def chosen(which: Any, true: Callable[[], Any], false: Callable[[], Any]) -> Any:
        return keras.tree.map_structure(lambda one, other: ops.where(which, one, other), true(), false())

    before = keras_ops.cond
    keras_ops.cond = chosen
    try:
        yield
    finally:
        keras_ops.cond = before


class _LossScaleOnTensors(LossScaleOptimizer):  # type: ignore[misc]
    """The same of mixed precision: a lane whose gradients are not finite makes no step, whatever others do."""

    def stateless_apply(self, *args: Any) -> Any:
        """See Keras's."""
        with _both_branches():
            return super().stateless_apply(*args)


def on_tensors(optimizer: Any, variables: list[Any]) -> Any:
    """An optimizer with the same settings that can `stateless_apply`, built for these variables."""
    if isinstance(optimizer, LossScaleOptimizer):
        made = _LossScaleOnTensors.from_config(optimizer.get_config())
        object.__setattr__(made, "inner_optimizer", _made(optimizer.inner_optimizer))
    else:
        made = _made(optimizer)
    made.build(variables)
    return made


def _made(optimizer: Any) -> Any:
    rule = type(optimizer)
    made: Any = type(f"{rule.__name__}OnTensors", (rule, _OnTensors), {})
    return made.from_config(optimizer.get_config())
