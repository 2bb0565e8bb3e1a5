"""What the two trainers are compared on, in tables: a case's name, and what is special about its training.

Cases that differ in nothing but numbers share a program, so a table names two or more of a kind.
"""

from __future__ import annotations

from typing import Any

Cases = dict[str, dict[str, Any]]


def telling(cases: Cases) -> list[str]:
    """Of each kind all but the first, whose settings a program is made with: others have to have theirs."""
    return [name for name in cases if not name.endswith(", 0")]


def optimizers(name: str, common: dict[str, Any], *own: dict[str, Any]) -> Cases:
    """Cases of one kind that differ in the optimizer. Kinds that look at matrices as a whole get two of them."""
    kind = common["name"]
    model = {} if kind in ("muon", "adafactor", "lamb") or "global_clipnorm" in common else LINE
    return {
        f"{name}, {place}": {**model, "optimizer": {**common, **one}, "seed": place} for place, one in enumerate(own)
    }


OWN = "tests.pipelines.training.lanes.own_parts"
LINE = {"model": {"name": "linear"}}
"""The least of models, for what does not depend on any."""
FAST, SLOW = {"learning_rate": 0.03}, {"learning_rate": 0.003}
USUAL = {"beta_1": 0.9, "beta_2": 0.999}
BETAS = ({"beta_1": 0.8, "beta_2": 0.99, **FAST}, {"beta_1": 0.95, "beta_2": 0.9, "epsilon": 1e-3, **SLOW})
MUON = {"name": "muon", "adam_beta_1": 0.9, "adam_beta_2": 0.99}

OPTIMIZERS: Cases = {
    **optimizers("sgd", {"name": "sgd"}, {"learning_rate": 0.3}, {"learning_rate": 0.03}),
    **optimizers("sgd with momentum", {"name": "sgd"}, {"momentum": 0.9}, {"momentum": 0.5, "learning_rate": 0.1}),
    **optimizers(
        "sgd, Nesterov, clipped values",
        {"name": "sgd", "nesterov": True, "clipvalue": 0.02},
        {"momentum": 0.9, "learning_rate": 0.1},
        {"momentum": 0.3, "learning_rate": 0.3},
    ),
    **optimizers(
        "sgd, gathered, mean of weights, clipped, decay",
        {
            "name": "sgd",
            "use_ema": True,
            "ema_overwrite_frequency": 5,
            "gradient_accumulation_steps": 2,
            "clipnorm": 0.1,
        },
        {"momentum": 0.9, "weight_decay": 0.01, "learning_rate": 0.1, "ema_momentum": 0.8},
        {"momentum": 0.6, "weight_decay": 0.1, "learning_rate": 0.03, "ema_momentum": 0.3},
    ),
    **optimizers("adagrad", {"name": "adagrad"}, {"learning_rate": 0.1}, {"epsilon": 1e-2, **FAST}),
    **optimizers("adadelta", {"name": "adadelta", "learning_rate": 1.0}, {"rho": 0.95}, {"rho": 0.8, "epsilon": 1e-3}),
    **optimizers("rmsprop", {"name": "rmsprop"}, {"rho": 0.9, **SLOW}, {"rho": 0.5, **FAST}),
    **optimizers(
        "rmsprop, centred, with momentum",
        {"name": "rmsprop", "centered": True},
        {"momentum": 0.9, **SLOW},
        {"momentum": 0.4, "epsilon": 1e-4, **FAST},
    ),
    **optimizers("adam", {"name": "adam"}, *BETAS),
    **optimizers(
        "adam, amsgrad, decay, clipped norms",
        {"name": "adam", "amsgrad": True, "clipnorm": 0.05, **USUAL},
        {"weight_decay": 0.01, **FAST},
        {"weight_decay": 0.1, **SLOW},
    ),
    **optimizers(
        "adam, mean of weights put in",
        {"name": "adam", "use_ema": True, "ema_overwrite_frequency": 4, **USUAL},
        {"ema_momentum": 0.9, **FAST},
        {"ema_momentum": 0.5, **SLOW},
    ),
    **optimizers("adamw", {"name": "adamw", **USUAL}, {"weight_decay": 0.1, **FAST}, {"weight_decay": 0.01, **SLOW}),
    **optimizers("adamax", {"name": "adamax"}, *BETAS),
    **optimizers("nadam, clipped all together", {"name": "nadam", "global_clipnorm": 0.1}, *BETAS),
    **optimizers("ftrl", {"name": "ftrl"}, {"learning_rate": 0.1}, FAST),
    **optimizers(
        "ftrl, all pulls",
        {
            "name": "ftrl",
            "l1_regularization_strength": 1e-3,
            "l2_regularization_strength": 1e-2,
            "l2_shrinkage_regularization_strength": 1e-3,
            "beta": 0.1,
            "learning_rate_power": -0.4,
        },
        {"learning_rate": 0.1},
        FAST,
    ),
    **optimizers(
        "lion",
        {"name": "lion"},
        {"beta_1": 0.8, "beta_2": 0.9, **SLOW},
        {"beta_1": 0.95, "beta_2": 0.99, "learning_rate": 0.01},
    ),
    **optimizers("adafactor", {"name": "adafactor"}, {"learning_rate": 0.1}, FAST),
    **optimizers(
        "adafactor, steps as given",
        {"name": "adafactor", "relative_step": False, "clip_threshold": 0.5, "beta_2_decay": -0.6},
        {"learning_rate": 0.1, "weight_decay": 0.01},
        {"learning_rate": 0.03, "weight_decay": 0.1},
    ),
    **optimizers("lamb", {"name": "lamb"}, *BETAS),
    **optimizers(
        "muon",
        MUON,
        {"momentum": 0.95, "weight_decay": 0.01, **FAST},
        {"momentum": 0.7, "weight_decay": 0.1, **SLOW},
    ),
    **optimizers(
        "muon, head left out",
        {
            **MUON,
            "exclude_layers": ["prob"],
            "nesterov": False,
            "rms_rate": None,
            "adam_lr_ratio": 0.3,
            "weight_decay": 0.0,
        },
        {"momentum": 0.9, "learning_rate": 0.01},
        {"momentum": 0.5, **SLOW},
    ),
}


def schedule(name: str, **settings: Any) -> Cases:
    """A case of one schedule; behind a comma stands what is special about it."""
    rate = {"name": name.partition(",")[0], **settings}
    return {name: {"optimizer": {"name": "sgd", "learning_rate": rate}, "model": {"name": "linear"}}}


SCHEDULES: Cases = {
    **schedule("constant", value=0.1),
    **schedule("step", initial_learning_rate=0.3, decay_epochs=1),
    **schedule("exponential", initial_learning_rate=0.3, decay_steps=5),
    **schedule("polynomial", initial_learning_rate=0.3, decay_steps=6, cycle=True, power=2.0),
    **schedule("cosine", initial_learning_rate=0.01, warmup_target=0.3, warmup_epochs=0.5),
    **schedule("cosine_restarts", initial_learning_rate=0.3, first_decay_steps=4, m_mul=0.8),
    **schedule("cosine_restarts, equal waves", initial_learning_rate=0.3, first_decay_steps=4, t_mul=1.0),
    **schedule("inverse_time", initial_learning_rate=0.3, decay_epochs=1),
    **schedule("piecewise", boundary_epochs=[1, 1.5], values=[0.3, 0.1, 0.5]),
    **schedule("warmup", warmup_target=0.3),
    **schedule("one_cycle", warmup_target=0.3),
}

CANCER = {"dataset": {"name": "breast_cancer"}, "batch_size": 100, "optimizer": {"name": "sgd", "learning_rate": 0.1}}
DIABETES = {"dataset": {"name": "diabetes"}, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.03}}
RATES = {"learning_rate": 0.1}, {"learning_rate": 0.03}

GOALS: Cases = {
    "class numbers, with metrics": {"metrics": ["accuracy", "crossentropy"]},
    "weights of classes": {"class_weight": "balanced"},
    "one-hot, smoothed, weighted": {
        "loss": {"name": "categorical_crossentropy", "label_smoothing": 0.1},
        "metrics": ["accuracy", "crossentropy"],
        "class_weight": {"class 1": 3.0, "class 2": 0.5},
    },
    "one-hot, focal": {"loss": {"name": "categorical_focal_crossentropy", "gamma": 1.5, "label_smoothing": 0.05}},
    "two classes": {**CANCER, "metrics": ["accuracy", "auc", "precision", "recall", "crossentropy"]},
    "two classes, smoothed, weighted": {
        **CANCER,
        "loss": {"name": "binary_crossentropy", "label_smoothing": 0.1},
        "metrics": [{"name": "auc", "curve": "PR", "num_thresholds": 50}, {"name": "recall", "thresholds": 0.3}],
        "class_weight": "balanced",
    },
    "two classes, focal": {**CANCER, "loss": {"name": "binary_focal_crossentropy", "apply_class_balancing": True}},
    "two classes as several": {**CANCER, "task": "multiclass"},
    "a number": {**DIABETES},
    "a number, absolute, with every metric": {
        **DIABETES, "loss": "mae", "metrics": ["mae", "mse", "rmse", "mape", "r2"],
    },
    "a number, huber": {**DIABETES, "loss": {"name": "huber", "delta": 20.0}},
    "a number, log cosh": {**DIABETES, "loss": "log_cosh"},
    "a number, percentage": {**DIABETES, "loss": "mape"},
    "a number, of logarithms": {
        **DIABETES,
        "loss": "msle",
        "model": {"units": [6], "target_scaling": "none", "output_activation": "softplus"},
    },
    "one-hot, a loss of one's own": {
        "loss": {"name": "function", "function": f"{OWN}:spread", "arguments": {"gamma": 1.5}, "one_hot": True},
        "class_weight": "balanced",
    },
    "a number, a loss of one's own": {
        **DIABETES, "loss": {"name": "function", "function": f"{OWN}:Missing", "arguments": {"above": 3.0}},
    },
}  # fmt: skip


def model(name: str, common: dict[str, Any], *own: dict[str, Any]) -> Cases:
    """Cases of one kind, where all of it is about the model."""
    return {f"{name}, {place}": {"model": {**common, **one}, "seed": place} for place, one in enumerate(own)}


def own_model(name: str) -> dict[str, Any]:
    """A model of `own_parts`."""
    return {"name": "function", "function": f"{OWN}:{name}"}


MODELS: Cases = {
    "no hidden layer, functional": {"model": {"units": [], "api": "functional"}},
    "activations of the first third": {
        "model": {
            "units": [6] * 6,
            "activation": ["relu", "tanh", "sigmoid", "linear", "leaky_relu", "elu"],
            "negative_slope": 0.3,
            "kernel_initializer": [
                "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "auto",
            ],
            "bias_initializer": ["zeros", "ones", "random_uniform", "random_normal", "truncated_normal", "zeros"],
        },
    },
    "activations of the second third": {
        "model": {
            "units": [6] * 6,
            "activation": ["selu", "celu", "gelu", "silu", "mish", "softplus"],
            "kernel_initializer": [
                "lecun_normal", "orthogonal", "variance_scaling", "random_uniform", "random_normal", "truncated_normal",
            ],
        },
    },
    "activations of the last third": {
        "model": {
            "units": [6] * 5,
            "activation": ["softsign", "relu6", "hard_sigmoid", "hard_silu", "exponential"],
            "kernel_initializer": ["ones", "auto", "auto", "auto", "zeros"],
        },
    },
    **model(
        "penalties and bounds",
        {"units": [6, 5], "max_norm": [0.7, None]},
        {"l1": 3e-3, "l2": 0.02},
        {"l1": [6e-3, 2e-3, 4e-3], "l2": [0.01, 0.03, 1e-3]},
    ),
    **model(
        "dropout",
        {"units": [12, 6]},
        {"dropout": 0.5},
        {"dropout": [0.3, 0.1]},
    ),
    # a bias before a batch norm has no gradient but rounding errors, of which some optimizers make whole steps
    **model(
        "batch norm and dropout",
        {"units": [8, 6], "batch_norm": [True, False], "use_bias": [False, True]},
        {"dropout": 0.2},
        {"dropout": 0.5},
    ),
    "linear": {"model": {"name": "linear", "use_bias": False, "kernel_initializer": "he_normal", "l1": 4e-3}},
    **model(
        "convolutions",
        {
            "name": "cnn",
            "filters": [3, 4],
            "batch_norm": True,
            "use_bias": False,
            "pool": ["max", "average"],
            "then": "global_average",
        },
        {"dropout": 0.2},
        {"dropout": [0.5, 0.1]},
    ),
    **model(
        "convolutions with strides",
        {
            "name": "cnn",
            "filters": [3],
            "convs_per_block": 2,
            "strides": 2,
            "padding": "valid",
            "kernel_size": 2,
            "pool": "none",
            "units": [5],
            "max_norm": 1.0,
        },
        {"l2": 0.02},
        {"l2": [0.03, 0.01, 2e-3]},
    ),
    **{
        f"own model of {name}": {"model": own_model(name)}
        for name in ("branches", "normalisations", "noises", "convolutions", "gates", "placed")
    },
    "points with features": {
        "dataset": {"name": "spiral", "samples": 300, "noise": 0.1},
        "model": {"units": [6], "activation": "tanh", "features": ["x1", "x2", "x1_squared", "x1_x2", "sin_x2"]},
        "callbacks": {"decision_surface": {"resolution": 16, "samples": 50}, "diagnostics": {"every": 2}},
    },
    "a number for every place of the plane": {
        "dataset": {"name": "plane", "samples": 300},
        "callbacks": {"decision_surface": {"resolution": 16}},
    },
    "colours, standardised": {
        "dataset": {"name": "synthetic_images", "samples": 200, "shape": [5, 4, 3], "classes": 3},
        "model": {"units": [6], "scaling": "standard"},
    },
    "flowers": {"dataset": {"name": "iris"}},
}  # fmt: skip

PREPARED = ("points with features",)
"""Models of which more than a scale is prepared in float32."""

SHAPES: Cases = {
    "a last batch of one": {**LINE, "batch_size": 29},
    "no smaller batch": {**LINE, "batch_size": 51},
    "one batch of all": {**LINE, "batch_size": 204},
    "a batch larger than the data": {**LINE, "batch_size": 1000},
    "batches of one": {**LINE, "batch_size": 1, "epochs": 1},
    "one large batch and a rest": {**LINE, "batch_size": 203},
    "a validation of more than one batch": {
        **LINE, "dataset": {"name": "xor", "samples": 11_000, "noise": 0.1}, "batch_size": 700,
        "callbacks": {"decision_surface": {"every": 5, "resolution": 16}},
    },
    "a validation of exactly one batch": {
        **LINE, "dataset": {"name": "gauss", "samples": 10_240}, "batch_size": 1024,
        "callbacks": {"decision_surface": {"every": 5, "resolution": 16}},
    },
}  # fmt: skip
