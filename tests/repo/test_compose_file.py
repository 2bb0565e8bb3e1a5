"""What docker-compose.yml promises of every service, whoever adds one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services import env_file

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
# `make up` sets these itself, from the repository
ITS_OWN = {"REGATTA_VERSION", "REGATTA_REVISION", "REGATTA_LOCK_SHA256", "REGATTA_GPU_LOCK_SHA256", "REGATTA_IMAGES"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_write_to_its_volumes_alone(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged", False)
    if name != "postgres":  # which begins as root, to take its volume into possession
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", [name for name in SERVICES if "ports" in SERVICES[name]])
def test_a_port_is_open_on_this_machine_alone_unless_it_is_asked_for(name: str) -> None:
    for port in SERVICES[name]["ports"]:
        assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_writes_a_log_that_ends(name: str) -> None:
    assert set(SERVICES[name]["logging"]["options"]) == {"max-size", "max-file"}


@pytest.mark.parametrize("name", [name for name in SERVICES if not SERVICES[name].get("profiles")])
def test_a_service_that_others_wait_for_has_a_health(name: str) -> None:
    built = SERVICES[name].get("build")
    checked = "healthcheck" in SERVICES[name]
    if not checked and isinstance(built, dict):
        checked = "\nHEALTHCHECK --" in (ROOT / built["context"] / built["dockerfile"]).read_text(encoding="utf-8")
    assert checked


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" not in SERVICES[name]])
def test_an_image_from_elsewhere_is_of_one_version(name: str) -> None:
    assert re.fullmatch(r"\$\{[A-Z_]+:-[a-z/-]+:v?\d[\w.-]+\}", SERVICES[name]["image"])


def test_every_variable_is_explained_in_env_example() -> None:
    explained = set(re.findall(r"^# ([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z][A-Z0-9_]+)", TEXT))

    assert used - ITS_OWN <= explained
    assert set(env_file.SECRETS) <= used


def test_a_secret_has_no_default() -> None:
    for name in env_file.SECRETS:
        assert not re.search(rf"\$\{{{name}:?-", TEXT)


def test_the_override_for_gpus_reserves_them_for_sweeps_alone() -> None:
    told = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))["services"]

    assert list(told) == ["sweep"]
    assert told["sweep"]["build"]["target"] == "gpu"
    (device,) = told["sweep"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


OURS = [path for wing in ("pipelines", "services") for path in sorted((ROOT / wing).rglob("Dockerfile"))]


@pytest.mark.parametrize(
    "path", [path for path in OURS if path.parent.name != "postgres"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_an_image_of_ours_installs_by_hashes_and_is_nobody(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    installs = [line for line in text.replace("\\\n", " ").splitlines() if re.search(r"\bpip\b.* install\b", line)]
    assert installs
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert re.search(r"^USER [a-z]", text, flags=re.MULTILINE)
    assert "org.opencontainers.image.licenses" in text
