"""One thing to train on, as NVIDIA's driver or TensorFlow tells of it."""

from __future__ import annotations

from dataclasses import dataclass

_NOTEWORTHY_MB = 512
_NOTEWORTHY_SHARE = 0.03
_SHORT = 12


@dataclass(frozen=True)
class Device:
    """A GPU, or a slice of one.

    Attributes:
        index: Its place among the machine's GPUs, as `nvidia-smi` counts them; a slice has that of its GPU.
        uuid: Its name for ever, such as `GPU-8932f937-…` or `MIG-3f6e…`; empty where only TensorFlow knows of it.
        name: Its model.
        total_mb: Its memory in MiB; None where nobody tells.
        free_mb: What of it nobody holds, at the time of asking.
        used_mb: What of it others hold.
        users: Processes that hold memory there, as far as the driver tells their numbers.
        capability: CUDA's compute capability, such as (9, 0).
        slice_of: The uuid of the GPU that it is a MIG slice of; empty for a whole one.
    """

    index: int
    uuid: str = ""
    name: str = ""
    total_mb: int | None = None
    free_mb: int | None = None
    used_mb: int | None = None
    users: tuple[int, ...] = ()
    capability: tuple[int, int] | None = None
    slice_of: str = ""

    @property
    def visible(self) -> str:
        """What `CUDA_VISIBLE_DEVICES` calls it: a slice has no number there, and a number may change."""
        return self.uuid or str(self.index)

    @property
    def title(self) -> str:
        """It, for a person: `GPU 0 (NVIDIA H100, GPU-8932f937…)`."""
        short = f"{self.uuid[:_SHORT]}…" if len(self.uuid) > _SHORT + 1 else self.uuid
        about = ", ".join(part for part in (self.name, short) if part)
        kind = "MIG slice of GPU" if self.slice_of else "GPU"
        return f"{kind} {self.index}" + (f" ({about})" if about else "")

    @property
    def remark(self) -> str:
        """What people should know before anything is started on it: that others hold memory there."""
        if self.used_mb is None or self.total_mb is None or self.free_mb is None:
            return ""
        if self.used_mb < max(_NOTEWORTHY_MB, int(_NOTEWORTHY_SHARE * self.total_mb)):
            return ""
        shown = ", ".join(map(str, self.users[:4])) + (", …" if len(self.users) > 4 else "")
        by = f" (process{'es' if len(self.users) > 1 else ''} {shown})" if self.users else ""
        return (
            f"{self.title} is in use by others{by}: {self.used_mb} of its {self.total_mb} MiB are taken, "
            f"{self.free_mb} are free."
        )
