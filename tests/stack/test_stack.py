"""The stack in containers: from a clean clone to a champion that answers, and on, whichever container is killed."""

from __future__ import annotations

import base64
import io
import json
import re
import stat
import urllib.error
import urllib.request
from typing import Any

import pytest

from services import env_file
from services.tracking_server.bulk_forms import PROTOCOL
from tests.sites import Site
from tests.stack.composed import PROJECT, Composition, docker, ports_of

SERVICES = ("postgres", "tracking_server", "model_server")
SMALL = ("--trials", "4", "--set", "epochs=4", "--set", "pruner=none")
# one after another, each to its last epoch, and for long enough that something can be killed beneath it
LONG = ("--trials", "8", "--lanes", "off", "--workers", "1", *(
    word
    for setting in ("epochs=40", "pruner=none", "search_space.callbacks.early_stopping.patience=[100]")
    for word in ("--set", setting)
))  # fmt: skip


@pytest.fixture(scope="module")
def swept(stack: Composition, sweep_image: str) -> dict[str, Any]:
    """What a small sweep in the stack says of itself."""
    return stack.sweep(*SMALL)


def get(address: str, body: bytes | None = None, **headers: str) -> Any:
    request = urllib.request.Request(address, body, {name.replace("_", "-"): value for name, value in headers.items()})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def await_served(stack: Composition, name: str, version: str) -> None:
    def served() -> bool:
        models = get(f"{stack.model_server}/models")["models"]
        return any(model["name"] == name and str(model["version"]) == str(version) for model in models)

    stack.until(served, f"{name} version {version} is served")


def trials_in_optuna(stack: Composition, study: str) -> dict[str, int]:
    """How many trials of a study are in which state; in a database its name has a mark of its folder behind it."""
    told = stack.query(
        "optuna",
        "SELECT state, count(*) FROM regatta.trials JOIN regatta.studies USING (study_id) "
        f"WHERE study_name LIKE '{study}-%' GROUP BY state",
    )
    return {state: int(count) for state, count in (line.split("|") for line in told)}


def assert_whole(stack: Composition, study: str, trials: int, epochs: int) -> None:
    """Exactly these trials in Optuna and in MLflow, all closed, each with every epoch of its curve once."""
    assert trials_in_optuna(stack, study) == {"COMPLETE": trials}
    runs = stack.runs(study)
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == trials
    assert {run.info.status for run in runs} == {"FINISHED"}
    client = stack.client()
    for run in children:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_loss")]
        assert steps == list(range(epochs)), run.info.run_name


def test_make_up_writes_secrets_that_its_owner_alone_reads(stack: Composition) -> None:
    path = stack.folder / ".env"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = env_file.read(path)
    assert set(env_file.SECRETS) <= set(made)
    assert len({made[name] for name in env_file.SECRETS}) == len(env_file.SECRETS)
    ignored = docker("image", "inspect", stack.image("tracking_server")).stdout
    assert not [name for name in env_file.SECRETS if made[name] in ignored]


def test_everything_is_healthy_by_itself_and_on_this_machine_alone(stack: Composition) -> None:
    for service in SERVICES:
        assert stack.health(service) == "healthy"
        assert ports_of(stack.inspect(stack.container(service))) <= {"127.0.0.1"}
    assert ports_of(stack.inspect(stack.container("postgres"))) == set()


@pytest.mark.parametrize("service", ["tracking_server", "model_server"])
def test_a_container_is_nobody_and_can_change_nothing_but_its_volume(stack: Composition, service: str) -> None:
    name = stack.container(service)

    assert docker("exec", name, "id", "-u").stdout.strip() == "10001"
    for path in ("/etc/mine", "/srv/regatta/mine", "/opt/venv/mine"):
        done = docker("exec", name, "touch", path, check=False)
        assert done.returncode != 0
        assert re.search("Read-only file system|Permission denied", done.stderr)
    told = stack.inspect(name)["HostConfig"]
    assert told["ReadonlyRootfs"] is True
    assert told["CapDrop"] == ["ALL"]


@pytest.mark.parametrize("service", [*SERVICES])
def test_an_image_says_what_it_is(stack: Composition, service: str) -> None:
    labels = json.loads(docker("image", "inspect", stack.image(service)).stdout)[0]["Config"]["Labels"]

    assert labels["org.opencontainers.image.title"].startswith("Regatta: ")
    if service != "postgres":
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert labels["org.opencontainers.image.version"] == "0.1.0"


def test_the_model_server_adds_less_than_300_mb_to_its_base(stack: Composition, base_image: str) -> None:
    sizes = [int(docker("image", "inspect", "--format", "{{.Size}}", name).stdout) for name in
             (base_image, stack.image("model_server"))]  # fmt: skip

    assert sizes[1] - sizes[0] < 300e6


def test_the_tracking_server_has_its_bulk_door_open_and_knows_its_names(stack: Composition) -> None:
    assert get(f"{stack.server}/api/2.0/mlflow/regatta/records")["protocol"] == PROTOCOL

    asked = (
        "import urllib.request, sys\n"
        "for name in ('tracking_server', 'mlflow'):\n"
        "    print(urllib.request.urlopen(f'http://{name}:5000/api/2.0/mlflow/experiments/search?max_results=1').status)"
    )
    told = docker("exec", stack.container("model_server"), "python", "-c", asked)
    assert told.stdout.split() == ["200", "200"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(f"{stack.server}/api/2.0/mlflow/experiments/search?max_results=1", Host="evil.example")


def test_a_sweep_inside_is_whole_in_optuna_and_mlflow(stack: Composition, swept: dict[str, Any]) -> None:
    assert swept["registered"]["alias"] == "champion"
    assert swept["address"].startswith(f"{stack.server}/#/experiments/")
    assert_whole(stack, "digits", 4, 4)


def test_the_champion_answers_pixels_and_pictures(stack: Composition, swept: dict[str, Any]) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    await_served(stack, "digits", swept["registered"]["version"])

    told = get(
        f"{stack.model_server}/v1/models/digits:predict",
        json.dumps({"instances": digits.images[:20].tolist()}).encode(),
    )["predictions"]
    assert len(told) == 20
    assert all(len(row) == 10 and abs(sum(row) - 1) < 1e-3 for row in told)

    picture = io.BytesIO()
    Image.fromarray((digits.images[0] / 16 * 255).astype("uint8")).resize((64, 64)).save(picture, "PNG")
    answer = get(f"{stack.model_server}/predict/digits", picture.getvalue(), content_type="image/png")
    assert answer["prediction"]["label"] in {str(digit) for digit in range(10)}


def test_a_sweep_on_this_machine_finds_the_tracking_server_of_the_stack(
    stack: Composition, swept: dict[str, Any]
) -> None:
    site = Site(stack.folder / ".regatta", stack.port, stack.model_port)

    summary = site.sweep(*SMALL, "--set", "study=outside")

    assert summary["address"].startswith(stack.server)
    assert {run.info.status for run in stack.runs("outside")} == {"FINISHED"}
    assert len(stack.runs("outside")) == 5


def test_killed_services_come_back_under_a_sweep_that_loses_nothing(stack: Composition, swept: dict[str, Any]) -> None:
    sweep = stack.begin_sweep(f"{PROJECT}_beneath", *LONG, "--set", "study=beneath")

    def epochs() -> int:
        told = docker("exec", sweep, "wc", "-l", "/state/studies/beneath/journal.jsonl", check=False)
        return int(told.stdout.split()[0]) if told.returncode == 0 else 0

    for number, service in enumerate(SERVICES):
        stack.until(lambda number=number: len(stack.runs("beneath")) > 2 + number, "trials run")  # type: ignore[misc]
        before = epochs()
        docker("kill", stack.container(service))
        assert stack.health(service) == "exited"
        if service != "postgres":  # for which a sweep waits
            stack.until(lambda before=before: epochs() > before + 20, "the sweep goes on without it")  # type: ignore[misc]
        assert stack.inspect(sweep)["State"]["Running"], stack.logs(sweep)
        docker("start", stack.container(service))
        stack.until_healthy(*SERVICES[: number + 1])
    assert stack.exit_code(sweep) == 0, stack.logs(sweep)
    stack.until_healthy(*SERVICES)

    assert_whole(stack, "beneath", 8, 40)
    version = stack.client().get_model_version_by_alias("beneath", "champion").version
    await_served(stack, "beneath", version)


def test_a_killed_sweep_goes_on_when_its_container_is_started_again(stack: Composition, swept: dict[str, Any]) -> None:
    sweep = stack.begin_sweep(f"{PROJECT}_killed", *LONG, "--set", "study=killed")
    stack.until(lambda: len(stack.runs("killed")) > 3, "trials run")

    docker("kill", sweep)
    assert "RUNNING" in {run.info.status for run in stack.runs("killed")}
    docker("start", sweep)

    assert stack.exit_code(sweep) == 0, stack.logs(sweep)
    assert_whole(stack, "killed", 8, 40)


def test_down_and_up_keep_everything(stack: Composition, swept: dict[str, Any]) -> None:
    before = {run.info.run_id: (run.info.status, run.data.metrics) for run in stack.runs("digits")}
    secrets = stack.secrets

    assert stack.make("down").returncode == 0
    assert docker("ps", "--quiet", "--all", "--filter", f"label=com.docker.compose.project={PROJECT}").stdout == ""
    done = stack.make("up")

    assert done.returncode == 0, done.stderr
    assert stack.secrets == secrets
    assert {run.info.run_id: (run.info.status, run.data.metrics) for run in stack.runs("digits")} == before
    assert trials_in_optuna(stack, "digits") == {"COMPLETE": 4}
    await_served(stack, "digits", swept["registered"]["version"])


def test_one_variable_switches_the_login_on_for_servers_and_clients(stack: Composition, swept: dict[str, Any]) -> None:
    records = f"{stack.server}/api/2.0/mlflow/regatta/records"
    done = stack.make("up", MLFLOW_LOGIN="on")
    assert done.returncode == 0, done.stderr
    assert "user admin" in done.stdout
    try:
        for address in (records, f"{stack.server}/api/2.0/mlflow/experiments/search?max_results=1", stack.server):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                get(address)
        assert (
            get(records, authorization=basic("admin", stack.secrets["MLFLOW_ADMIN_PASSWORD"]))["protocol"] == PROTOCOL
        )
        somebody = json.dumps({"username": "somebody", "password": "long-enough-to-be-one"}).encode()
        admin = {"authorization": basic("admin", stack.secrets["MLFLOW_ADMIN_PASSWORD"])}
        get(f"{stack.server}/api/2.0/mlflow/users/create", somebody, content_type="application/json", **admin)
        theirs = basic("somebody", "long-enough-to-be-one")
        assert get(f"{stack.server}/api/2.0/mlflow/experiments/search?max_results=1", authorization=theirs)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(records, authorization=theirs)

        inside = stack.sweep(*SMALL, "--set", "study=guarded")
        await_served(stack, "guarded", inside["registered"]["version"])
        site = Site(stack.folder / ".regatta", stack.port, stack.model_port)
        outside = site.sweep(*SMALL, "--set", "study=guarded_outside")
        assert outside["registered"]["alias"] == "champion"
        assert "problem" not in outside or outside["problem"] is None
    finally:
        assert stack.make("up").returncode == 0
    assert {run.info.status for name in ("guarded", "guarded_outside") for run in stack.runs(name)} == {"FINISHED"}


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
