"""The devices that TensorFlow sees, asked in a process of its own: one that has looked holds on to them for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

from pipelines.devices.device import Device

_ASKS_S = 120.0
_PROGRAM = """
import json, os
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf
about = []
for device in tf.config.list_physical_devices("GPU"):
    told = tf.config.experimental.get_device_details(device)
    about.append([told.get("device_name") or device.name, list(told.get("compute_capability") or ())])
print(json.dumps(about))
"""


class TensorFlowSilent(Exception):
    """TensorFlow could not be asked; the message says why, as a part of a sentence."""


@cache
def listed_by_tensorflow(program: str = _PROGRAM, timeout_s: float = _ASKS_S) -> tuple[Device, ...]:
    """What TensorFlow sees, numbered as it numbers them. It takes as long as importing it does, and is asked once.

    Args:
        program: What is run; it prints a list of names and compute capabilities as JSON on its last line.
        timeout_s: Seconds that it may take.

    Raises:
        TensorFlowSilent: It cannot be imported, or does not answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TensorFlowSilent(f"TensorFlow could not be asked for GPUs ({type(error).__name__})") from error
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it printed nothing")
        raise TensorFlowSilent(f"TensorFlow could not be asked for GPUs ({last.strip()[:200]})")
    try:
        told = json.loads(done.stdout.splitlines()[-1])
        return tuple(
            Device(index, name=str(name), capability=(int(of[0]), int(of[1])) if len(of) == 2 else None)
            for index, (name, of) in enumerate(told)
        )
    except (ValueError, IndexError, TypeError) as error:
        raise TensorFlowSilent("TensorFlow was asked for GPUs and answered something else") from error
