"""ONNX forms of TensorFlow operators that tf2onnx lacks, so that every activation can be exported."""

from __future__ import annotations

from typing import Any


def teach_tf2onnx() -> None:
    """Registers them with tf2onnx, once for the process. To be called before `model.export(path, format="onnx")`.

    Keras's gelu ends in Erfc and its celu in Expm1 on TensorFlow 2.21, of which tf2onnx 1.17 knows neither: it exports
    a graph that ONNX Runtime cannot load.
    """
    from tf2onnx.handler import tf_op

    known = {name for of_version in tf_op.get_opsets().get("", []) for name in of_version}
    for name, (operator, one_first) in _AS_DIFFERENCE.items():
        if name not in known:
            tf_op.register_handler(_difference(operator, one_first), 9, [name], "", {})


_AS_DIFFERENCE = {"Erfc": ("Erf", True), "Expm1": ("Exp", False)}
"""erfc(x) = 1 - erf(x), expm1(x) = exp(x) - 1: exact to the last digit of a float32 near 1."""


def _difference(operator: str, one_first: bool) -> Any:
    import numpy as np
    from tf2onnx import utils

    def handler(context: Any, node: Any, **_: Any) -> None:
        dtypes, shapes = node.output_dtypes, node.output_shapes
        kind = utils.map_onnx_to_numpy_type(dtypes[0])
        one = context.make_const(utils.make_name(f"{node.name}_one"), np.array(1, kind)).output[0]
        inner = context.make_node(operator, [node.input[0]], dtypes=dtypes, shapes=shapes).output[0]
        context.remove_node(node.name)
        pair = [one, inner] if one_first else [inner, one]
        context.make_node("Sub", pair, outputs=node.output, name=node.name, dtypes=dtypes, shapes=shapes)

    return handler
