"""The shape of the package: imports run downwards only, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import batch_scoring

PACKAGE = Path(batch_scoring.__file__).resolve().parent

FLOORS = (
    {"__main__"},
    {"cli", "api"},
    {"demo", "web"},
    {"scheduling"},
    {"sinks"},
    {"operations", "registry", "monitoring"},
    {"scoring"},
    {"mlflow"},
    {"model", "store"},
    {"files", "settings", "domain", "login"},
    {"__init__", "counting", "printable", "errors", "resources"},
)
"""From the top down. A package imports from floors below its own, and no two of a floor import each other."""

STORE_FLOORS = (
    {"job_models"},
    {"mlflow"},
    {"outcomes", "registry"},
    {"lifecycle"},
    {"drift", "feedback"},
    {"runs"},
    {"due"},
    {"schema"},
    {"source"},
    {"bulk"},
    {"engine"},
    {"__init__"},
)
"""The rooms of the store, from the top down."""

FLOOR_OF = {name: number for number, floor in enumerate(FLOORS) for name in floor}
STORE_FLOOR_OF = {name: number for number, floor in enumerate(STORE_FLOORS) for name in floor}

HEAVY = {"sklearn", "pandas", "pyarrow", "alembic"}
MAY_BE_HEAVY = {
    "demo/synthetic.py",
    "files/buffers.py",
    "files/columns.py",
    "files/csv_table.py",
    "files/frame.py",
    "model/artifact.py",
    "model/bisection.py",
    "model/coercion.py",
    "model/columns.py",
    "model/describe.py",
    "model/features.py",
    "model/importance.py",
    "model/inputs.py",
    "model/kinds.py",
    "model/outputs.py",
    "model/profiling.py",
    "model/proof.py",
    "model/scorer.py",
    "model/signature.py",
    "model/training.py",
    "model/training_data.py",
    "model/translation/encoders.py",
    "model/evaluation.py",
    "model/scorecard.py",
    "model/values.py",
    "store/bulk/binary.py",
    "store/bulk/packed.py",
    "store/bulk/postgresql.py",
    "store/bulk/sqlite.py",
    "store/source/load_values.py",
    "store/source/loading.py",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """One module imported by another."""

    line: int
    target: str
    """Its dotted name."""
    at_module_level: bool
    """It is loaded as soon as the importing module is."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part_of(path: Path) -> str:
    """The first-level module or subpackage that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def is_type_checking(node: ast.If) -> bool:
    return "TYPE_CHECKING" in {getattr(name, "id", getattr(name, "attr", "")) for name in ast.walk(node.test)}


def imports(source: str, package: str = "batch_scoring") -> Iterator[Import]:
    """Every import of a module, those inside functions and for type checking included.

    ``package`` is the dotted name of the package that relative imports start from.
    """

    def visit(node: ast.AST, at_module_level: bool) -> Iterator[Import]:
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import module` imports the module too
            targets = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        for target in targets:
            yield Import(line=node.lineno, target=target, at_module_level=at_module_level)  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_module_level = False
        if isinstance(node, ast.If) and is_type_checking(node):
            for checked in node.body:
                yield from visit(checked, False)
            for run in node.orelse:
                yield from visit(run, at_module_level)
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_module_level)

    yield from visit(ast.parse(source), True)


def imports_of(path: Path) -> Iterator[Import]:
    package = ".".join(["batch_scoring", *path.relative_to(PACKAGE).parent.parts])
    return imports(path.read_text(encoding="utf-8"), package)


def parts_imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and first-level part of every import from the package itself."""
    for found in imports_of(path):
        root, _, rest = found.target.partition(".")
        if root == "batch_scoring":
            name = rest.partition(".")[0]
            is_part = name and ((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file())
            yield found.line, name if is_part else "__init__"


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import sklearn
from pandas import DataFrame
if TYPE_CHECKING:
    import pyarrow
try:
    import alembic.config
except ImportError:
    pass
class C:
    import json
    def f(self):
        from ..store import runs
        from .manifest import Manifest
"""
    found = {(one.target, one.at_module_level) for one in imports(source, "batch_scoring.model")}

    assert {
        ("sklearn", True),
        ("pandas", True),
        ("pandas.DataFrame", True),
        ("pyarrow", False),
        ("alembic.config", True),
        ("json", True),
        ("batch_scoring.store", False),
        ("batch_scoring.store.runs", False),
        ("batch_scoring.model.manifest", False),
    } <= found


def test_the_package_is_where_it_is_looked_for() -> None:
    places = {place(path) for path in modules()}

    assert places >= MAY_BE_HEAVY
    assert "cli/app.py" in places


def rooms_imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import of the store from itself."""
    for found in imports_of(path):
        prefix, _, rest = found.target.partition("batch_scoring.store.")
        if not prefix and rest:
            yield found.line, rest.partition(".")[0]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE / "store").with_suffix("").parts[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(["batch_scoring", *parts]).removesuffix(".__init__")


def import_graph(paths: list[Path]) -> dict[str, set[str]]:
    """The modules that each module imports, those inside functions and for type checking included."""
    names = {module_name(path) for path in paths}
    graph = {}
    for path in paths:
        targets = {found.target for found in imports_of(path)}
        modules_imported = {target for target in targets if target in names}
        # `from package import module` names the package, too, which imports nothing of its own modules
        packages = {target.rpartition(".")[0] for target in modules_imported}
        graph[module_name(path)] = modules_imported - packages - {module_name(path)}
    return graph


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or not."""

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += graph[name]
        return found

    reached = {name: reachable(name) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return sorted(sorted(group) for group in groups if group)


def test_a_cycle_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}}) == []


def test_every_module_has_a_floor() -> None:
    assert {part_of(path) for path in modules()} <= FLOOR_OF.keys()
    assert {room_of(path) for path in (PACKAGE / "store").rglob("*.py")} <= STORE_FLOOR_OF.keys()


def test_imports_run_downwards_only() -> None:
    upward = [
        f"{place(path)}:{line} imports {part}"
        for path in modules()
        for line, part in parts_imported(path)
        if part != part_of(path) and FLOOR_OF[part] <= FLOOR_OF[part_of(path)]
    ]

    assert upward == []


def test_imports_of_the_store_run_downwards_only() -> None:
    upward = [
        f"{place(path)}:{line} imports store/{room}"
        for path in (PACKAGE / "store").rglob("*.py")
        for line, room in rooms_imported(path)
        if room != room_of(path) and STORE_FLOOR_OF[room] <= STORE_FLOOR_OF[room_of(path)]
    ]

    assert upward == []


def test_no_modules_import_one_another() -> None:
    assert cycles(import_graph(modules())) == []


def test_model_and_store_never_import_each_other() -> None:
    other = {"model": "store", "store": "model"}

    crossing = [
        f"{place(path)}:{line} imports {part}"
        for path in modules()
        for line, part in parts_imported(path)
        if other.get(part_of(path)) == part
    ]

    assert crossing == []


def test_model_and_store_meet_above_both_of_them() -> None:
    meeting = {part_of(path) for path in modules() if {"model", "store"} <= {part for _, part in parts_imported(path)}}

    assert meeting <= {"mlflow", "scoring", "operations", "registry", "monitoring"}


def test_only_the_entry_points_import_the_command_line() -> None:
    importing = {part_of(path) for path in modules() if "cli" in {part for _, part in parts_imported(path)}}

    assert importing <= {"cli", "__main__"}


@pytest.mark.parametrize(
    ("part", "foreign"),
    [("model", {"sqlalchemy", "alembic", "psycopg2"}), ("store", {"sklearn", "joblib", "skops", "pandas"})],
)
def test_model_knows_no_sql_and_store_no_scikit_learn(part: str, foreign: set[str]) -> None:
    found = [
        f"{place(path)}:{one.line} imports {one.target}"
        for path in modules()
        if part_of(path) == part
        for one in imports_of(path)
        if one.target.partition(".")[0] in foreign
    ]

    assert found == []


def test_heavy_libraries_are_imported_at_module_level_in_few_places() -> None:
    heavy = [
        f"{place(path)}:{one.line} imports {one.target}"
        for path in modules()
        if place(path) not in MAY_BE_HEAVY
        for one in imports_of(path)
        if one.at_module_level and one.target.partition(".")[0] in HEAVY
    ]

    assert heavy == []


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in memory after a statement in a fresh interpreter."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["batch_scoring.cli.app", "batch_scoring.__main__"])
def test_the_command_line_loads_no_heavy_library(module: str) -> None:
    loaded = loaded_by(f"import {module}")

    assert "batch_scoring" in loaded
    assert not loaded & {"sklearn", "pandas", "sqlalchemy", "pyarrow", "alembic", "numpy", "scipy", "joblib"}


def test_job_and_settings_load_no_heavy_library() -> None:
    loaded = loaded_by("import batch_scoring.domain.job_files, batch_scoring.settings, batch_scoring.domain.manifest")

    assert not loaded & {"sklearn", "pandas", "sqlalchemy", "pyarrow", "alembic", "numpy", "scipy", "joblib", "typer"}


def test_the_runner_loads_no_scikit_learn_before_something_is_due() -> None:
    loaded = loaded_by("import batch_scoring.scoring.runner")

    assert "sqlalchemy" in loaded
    assert not loaded & {"sklearn", "pandas", "pyarrow", "alembic"}


def test_no_module_is_named_after_nothing_in_particular() -> None:
    nothing = {"util", "utils", "helper", "helpers", "common", "base", "manager", "managers", "misc"}

    assert [place(path) for path in PACKAGE.rglob("*") if path.stem.lower().strip("_") in nothing] == []
