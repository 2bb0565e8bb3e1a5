from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

LOCKS = ("cpu", "gpu", "dev", "model-server", "model-server-keras", "tracking-server", "uv")
PROMISED = (
    *("sweep", "train", "promote", "report", "trials", "reconcile", "sync", "ui", "predict"),
    *("up-local", "down-local", "up", "down"),
    *("test", "check", "lint", "types", "imports", "format", "lock", "clean"),
)


def make(repository: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    return subprocess.run(
        ["make", *arguments], cwd=repository, env={**clean, **environ}, capture_output=True, text=True, check=False
    )


def targets(repository: Path) -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", (repository / "Makefile").read_text(), flags=re.MULTILINE))


def pins(repository: Path, lock: str) -> dict[str, str]:
    text = (repository / "requirements" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", text, flags=re.MULTILINE))


def entries(repository: Path, lock: str) -> list[str]:
    """The lock's requirements, each with its continuation lines, without comments."""
    text = (repository / "requirements" / f"{lock}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def test_make_alone_lists_every_target_with_its_help(repository: Path) -> None:
    shown = make(repository)
    assert shown.returncode == 0
    listed = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert set(listed) == targets(repository)
    assert set(PROMISED) <= set(listed)


def test_every_target_in_help_is_phony(repository: Path) -> None:
    text = (repository / "Makefile").read_text().replace("\\\n", " ")
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == targets(repository)


def test_readme_and_contributing_name_real_targets(repository: Path) -> None:
    pages = [repository / "README.md", repository / "CONTRIBUTING.md"]
    if not pages[0].exists():
        pytest.skip("there is no README.md yet")
    code = " ".join(
        piece for page in pages for piece in re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), flags=re.DOTALL)
    )
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code))
    assert named
    assert named <= targets(repository)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["sweep", "configs/sweeps/digits.yaml"]),
        (["CONFIG=a.yaml", "TRIALS=3", "WORKERS=2"], ["sweep", "a.yaml", "--trials", "3", "--workers", "2"]),
        (["EXECUTOR=inline", "LANES=off", "FRESH=1"], ["--executor", "inline", "--lanes", "off", "--fresh"]),
        (["SET=a.b=1 c=[1,2]"], ["--set", "'a.b=1'", "--set", "'c=[1,2]'"]),
        (["SET=search_space.batch_size=[16, 32]"], ["--set", "'search_space.batch_size=[16,", "32]'"]),
        (["SET=optimizer={name: adam, beta_1: 0.8}"], ["--set", "'optimizer={name:", "adam,", "beta_1:", "0.8}'"]),
        (["ARGS=--dry-run --json"], ["--dry-run", "--json"]),
    ],
)
def test_variables_of_make_sweep_become_flags(repository: Path, arguments: list[str], words: list[str]) -> None:
    planned = make(
        repository,
        "--dry-run",
        "--assume-old=.venv/.runtime-cpu",
        "--assume-old=.venv/.runtime-gpu",
        "sweep",
        *arguments,
    )
    assert planned.returncode == 0, planned.stderr
    command = " ".join(planned.stdout.split())
    assert " ".join(words) in command


def test_settings_of_the_environment_do_not_leak_into_a_sweep(repository: Path) -> None:
    planned = make(
        repository, "--dry-run", "--assume-old=.venv/.runtime-cpu", "--assume-old=.venv/.runtime-gpu", "sweep",
        ARGS="--leaked", TRIALS="99", CONFIG="leaked.yaml",
    )  # fmt: skip
    assert "leaked" not in planned.stdout
    assert "99" not in planned.stdout


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (("sweep", "TRIALS=5"), "sweep configs/sweeps/digits.yaml --trials 5"),
        (("promote", "STUDY=tiny", "ARGS=--json"), "promote tiny --json"),
    ],
)
@pytest.mark.parametrize(("code", "outcome"), [(0, 0), (2, 2), (3, 2), (4, 0)])
def test_a_champion_that_kept_its_place_is_no_error_of_make(
    repository: Path, tmp_path: Path, code: int, outcome: int, arguments: tuple[str, ...], call: str
) -> None:
    regatta = tmp_path / "regatta"
    regatta.write_text(f'#!/bin/sh\necho "said $*"\nexit {code}\n')
    regatta.chmod(0o755)
    done = make(repository, *arguments, f"REGATTA={regatta}", f"RUNTIME={regatta}")
    assert done.returncode == outcome
    assert done.stdout == f"said {call}\n"  # no echo of make's: it may be JSON


def test_a_variable_on_makes_command_line_reaches_the_command(repository: Path, tmp_path: Path) -> None:
    regatta = tmp_path / "regatta"
    regatta.write_text('#!/bin/sh\necho "$REGATTA_DATA"\n')
    regatta.chmod(0o755)
    done = make(repository, "sweep", f"REGATTA={regatta}", f"RUNTIME={regatta}", "REGATTA_DATA=/some/where")
    assert done.stdout == "/some/where\n"


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ([], "trials"),
        (["STUDY=tiny", "ARGS=--top 5"], "trials tiny --top 5"),
        (["CONFIG=configs/sweeps/playground.yaml"], "trials playground"),
    ],
)
def test_the_trials_are_those_of_the_newest_study_unless_one_is_named(
    repository: Path, tmp_path: Path, arguments: list[str], call: str
) -> None:
    regatta = tmp_path / "regatta"
    regatta.write_text('#!/bin/sh\necho "said $*"\n')
    regatta.chmod(0o755)
    done = make(
        repository, "trials", f"REGATTA={regatta}", f"RUNTIME={regatta}", *arguments, STUDY="of-the-environment"
    )
    assert done.stdout == f"said {call}\n"


def test_a_machine_without_a_python_that_fits_gets_one_sentence(repository: Path, tmp_path: Path) -> None:
    stamp = tmp_path / ".venv" / ".runtime-cpu"
    for name in ("Makefile", "requirements"):
        (tmp_path / name).symlink_to(repository / name)
    done = subprocess.run(
        ["make", "setup", "DEVICE=cpu", "PYTHON="], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Regatta needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert not stamp.exists()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_package_index_and_no_path_of_a_machine(repository: Path, lock: str) -> None:
    text = (repository / "requirements" / f"{lock}.txt").read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links|--trusted-host", text)
    assert not re.search(r"(?:^|\s)(?:/|~)", text, flags=re.MULTILINE)
    assert "@ " not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_of_a_lock_has_an_exact_version_and_a_hash(repository: Path, lock: str) -> None:
    found = entries(repository, lock)
    assert found
    for entry in found:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize("lock", ["gpu", "dev", "model-server", "model-server-keras", "tracking-server"])
def test_locks_agree_on_the_versions_they_share(repository: Path, lock: str) -> None:
    cpu, other = pins(repository, "cpu"), pins(repository, lock)
    shared = cpu.keys() & other.keys()
    assert shared
    assert {name: other[name] for name in shared} == {name: cpu[name] for name in shared}


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("cpu", ["cpu", "model-server"]),
        ("gpu", ["gpu", "model-server"]),
        ("dev", ["dev"]),
        ("model-server", ["model-server"]),
        ("model-server-keras", ["model-server", "model-server-keras"]),
        ("tracking-server", ["tracking-server"]),
    ],
)
def test_a_lock_holds_what_pyproject_asks_for(repository: Path, lock: str, extras: list[str]) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    asked = [line for extra in extras for line in project["optional-dependencies"][extra]]
    asked += project["dependencies"] if lock in {"cpu", "gpu"} else []
    names = {re.split(r"[\[<>=~!; ]", line)[0].lower().replace("_", "-") for line in asked}
    assert names <= pins(repository, lock).keys()


def test_the_model_servers_image_gets_no_tensorflow(repository: Path) -> None:
    found = pins(repository, "model-server").keys()
    assert not found & {"tensorflow", "tensorflow-cpu", "keras", "mlflow", "optuna"}


def stages(repository: Path) -> dict[str, list[str]]:
    """The Dockerfile's stages by name, in their order: what each begins from, and its lines."""
    text = (repository / "services" / "model_server" / "Dockerfile").read_text()
    found: dict[str, list[str]] = {}
    lines: list[str] = []  # what is before the first stage
    for line in text.splitlines():
        begin = re.fullmatch(r"FROM (\S+) AS (\S+)", line)
        if begin is not None:
            lines = found[begin[2]] = [begin[1]]
        elif line and not line.startswith("#"):
            lines.append(line)
    return found


def test_the_model_servers_image_is_built_without_tensorflow_unless_it_is_asked_for(repository: Path) -> None:
    found = stages(repository)

    assert list(found) == ["base", "onnx", "keras", "default"]  # a build without --target makes the last one
    assert found["default"] == ["onnx"]
    copied = {name: {line.split()[1] for line in lines if line.startswith("COPY")} for name, lines in found.items()}
    assert copied["base"] == set()
    assert copied["onnx"] - copied["keras"] == {"requirements/model-server.txt"}
    assert copied["keras"] - copied["onnx"] == {"requirements/model-server-keras.txt"}
    for name in ("keras", "onnx"):
        assert found[name][0] == "base"
        assert any("install --require-hashes --no-deps -r /tmp/lock.txt" in line for line in found[name])
        assert "USER regatta" in found[name]


def test_the_keras_image_has_all_that_the_other_has_in_the_same_versions(repository: Path) -> None:
    keras, onnx = pins(repository, "model-server-keras"), pins(repository, "model-server")

    assert onnx.items() <= keras.items()
    assert {"tensorflow-cpu", "keras"} <= keras.keys()
    assert keras["keras"] == pins(repository, "cpu")["keras"]
