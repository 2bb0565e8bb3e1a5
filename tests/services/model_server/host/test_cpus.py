"""The thread budget, from made-up cgroups of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.model_server.host.cpus import cpu_budget

MANY = 64


@pytest.mark.parametrize(
    ("files", "own", "most"),
    [
        ({}, "", MANY),
        ({"cpu.max": "400000 100000"}, "0::/", 4),
        ({"cpu.max": "max 100000"}, "0::/", MANY),
        ({"cpu.max": "150000 100000"}, "0::/", 1),
        ({"cpu.max": "1000 100000"}, "0::/", 1),
        ({"cpu.max": "nonsense"}, "0::/", MANY),
        ({"a/b/cpu.max": "300000 100000"}, "0::/a/b\n", 3),
        ({"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n", 2),
        ({"a/cpu.max": "200000 100000", "a/b/cpu.max": "500000 100000"}, "0::/a/b\n", 2),
        ({"x/cpu.max": "100000 100000"}, "0::/a/b\n", MANY),
        ({"cpu.max": "500000 100000"}, "0::/../outside", 5),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, "", 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/", MANY),
        (
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "250000", "cpu,cpuacct/d/cpu.cfs_period_us": "100000"},
            "5:memory:/m\n4:cpu,cpuacct:/d\n",
            2,
        ),
        ({"cpu/d/e/cpu.cfs_quota_us": "600000", "cpu/d/e/cpu.cfs_period_us": "100000"}, "4:cpu:/d/e\n0::/\n", 6),
    ],
)
def test_the_tightest_quota_of_the_own_cgroup_and_those_above_it_counts(
    tmp_path: Path, files: dict[str, str], own: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)), raising=False)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert cpu_budget(tmp_path / "fs", tmp_path / "own") == most


def test_a_mask_of_few_cores_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    (tmp_path / "cpu.max").write_text("800000 100000")
    assert cpu_budget(tmp_path, tmp_path / "missing") == 1
