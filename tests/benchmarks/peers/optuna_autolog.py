"""What most tutorials do: Optuna asks, `Model.fit` trains, `mlflow.tensorflow.autolog()` logs, as it is by default.

One process, TPE, a study in SQLite, no pruner; a run a trial. Autologging keeps parameters, every epoch's metrics,
checkpoints of the best epochs, the data sets' digests, TensorBoard's files, and the model. It needs TensorBoard to be
installed.
"""

from __future__ import annotations

from typing import Any

from tests.benchmarks.peers.clock import Clock, arguments
from tests.benchmarks.peers.plain_keras import Choice, Problem, forget, train


def main() -> None:
    given = arguments(__doc__)
    import mlflow
    import optuna

    problem, clock = Problem.read(given.problem), Clock()
    mlflow.set_tracking_uri(given.server)
    mlflow.set_experiment("autolog")
    mlflow.tensorflow.autolog()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="autolog",
        storage=f"sqlite:///{given.folder / 'study.db'}",
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=7),
    )

    def objective(trial: Any) -> float:
        choice = Choice.drawn(trial)
        with mlflow.start_run(run_name=f"trial-{trial.number:05d}"):
            mlflow.log_params(trial.params)
            history = train(problem, choice, 7 + trial.number, [])
            best = min(history.history["val_loss"])
            mlflow.log_metric("best_val_loss", best)
        forget()
        return float(best)

    for _ in range(given.trials):
        clock.trial_begins()
        study.optimize(objective, n_trials=1)
        clock.trial_ended()
    clock.write(given.folder / "times.json", study.best_value)


if __name__ == "__main__":
    main()
