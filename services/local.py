"""The stack without containers: `python -m services.local up|down|status [tracking_server] [model_server]`.

State, logs and pid files live under `REGATTA_HOME`. Progress goes to standard error, the result to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from services.asking import answers
from services.awaited_models import await_models
from services.model_server.settings import Settings as ServerSettings
from services.model_server.settings import flag_of, unknown_variables, variable_of
from services.processes import LocalError, PortTakenError, Service, Stack
from services.started_stack import StartedStack, noted
from services.tracking_server.settings import ARTIFACT_ROOT, shown
from services.tracking_server.stores import StoreError, files_of, get_ready, records_of

TRACKING, MODEL = "tracking_server", "model_server"


def service_table(environ: Mapping[str, str]) -> dict[str, Service]:
    """The services in the order in which they start: the model server needs the tracking server."""
    tracking = Service(
        name=TRACKING,
        port_variable="MLFLOW_PORT",
        default_port=5000,
        health="/health",
        ready="/api/2.0/mlflow/experiments/search?max_results=1",  # answered when the tables are there
        host="127.0.0.1",
        command=partial(_tracking_command, environ),
        environment=partial(_tracking_environment, environ),
        settings=("MLFLOW_", "AWS_"),
    )
    model = Service(
        name=MODEL,
        port_variable="MODEL_SERVER_PORT",
        default_port=8080,
        health="/livez",
        ready="/livez",
        host=environ.get("MODEL_SERVER_HOST") or "127.0.0.1",
        command=lambda _home, _host, _port: [sys.executable, "-m", "services.model_server"],
        environment=lambda home, host, port: {
            "REGATTA_HOME": str(home),
            "MODEL_SERVER_HOST": host,
            "MODEL_SERVER_PORT": str(port),
            "MLFLOW_TRACKING_URI": tracking_address(home, environ, tracking),
            "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime would tell its makers about every model
        },
        settings=("MODEL_SERVER_", "MLFLOW_TRACKING_"),
    )
    return {TRACKING: tracking, MODEL: model}


def tracking_address(home: Path, environ: Mapping[str, str], tracking: Service) -> str:
    """The user's MLFLOW_TRACKING_URI, else where the local server runs, else where it would."""
    if environ.get("MLFLOW_TRACKING_URI"):
        return environ["MLFLOW_TRACKING_URI"]
    started = Stack(home, {}, environ, _say).read(TRACKING)
    return started.address if started and started.process() else tracking.address(tracking.port(environ))


def _tracking_command(environ: Mapping[str, str], home: Path, host: str, port: int) -> list[str]:
    """Runs MLflow's application in uvicorn, as `mlflow server` does, but without `mlflow server` waiting beside it.

    That command imports MLflow, looks at the store, and starts this one, which does both again: 4.8 s to the first
    answer instead of 2.6 s, and twice the memory. `_tracking_environment` is what it would hand over.
    """
    trouble = get_ready(environ, home)
    if trouble is not None:
        _say(trouble)
    command = [sys.executable, "-m", "uvicorn", "services.tracking_server.app:app", "--host", host, "--port", str(port)]
    return [*command, "--workers", "1", "--no-access-log"]


def _tracking_environment(environ: Mapping[str, str], home: Path, _host: str, _port: int) -> dict[str, str | None]:
    store = records_of(environ, home)
    return {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": ARTIFACT_ROOT,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": files_of(environ, home),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # only its features for language models have jobs
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": None,
        "MLFLOW_LOGIN": None,  # this one is this machine's alone
        "PYTHONWARNINGS": "ignore",
    }


def main(arguments: Sequence[str] | None = None, table: Mapping[str, Service] | None = None) -> int:
    """Runs one command; its exit code: 0 done, 1 a service failed, 2 the call, a port or a database is wrong.

    Args:
        arguments: The command line, `sys.argv[1:]` by default.
        table: The services, where others than Regatta's are meant.
    """
    environ = dict(os.environ)
    home = Path(environ.get("REGATTA_HOME") or ".regatta").absolute()
    services = table if table is not None else service_table(environ)
    parser = _parser(services)
    options, flags = parser.parse_known_args(arguments)
    if flags:
        parser.error(_unknown_flag(flags[0]))
    unknown = [name for name in options.services if name not in services]
    if unknown:  # `choices` cannot say this of a list that may be empty
        parser.error(f"there is no service {', '.join(unknown)}; there are {', '.join(services)}")
    names = [name for name in services if name in options.services] or list(services)
    stack = Stack(home, services, environ, _say)
    contained = {} if options.verb == "down" else _in_containers(home, names)
    try:
        if options.verb == "up":
            if not options.services and _tracking_is_elsewhere(services, environ):
                names.remove(TRACKING)
                _say(f"MLFLOW_TRACKING_URI is {shown(environ['MLFLOW_TRACKING_URI'])}: no tracking server is started.")
            names = [name for name in names if name not in contained]
            for name, state in contained.items():
                _say(f"{name} runs in a container, at {state['address']}.")
            for sentence in unknown_variables(environ) if MODEL in names else ():
                _say(sentence)
            started = stack.up(names, wait=not options.no_wait)
            if MODEL in names and MODEL in services and not options.no_wait:
                address = str(stack.status([MODEL])[MODEL]["address"])
                # One that runs already has heard nothing yet of a registry that came a moment ago.
                new = TRACKING in started
                await_models(address, environ.get("MODEL_SERVER_API_KEY"), _say, new_registry=new)
        elif options.verb == "down":
            stopped = stack.down(names)
            if not stopped:
                _say("Nothing to stop.")
        _print({**stack.status(names), **contained}, as_json=options.json)
    except (PortTakenError, StoreError) as error:
        _say(str(error))
        return 2
    except LocalError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("Interrupted. What was started goes on; `make down-local` stops it.")
        return 130
    return 0


def _unknown_flag(flag: str) -> str:
    """Says what to do about a flag that this command has not: the services have theirs as variables."""
    name = flag.partition("=")[0]
    field = next((field for field in ServerSettings.model_fields if flag_of(field) == name), None)
    if field is None:
        return f"there is no flag {name}"
    return (
        f"there is no flag {name} here; the model server takes it as a variable: make up-local {variable_of(field)}=…"
    )


def _tracking_is_elsewhere(services: Mapping[str, Service], environ: Mapping[str, str]) -> bool:
    """Whether the user named a tracking server that is not the local one."""
    uri = (environ.get("MLFLOW_TRACKING_URI") or "").rstrip("/")
    if not uri or TRACKING not in services:
        return False
    own = services[TRACKING].address(services[TRACKING].port(environ))
    return uri not in {own, own.replace("127.0.0.1", "localhost")}


def _in_containers(home: Path, names: Sequence[str]) -> dict[str, dict[str, object]]:
    """Those of the named services that `make up` has started from here, as far as they answer now."""
    stack: StartedStack | None = noted(home)
    if stack is None:
        return {}
    found: dict[str, dict[str, object]] = {}
    for name, address, health in (
        (TRACKING, stack.tracking_server, "/health"),
        (MODEL, stack.model_server, "/livez"),
    ):
        if name in names and answers(address, health):
            log = f"docker compose logs {name}"
            found[name] = {"state": "running in a container", "address": address, "pid": None, "log": log}
            if name == TRACKING and stack.login:
                found[name]["settings"] = stack.settings
    return found


def _parser(services: Mapping[str, Service]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.local",
        description="Runs Regatta's services on this machine, without containers; state is under REGATTA_HOME.",
        epilog="; ".join(
            f"{service.name}: port {service.default_port}, changed by {service.port_variable}"
            for service in services.values()
        ),
    )
    parser.add_argument("verb", choices=["up", "down", "status"], help="start, stop, or tell what runs")
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=f"of {', '.join(services)}; all by default")
    parser.add_argument("--no-wait", action="store_true", help="up: do not wait until the services answer")
    parser.add_argument("--json", action="store_true", help="print the state as one JSON object")
    return parser


def _print(states: Mapping[str, Mapping[str, object]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"services": states}))
        return
    for name, state in states.items():
        process = f"pid {state['pid']}, log {state['log']}" if state["pid"] else state["log"]
        where = f" at {state['address']} ({process})" if state["address"] else ""
        print(f"{name}: {state['state']}{where}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
