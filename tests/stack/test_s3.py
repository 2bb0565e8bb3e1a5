"""Artifacts in S3, by configuration alone: a server that speaks it, and what befalls a bucket while a sweep runs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from services.asking import answers, read_json
from tests.end_to_end.test_foreign_clients import FOLDER, made_environment
from tests.faults.places import Place, made_place
from tests.faults.proxy import Fault, Proxy, Weather
from tests.faults.servers import Server
from tests.faults.watching import SweepAt
from tests.faults.whole import assert_whole
from tests.sites import free_port

EPOCHS = 6
FLAGS = ("--set", f"epochs={EPOCHS}", "--lanes", "off")
START_S = 60.0
DELAY_S = 0.4
KEYS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-somebody",
    "AWS_DEFAULT_REGION": "us-east-1",
}
NOBODY = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(1200)]  # boto3 and moto warn of themselves


class Bucket:
    """One bucket, as somebody with another client sees it; it can be taken away and brought back."""

    def __init__(self, address: str, name: str) -> None:
        import boto3

        self.address, self.name = address, name
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )

    def make(self) -> None:
        self._client.create_bucket(Bucket=self.name)

    def objects(self) -> dict[str, bytes]:
        listed = self._client.list_objects_v2(Bucket=self.name, MaxKeys=1000).get("Contents", ())
        return {
            each["Key"]: self._client.get_object(Bucket=self.name, Key=each["Key"])["Body"].read() for each in listed
        }

    def take_away(self) -> dict[str, bytes]:
        """Removes it, and returns what was in it."""
        taken: dict[str, bytes] = {}
        while True:
            found = self.objects()
            taken |= found
            for key in found:
                self._client.delete_object(Bucket=self.name, Key=key)
            with suppress(self._client.exceptions.ClientError):  # somebody has put another one in meanwhile
                self._client.delete_bucket(Bucket=self.name)
                return taken

    def bring_back(self, objects: dict[str, bytes]) -> None:
        self.make()
        for key, content in objects.items():
            if key not in self.objects():  # the sweep may have put a newer one there
                self._client.put_object(Bucket=self.name, Key=key, Body=content)


@pytest.fixture(scope="module")
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that speaks S3."""
    cache = getattr(request.config, "cache", None)
    folder = Path(cache.mkdir("foreign-clients")) if cache is not None else tmp_path_factory.mktemp("foreign-clients")
    python = made_environment(folder / "moto", FOLDER / "moto.txt")
    port, log = free_port(), tmp_path_factory.mktemp("s3") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(python), "-I", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=out, stderr=out
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(int(START_S / 0.1)):
            if answers(address, "/moto-api/"):
                break
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(log.read_text(errors="replace"))
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name.removeprefix("test_").replace("_", "-")[:50].strip("-")


@pytest.fixture
def bucket(s3: str, study: str) -> Bucket:
    made = Bucket(s3, study)
    made.make()
    return made


def settings(bucket: Bucket, address: str | None = None) -> dict[str, str]:
    where = {"MLFLOW_ARTIFACTS_DESTINATION": f"s3://{bucket.name}/artifacts"}
    return {**where, "MLFLOW_S3_ENDPOINT_URL": address or bucket.address, **NOBODY}


@pytest.fixture
def place(tmp_path: Path, study: str, bucket: Bucket) -> Iterator[Place]:
    """A fresh home whose own tracking server keeps its artifacts in the bucket."""
    with made_place(tmp_path / "home", study, {**settings(bucket), **KEYS}) as made:
        yield made


def delivered_whole(at: SweepAt, server: Server, trials: int) -> dict[str, Any]:
    summary = at.watched.summary()
    assert summary["journal"]["delivered"] == summary["journal"]["written"], at.watched.said
    runs = assert_whole(server, summary, trials, EPOCHS)
    ready = [model for model in server.models(summary["experiment_id"]) if model["status"] == "READY"]
    checkpoints = {model["source_run_id"] for model in ready if model["model_type"] == "checkpoint"}
    kept = {run.run_id for run in runs if "dropped" not in run.tags.get("regatta.checkpoint", "")}
    assert kept <= checkpoints, "a run has no whole checkpoint"
    assert "Traceback" not in at.watched.said
    return summary


def test_a_sweep_its_champion_and_the_model_server_live_from_a_bucket(
    place: Place, bucket: Bucket, tmp_path: Path
) -> None:
    at = place.begin("--trials", "3", *FLAGS)
    summary = delivered_whole(at, place.server, 3)

    assert not (place.site.home / "mlflow" / "artifacts").exists()
    objects = bucket.objects()
    checkpoint = place.site.checkpoint(summary["best"]["run_id"], tmp_path / "back").read_bytes()
    assert checkpoint in objects.values()
    assert all(key.startswith("artifacts/") for key in objects)
    assert summary["registered"]["alias"] == "champion"
    done = place.site.local("up", "model_server")
    assert done.returncode == 0, done.stderr
    (model,) = read_json(place.site.model_server, "/models")["models"]
    assert (model["name"], model["version"]) == (place.study, summary["registered"]["version"])


def test_a_bucket_that_is_gone_for_a_while_in_mid_sweep_costs_nothing(place: Place, bucket: Bucket) -> None:
    at = place.begin("--trials", "8", *FLAGS, "--no-promote")
    at.until(lambda: at.trials_over() >= 1 and bool(bucket.objects()))
    taken = bucket.take_away()
    at.watched.until(lambda lines: "NoSuchBucket" in "".join(lines))
    bucket.bring_back(taken)

    delivered_whole(at, place.server, 8)
    assert f"The server cannot reach its artifacts in s3://{bucket.name}/artifacts: " in at.watched.said
    assert taken.keys() <= bucket.objects().keys()


def test_without_credentials_all_is_kept_and_delivered_when_there_are_some(
    tmp_path: Path, study: str, bucket: Bucket
) -> None:
    home = tmp_path / "home"
    with made_place(home, study, settings(bucket)) as nobody:
        at = nobody.begin("--trials", "2", *FLAGS, "--no-promote")
        summary = at.watched.summary()
        assert summary["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
        assert summary["journal"]["delivered"] < summary["journal"]["written"]
        assert "Unable to locate credentials" in at.watched.said
        assert "Traceback" not in at.watched.said
    with made_place(home, study, {**settings(bucket), **KEYS}) as place:
        done = place.run("sync")
        assert done.returncode == 0, done.stdout + done.stderr
        delivered_whole(place.begin("--trials", "2", *FLAGS, "--no-promote"), place.server, 2)


def test_a_slow_bucket_does_not_slow_the_training(tmp_path: Path, study: str, bucket: Bucket) -> None:
    slow = Proxy(int(bucket.address.rpartition(":")[2]))
    slow.weather = Weather(Fault.SLOW, delay_s=DELAY_S)
    try:
        with made_place(tmp_path / "home", study, {**settings(bucket, slow.address), **KEYS}) as place:
            at = place.begin("--trials", "4", *FLAGS, "--no-promote")
            at.until(lambda: at.trials_over() == 4)
            assert slow.met[Fault.SLOW] > 0
            slow.weather = Weather()
            summary = delivered_whole(at, place.server, 4)
            runs = place.server.children(summary["experiment_id"], summary["parent_run_id"])
    finally:
        slow.close()

    each = [run.metrics["tracking_seconds"] for run in runs]
    assert max(each) < DELAY_S / 4, f"seconds of tracking, by trial: {each}"
