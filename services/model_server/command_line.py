"""The command line: a flag for every setting, but for the key, which others could read in the list of processes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from services.model_server.settings import MEANINGS, Settings, flag_of, variable_of

_SECRET = {"api_key"}


def read_flags(arguments: Sequence[str]) -> dict[str, str]:
    """Reads the command line; with `--help` it prints what there is and ends the process.

    Returns:
        Field of `Settings` to the text that was given for it. Texts are checked where the environment is.
    """
    parser = argparse.ArgumentParser(
        prog="python -m services.model_server",
        description="Serves the models that MLflow's registry names, in four dialects on one port.",
        epilog=f"{variable_of('api_key')} has no flag: other users of the machine can read a command line.",
        allow_abbrev=False,
    )
    for name, field in Settings.model_fields.items():
        if name in _SECRET:
            continue
        default = shown_default(name, field.default)
        meaning = f"{MEANINGS.get(name, name)} ({variable_of(name)}{f', default {default}' if default else ''})"
        parser.add_argument(flag_of(name), dest=name, metavar="VALUE", help=meaning.replace("%", "%%"))
    return {name: text for name, text in vars(parser.parse_args(arguments)).items() if text is not None}


def shown_default(name: str, default: object) -> str:
    """Returns a default as one would write it in the environment; "" where none is set."""
    if name == "models":
        return "*"
    if name == "cache":
        return "$REGATTA_HOME/models"
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)
