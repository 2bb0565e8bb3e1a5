"""From a study's best trials to a champion: who is judged, by what rules, with what evidence, and what stays of it.

`promoter` is the act itself. `policy`, `comparison` and `evidence` are pure: numbers in, a decision out. `judge` asks
the process that has TensorFlow, `seeds` trains candidates again, `reigns` is who was champion when, and `record` keeps
all of it in MLflow.
"""
