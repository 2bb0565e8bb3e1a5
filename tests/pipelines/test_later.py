from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipelines.later import imported_later
from pipelines.worker import environment

WORKER = """
import sys
from pipelines.readying import get_ready, modules_for
get_ready(modules_for(lanes=True), "")
import keras
print(sorted({"matplotlib", "sklearn"} & sys.modules.keys()))
print(keras.wrappers.SKLearnClassifier.__name__, keras.visualization.plot_image_gallery.__name__)
print(sorted({"matplotlib", "sklearn"} & sys.modules.keys()))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a module that tells in a file that it was loaded."""
    name = f"made_up_{tmp_path.name}".replace("-", "_")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(f"from {name} import seldom\n")
    told = f"from pathlib import Path\nPath({str(tmp_path / 'loaded')!r}).touch()\nVALUE = 7\n"
    (folder / "seldom.py").write_text(told)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_module_that_is_seldom_used_is_loaded_when_it_is(package: str, tmp_path: Path) -> None:
    with imported_later([f"{package}.seldom"]):
        made: Any = import_module(package)
    before = (tmp_path / "loaded").exists()

    assert made.seldom.VALUE == 7
    assert not before
    assert (tmp_path / "loaded").exists()


def test_to_look_for_the_source_of_a_function_loads_nothing_that_was_put_off(package: str, tmp_path: Path) -> None:
    with imported_later([f"{package}.seldom"]):
        made: Any = import_module(package)
    exec(compile("def made_up(): pass", str(tmp_path / "nowhere.py"), "exec"), found := {"__name__": "nowhere"})

    with pytest.raises(OSError, match="source code"):
        inspect.getsource(found["made_up"])  # type: ignore[arg-type]
    assert not (tmp_path / "loaded").exists()
    assert sys.modules[f"{package}.seldom"].__file__ == str(tmp_path / package / "seldom.py")
    assert not (tmp_path / "loaded").exists()
    assert made.seldom.VALUE == 7


def test_outside_of_the_block_everything_is_loaded_at_once(package: str, tmp_path: Path) -> None:
    finders = list(sys.meta_path)
    with imported_later([f"{package}.seldom"]):
        pass
    import_module(package)

    assert (tmp_path / "loaded").exists()
    assert sys.meta_path == finders


def test_a_worker_imports_nothing_for_keras_wrappers_and_galleries_and_has_them_all_the_same() -> None:
    environ = environment(1, None) | {"PATH": "", "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", WORKER], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "[]",
        "SKLearnClassifier plot_image_gallery",
        "['matplotlib', 'sklearn']",
    ]
