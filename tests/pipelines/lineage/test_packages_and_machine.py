"""Installed packages, lock files, and what a machine says of itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from pipelines import devices
from pipelines.lineage.machine import cpu_model, driver_version, gpu_models, this_machine
from pipelines.lineage.packages import INSTALLED, installed


def package(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages."""
    folder = tmp_path / "site"
    package(folder, "Zeta.Package", "2.0")
    package(folder, "tensorflow-cpu", "2.21.0")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two locks."""
    locks = tmp_path / "root" / "requirements"
    locks.mkdir(parents=True)
    for name in ("cpu", "gpu"):
        (locks / f"{name}.txt").write_text(f"of-{name}==1\n", encoding="utf-8")
        os.utime(locks / f"{name}.txt", (1000, 1000))
    return tmp_path / "root"


def stamped(tmp_path: Path, device: str, time: int) -> Path:
    prefix = tmp_path / "venv"
    prefix.mkdir()
    (prefix / f".runtime-{device}").touch()
    os.utime(prefix / f".runtime-{device}", (time, time))
    return prefix


def test_the_lock_is_the_one_that_the_environment_was_made_from(tmp_path: Path, root: Path, site: Path) -> None:
    found = installed(root, prefix=stamped(tmp_path, "gpu", 2000), path=[str(site)])
    assert found.lock == "requirements/gpu.txt"
    assert found.lock_sha256 == hashlib.sha256(b"of-gpu==1\n").hexdigest()


def test_a_lock_that_is_newer_than_the_environment_does_not_speak_for_it(
    tmp_path: Path, root: Path, site: Path
) -> None:
    found = installed(root, prefix=stamped(tmp_path, "cpu", 500), path=[str(site)])
    assert found.lock == INSTALLED


def test_without_a_lock_the_installed_packages_are_digested_in_order(tmp_path: Path, site: Path) -> None:
    found = installed(tmp_path, prefix=tmp_path, path=[str(site)])
    assert found.lock == INSTALLED
    assert found.lock_sha256 == hashlib.sha256(b"tensorflow-cpu==2.21.0\nzeta-package==2.0\n").hexdigest()
    assert found.tensorflow == "2.21.0"


def test_of_a_package_that_is_there_twice_the_imported_one_counts(tmp_path: Path, site: Path) -> None:
    package(tmp_path / "first", "zeta-package", "1.0")
    found = installed(tmp_path, prefix=tmp_path, path=[str(tmp_path / "first"), str(site), str(tmp_path / "gone")])
    assert found.versions["zeta-package"] == "1.0"


def test_what_an_interrupted_installation_left_is_passed_over(tmp_path: Path, site: Path) -> None:
    (site / "half-3.0.dist-info").mkdir()
    assert set(installed(tmp_path, prefix=tmp_path, path=[str(site)]).versions) == {"tensorflow-cpu", "zeta-package"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nmodel name\t: AMD EPYC 7B13\n", "AMD EPYC 7B13"),
        ("processor\t: 0\nModel\t\t: Raspberry Pi 4\n", "Raspberry Pi 4"),
    ],
)
def test_the_processor_is_read_from_where_linux_tells_it(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    assert cpu_model(tmp_path / "cpuinfo") == expected


def test_elsewhere_the_architecture_has_to_do(tmp_path: Path) -> None:
    assert cpu_model(tmp_path / "none")


def test_gpus_and_driver_are_read_from_what_the_driver_writes(tmp_path: Path) -> None:
    for number, name in (("0000:01:00.0", "NVIDIA H100 80GB HBM3"), ("0000:02:00.0", "NVIDIA L4")):
        (tmp_path / "gpus" / number).mkdir(parents=True)
        text = f"Model: \t\t {name}\nIRQ:   \t\t 12\n"
        (tmp_path / "gpus" / number / "information").write_text(text, encoding="utf-8")
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\nGCC version:\n"
    (tmp_path / "version").write_text(text, encoding="utf-8")
    assert gpu_models(tmp_path) == ("NVIDIA H100 80GB HBM3", "NVIDIA L4")
    assert driver_version(tmp_path) == "550.90.07"
    assert (gpu_models(tmp_path / "none"), driver_version(tmp_path / "none")) == ((), None)


def test_a_driver_that_hangs_costs_its_word_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs() -> list[str]:
        raise subprocess.TimeoutExpired("nvidia-smi", 20)

    monkeypatch.setattr(devices, "gpus", hangs)
    machine = this_machine()
    assert machine.devices == ()
    assert machine.host
    assert machine.memory_mb > 100
    assert 1 <= machine.cores <= machine.cores_in_all
