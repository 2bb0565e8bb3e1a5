"""A user's own code, named in a recipe as `module:name`: found, checked without running it, and imported."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import sysconfig
import tokenize
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, JsonValue

from pipelines.errors import ConfigError, Mistake
from pipelines.mistakes import did_you_mean
from pipelines.own.chatter import without_chatter


class OwnCodeError(ConfigError):
    """Code that a recipe names cannot be had; the message says why, and where in the code."""

    def __init__(self, message: str) -> None:
        """Takes the whole sentence."""
        super().__init__("own code", [Mistake("", message)])
        self.args = (message,)  # in a worker it is not true that nothing was started


def check(reference: str) -> str | None:
    """What is wrong with `reference`, as a sentence without its subject, or None; runs none of the user's code.

    A name that only running the module could show (`from x import *`, `__getattr__`, compiled code) counts as there.
    """
    module, colon, name = reference.partition(":")
    parts = module.split(".")
    well_formed = colon and name.isidentifier() and all(part.isidentifier() for part in parts)
    is_file = len(parts) > 1 and parts[-1] == "py"  # `my_code.py:make` is a slip: who has a package with a module `py`?
    if not well_formed or is_file:
        return f"must be module:name, such as my_code:make, got '{reference}'{_meant(reference)}"
    make_importable()
    if module in sys.modules:  # imported already, so its names are known
        return None if hasattr(sys.modules[module], name) else _no_such_name(module, name, vars(sys.modules[module]))
    try:
        spec, missing = _find(parts)
    except Exception as error:  # an import hook of somebody else's may raise anything
        return f"must name code that can be imported: looking for the module '{module}' failed ({_named(error)})"
    if spec is None:
        return (
            f"must name code that can be imported, but there is no module '{missing}' in {Path.cwd()} or among what is "
            f"installed{_beside(missing) or did_you_mean(missing, _neighbours())}"
        )
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        with tokenize.open(spec.origin) as file:  # in the encoding that the file declares
            tree = ast.parse(file.read())
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        return f"must name code that can be imported, but {spec.origin}{line} is no Python: {error.msg}"
    except (OSError, UnicodeError, ValueError) as error:
        return f"must name code that can be imported, but {spec.origin} cannot be read ({_named(error)})"
    names = set(_top_level(tree.body))
    if name in names or names & {"*", "__getattr__"}:
        return None
    return _no_such_name(spec.origin, name, names)


def load(reference: str) -> Any:
    """The object that `reference` names. Importing its module runs that module.

    Raises:
        OwnCodeError: There is no such module or name, or the module fails as it is imported.
    """
    module, _, name = reference.partition(":")
    wrong = check(reference)
    if wrong is not None:
        raise OwnCodeError(f"'{reference}' {wrong}.")
    try:
        with nullcontext() if "tensorflow" in sys.modules or module in sys.modules else without_chatter():
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise OwnCodeError(f"'{reference}' cannot be imported: {told(error)}.") from error
    try:
        return getattr(found, name)
    except AttributeError:
        raise OwnCodeError(f"'{reference}' {_no_such_name(module, name, vars(found))}.") from None


def told(error: BaseException) -> str:
    """An error of the user's code for a person: its type, its text, and where it came from."""
    return _named(error) + place_in_own_code(error)


def place_in_own_code(error: BaseException) -> str:
    """` (my_code.py, line 3)`: the last line of code outside of libraries; empty where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parents[1]
    libraries = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"), "<frozen")
    own = [
        frame
        for frame in frames
        if not any(word in frame.filename for word in libraries) and ours not in Path(frame.filename).parents
    ]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def make_importable() -> None:
    """Puts the current folder on the path, as `python -m` does: the program `regatta` and a worker lack it."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()  # a file written a moment ago counts


def source_of(module: str) -> Path | None:
    """The file of a module, found without importing it; None where it is no Python file, or not there."""
    make_importable()
    try:
        spec = getattr(sys.modules.get(module), "__spec__", None) or _find(module.split("."))[0]
    except Exception:  # an import hook of somebody else's may raise anything
        return None
    path = Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
    return path if path is not None and path.is_file() else None


_ELSEWHERE: ContextVar[bool] = ContextVar("own code may be elsewhere", default=False)


@contextmanager
def may_be_elsewhere() -> Iterator[None]:
    """Within it, recipes are read without looking for the code that they name.

    For a recipe that was checked when its study was run, and is read again by a verb that calls none of that code,
    maybe in another folder.
    """
    before = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(before)


def looked_for() -> bool:
    """Whether recipes are read with a look at the code that they name; see `may_be_elsewhere`."""
    return not _ELSEWHERE.get()


_RECIPE_FOLDER: ContextVar[Path | None] = ContextVar("folder of the recipe that is read", default=None)


@contextmanager
def named_in(folder: Path) -> Iterator[None]:
    """Within it, a module that is not to be found here and lies in `folder`, beside the recipe, is said to be there."""
    before = _RECIPE_FOLDER.set(folder.absolute())
    try:
        yield
    finally:
        _RECIPE_FOLDER.reset(before)


def _beside(module: str) -> str:
    """`; it is beside the recipe: …` where it is."""
    folder = _RECIPE_FOLDER.get()
    if folder is None:
        return ""
    place = folder.joinpath(*module.split("."))
    there = place.is_dir() or place.with_suffix(".py").is_file()
    return f"; it is beside the recipe, and is found by who starts in {folder}" if there else ""


def _checked(reference: str) -> str:
    wrong = check(reference) if looked_for() else None
    if wrong is not None:
        raise ValueError(wrong)
    return reference


Reference = Annotated[str, AfterValidator(_checked)]
"""A field of a spec that holds `module:name`; a recipe that names what is not there is refused when it is read."""

_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def _number(value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, dict):
        return {key: _number(item) for key, item in value.items()}
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


def _numbers(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {key: _number(value) for key, value in arguments.items()}


Arguments = Annotated[dict[str, JsonValue], AfterValidator(_numbers)]
"""What own code is called with, by name. YAML reads `1e-3` as text, and no schema says that a number is meant."""


def _find(parts: list[str]) -> tuple[ModuleSpec | None, str]:
    """The spec of a module, or None and the part that is missing. Unlike `find_spec`, it imports no parent package."""
    spec: ModuleSpec | None = None
    path: list[str] | None = None
    for count, part in enumerate(parts, 1):
        full = ".".join(parts[:count])
        folders = [str(Path(base, part)) for base in (sys.path if path is None else path) if Path(base, part).is_dir()]
        finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
        try:
            spec = next((found for finder in finders if (found := finder.find_spec(full, path, None))), None)
        except KeyError:
            if not folders:
                raise
            # a folder without __init__.py within another: Python asks for the parent, which is not imported yet
            spec = ModuleSpec(full, None, is_package=True)
        if spec is None:
            return None, full
        is_folder = spec.origin is None and spec.submodule_search_locations is not None
        path = folders if is_folder else list(spec.submodule_search_locations or ())
    return spec, ""


def _top_level(body: list[ast.stmt]) -> Iterator[str]:
    """Names that a module has once it is imported, as far as its text shows; `*` where it takes all of another's."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
            continue
        if isinstance(statement, ast.AnnAssign) and statement.value is None:
            continue  # `x: int` makes no name
        for node in _outside_functions(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.stmt) and node is not statement:  # in a branch, a loop, a `try`, a `with`
                yield from _top_level([node])


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and what is in it; a nested statement comes as it is, and what has a scope of its own stays closed."""
    yield node
    scopes = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif not isinstance(child, scopes):
            yield from _outside_functions(child)


def _no_such_name(where: str, name: str, names: Any) -> str:
    known = sorted(known for known in names if not known.startswith("_"))
    listed = f"; it has {', '.join(known[:10])}{', …' if len(known) > 10 else ''}" if known else ""
    return f"must name something at the top level of {where}, which has no '{name}'{did_you_mean(name, known)}{listed}"


def _meant(reference: str) -> str:
    """`; did you mean 'my_code:make'?` where the slip is plain: a path, or a dot for the colon."""
    module, colon, name = reference.partition(":")
    if not colon:
        module, _, name = reference.rpartition(".")
    better = module.removeprefix("./").removesuffix(".py").replace("/", ".")
    fits = name != "py" and name.isidentifier() and all(part.isidentifier() for part in better.split("."))
    return f"; did you mean '{better}:{name}'?" if fits else ""


def _neighbours() -> list[str]:
    """Modules and packages in the current folder."""
    return [
        path.stem
        for path in sorted(Path.cwd().iterdir())
        if (path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").exists())) and path.stem.isidentifier()
    ]


def _named(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
