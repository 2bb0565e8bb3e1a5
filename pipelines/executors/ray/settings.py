"""What a recipe says of a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from pipelines.spec import Spec

_OURS = ("working_dir", "pip")


class RayCluster(Spec):
    """A Ray cluster, and what each worker takes of it."""

    address: str | None = None
    """Of the cluster, such as `10.0.0.1:6379`, or `auto` for the one that this machine belongs to; `RAY_ADDRESS` where
    left out, and where that is not set either, a cluster of this machine alone, which goes with the sweep."""
    num_cpus: float = Field(1, gt=0)
    """Cores of a worker."""
    num_gpus: float = Field(0, ge=0)
    """GPUs of a worker; with a half of one, two workers share it."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """What a worker takes of the cluster's own resources, by name."""
    memory_mb: int | None = Field(None, ge=64)
    """Memory that Ray sets aside for a worker, in MiB, so that no node gets more of them than fit."""
    runtime_env: dict[str, JsonValue] = Field(default_factory=dict)
    """More of Ray's runtime environment, such as `env_vars` or `image_uri`."""
    packages: Literal["auto", "install", "there"] = "auto"
    """Whether nodes install the packages of the lock, into an environment of their own: where any lacks some of them
    (`auto`), in any case (`install`), or never, as their image has them (`there`)."""
    host: str | None = None
    """Address of this machine at which workers reach it; found out where left out."""
    node_home: str | None = None
    """Folder of each node for data and for files on their way; `REGATTA_NODE_HOME` there where left out, and else one
    among its temporary files."""
    state_mb: int = Field(256, ge=0)
    """A larger state of a trial, in MiB, stays on its node: if that is lost, the trial begins anew."""
    object_store_mb: int | None = Field(None, ge=80)
    """Memory of the object store of a cluster of this machine alone, in MiB; Ray's own choice where left out."""

    @field_validator("address")
    @classmethod
    def _is_no_client(cls, address: str | None) -> str | None:
        if address is not None and address.startswith("ray://"):
            raise ValueError(
                f"must be the address of the cluster itself, such as 10.0.0.1:6379, got '{address}': through Ray's "
                f"client server, workers would not reach this machine"
            )
        return address

    @field_validator("runtime_env")
    @classmethod
    def _leaves_what_is_ours(cls, environment: dict[str, JsonValue]) -> dict[str, JsonValue]:
        taken = [name for name in _OURS if name in environment]
        if taken:
            raise ValueError(
                f"must not set {' or '.join(taken)}: the code and the lock go there by themselves; packages: there "
                f"keeps the lock away"
            )
        return environment

    def needs(self) -> dict[str, float]:
        """What a worker takes of a node, by Ray's names."""
        found = {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}
        if self.memory_mb is not None:
            found["memory"] = float(self.memory_mb << 20)
        return {name: amount for name, amount in found.items() if amount > 0}
