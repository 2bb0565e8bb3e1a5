from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import devices


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,1", ["0", "1"]),
        (" 2 , 0", ["2", "0"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),  # CUDA, too, stops there
        ("GPU-8932f937-d72c,MIG-3f6e", ["GPU-8932f937-d72c", "MIG-3f6e"]),
    ],
)
def test_gpus_are_those_that_the_environment_shows(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.gpus() == expected


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'; echo 'GPU 1: NVIDIA H100 (UUID: GPU-2)'", ["0", "1"]),
        ("echo 'GPU 0: H100'; echo '  MIG 1g.10gb Device 0: (UUID: MIG-1)'", ["0"]),
        ("echo 'No devices were found'; exit 6", []),
        ("echo 'GPU 0: broken'; exit 9", []),
    ],
)
def test_without_such_a_word_the_driver_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, expected: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert devices.gpus() == expected


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.gpus() == []


def test_there_is_a_core() -> None:
    assert devices.cores() >= 1
