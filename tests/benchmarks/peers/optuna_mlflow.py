"""A careful hand-written sweep: Optuna asks, `Model.fit` trains, an explicit `MlflowClient` logs.

One process. Each epoch's metrics are one `log_batch`; each trial's best epoch is one `.keras` artifact; parameters and
tags are sent with the first request. TPE, a study in SQLite, no pruner. It neither judges nor registers a champion.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.clock import Clock, arguments
from tests.benchmarks.peers.plain_keras import Choice, Problem, forget, train


def main() -> None:
    given = arguments(__doc__)
    import keras
    import optuna
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    class LogsEpochs(keras.callbacks.Callback):  # type: ignore[misc]
        """One request an epoch."""

        def __init__(self, run_id: str) -> None:
            super().__init__()
            self._run_id = run_id

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            now = time.time_ns() // 1_000_000
            values = {**(logs or {}), "learning_rate": float(self.model.optimizer.learning_rate)}
            client.log_batch(self._run_id, metrics=[Metric(name, value, now, epoch) for name, value in values.items()])

    problem, clock = Problem.read(given.problem), Clock()
    client = MlflowClient(given.server)
    experiment = client.create_experiment("hand-written")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="hand-written",
        storage=f"sqlite:///{given.folder / 'study.db'}",
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=7),
    )

    def objective(trial: Any) -> float:
        choice = Choice.drawn(trial)
        run_id = client.create_run(experiment, run_name=f"trial-{trial.number:05d}").info.run_id
        try:
            params = [Param(name, str(value)) for name, value in trial.params.items()]
            client.log_batch(run_id, params=params, tags=[RunTag("trial", str(trial.number))])
            history = train(problem, choice, 7 + trial.number, [LogsEpochs(run_id)])
            losses = history.history["val_loss"]
            best = min(losses)
            path = Path(given.folder) / f"trial-{trial.number:05d}.keras"
            history.model.save(path)
            client.log_artifact(run_id, str(path))
            path.unlink()
            summary = [
                Metric("best.val_loss", best, time.time_ns() // 1_000_000, 0),
                Metric("best.epoch", float(losses.index(best)), time.time_ns() // 1_000_000, 0),
            ]
            client.log_batch(run_id, metrics=summary)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")
        forget()
        return float(best)

    for _ in range(given.trials):
        clock.trial_begins()
        study.optimize(objective, n_trials=1)
        clock.trial_ended()
    clock.write(given.folder / "times.json", study.best_value)


if __name__ == "__main__":
    main()
