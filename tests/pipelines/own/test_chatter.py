"""What is heard while a user's module is imported, in a process of its own: it is about the real standard error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHATTER = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795804951.004470   16353 port.cc:153] oneDNN custom operations are on. You may see slightly
I0000 00:00:1795804951.326997   16353 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use
To enable the following instructions: AVX2 AVX512F AVX512_VNNI AVX512_BF16 FMA, in other operations, rebuild
"""
SAID = """\
I found 3 files.
W0000 00:00:1795804951.004470   16353 gpu_device.cc:2431] Cannot dlopen some GPU libraries.
"""


def imported(folder: Path, module: str, call: str = "load('mine:name')") -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(module)
    script = f"import sys\nsys.path.insert(0, {str(folder)!r})\nfrom pipelines.own.code import load\n{call}\n"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_what_a_module_says_is_shown_and_what_tensorflow_chatters_is_not(tmp_path: Path) -> None:
    module = (
        f"import os, sys\nos.write(2, {(CHATTER + SAID).encode()!r})\nprint('by print', file=sys.stderr)\nname = 1\n"
    )

    ran = imported(tmp_path, module, "load('mine:name')\nprint('after', file=sys.stderr)")

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == f"{SAID}by print\nafter\n"


def test_what_a_module_said_before_it_failed_is_shown(tmp_path: Path) -> None:
    ran = imported(tmp_path, f"import os\nos.write(2, {(CHATTER + SAID).encode()!r})\nname = 1 / 0\n")

    assert ran.stderr.startswith(SAID)
    assert "cannot be imported: ZeroDivisionError" in ran.stderr
    assert "oneDNN" not in ran.stderr


@pytest.mark.parametrize(
    "trouble",
    [
        "import os\nos.close(2)",
        "import tempfile\ndef full(): raise OSError(28, 'No space left on device')\ntempfile.TemporaryFile = full",
    ],
    ids=["nobody listens", "the disk is full"],
)
def test_a_module_is_imported_all_the_same_where_nothing_can_be_kept_back(tmp_path: Path, trouble: str) -> None:
    assert imported(tmp_path, "name = 7\n", f"{trouble}\nprint(load('mine:name'))").stdout == "7\n"


def test_the_real_library_is_imported_in_silence(tmp_path: Path) -> None:
    ran = imported(tmp_path, "import keras\nname = keras.__version__\n", "print(load('mine:name')[0])")

    assert (ran.stdout, ran.stderr) == ("3\n", "")
