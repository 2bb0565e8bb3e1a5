"""What this machine has to train on: the one place that knows GPUs. Importing it asks nobody and loads no library."""

from __future__ import annotations

from pipelines.devices.cpus import cores
from pipelines.devices.device import Device
from pipelines.devices.inventories import Inventory, inventory
from pipelines.devices.rotation import Rotation
from pipelines.devices.sharing import Need, Sharing


def gpus() -> list[str]:
    """The NVIDIA GPUs and slices of such, by what `CUDA_VISIBLE_DEVICES` calls each, as far as it shows them."""
    return inventory().names


__all__ = ["Device", "Inventory", "Need", "Rotation", "Sharing", "cores", "gpus", "inventory"]
