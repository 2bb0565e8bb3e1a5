"""Which of the devices `CUDA_VISIBLE_DEVICES` lets be seen, as CUDA itself reads it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from pipelines.devices.device import Device


def words_of(visible: str) -> list[str]:
    """Its words, up to the first that is none: CUDA, too, stops there."""
    return list(takewhile(lambda word: bool(word) and not word.startswith("-"), map(str.strip, visible.split(","))))


def seen(devices: Sequence[Device], visible: str | None) -> list[Device]:
    """The devices that may be used, in the order in which they are named.

    A number is that of `nvidia-smi`; of a GPU that is cut into slices it stands for all of them. A uuid may be cut
    short, as long as it can mean one device only. A word that means none ends the list, as it does for CUDA.

    Args:
        devices: All that there are.
        visible: The variable's value; None where it is not set, which lets everything be seen.
    """
    if visible is None:
        return list(devices)
    found: list[Device] = []
    for word in words_of(visible):
        meant = _meant(devices, word)
        if not meant:
            break
        found += [device for device in meant if device not in found]
    return found


def _meant(devices: Sequence[Device], word: str) -> list[Device]:
    if word.isdigit():
        return [device for device in devices if device.index == int(word)]
    exact = [device for device in devices if word in (device.uuid, device.slice_of)]
    if exact:
        return exact
    begun = [device for device in devices if device.uuid.startswith(word)]
    return begun if len(begun) == 1 else []
