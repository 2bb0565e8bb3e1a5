"""Calls that cannot work, for a reason outside of Regatta: one sentence each, and no traceback."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.sites import DIGITS, Site


def test_a_port_in_use_is_one_sentence(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.port))
        taken.listen()
        done = site.run("sweep", DIGITS)

    assert done.returncode == 2
    assert str(site.port) in done.stderr
    assert "MLFLOW_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_data_set_is_one_sentence(site: Site, tmp_path: Path) -> None:
    done = site.run("sweep", "configs/sweeps/fashion_mnist.yaml", REGATTA_DATA=str(tmp_path), KERAS_HOME=str(tmp_path))

    assert done.returncode == 2
    assert "train-images-idx3-ubyte.gz" in done.stderr
    assert "REGATTA_DATA" in done.stderr
    assert "Traceback" not in done.stderr
