"""Keras in a process of its own: for the models that ONNX cannot hold.

`engine` is what the server sees, `process` one child and the way to it, `frames` what goes over that way; `leash`,
`child`, `model` and `contents` run in the child alone, and TensorFlow is imported nowhere else.
"""
