"""The package map of ``docs/architecture.md`` is drawn from the imports of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from support import REPOSITORY, documented

import batch_scoring

PACKAGE = Path(batch_scoring.__file__).resolve().parent
DOCUMENT = REPOSITORY / "docs" / "architecture.md"

Graph = Mapping[str, frozenset[str]]


def package_graph() -> Graph:
    """The packages of the first level and those that each imports. Imports for type checking only do not count."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    graph: dict[str, set[str]] = {name: set() for name in packages}
    for name in packages:
        for file in (PACKAGE / name).rglob("*.py"):
            graph[name] |= set(imported(file.read_text(encoding="utf-8"))) & packages - {name}
    return {name: frozenset(targets) for name, targets in sorted(graph.items())}


def imported(source: str) -> Iterator[str]:
    """The packages of the first level that a module imports; every import in this package is an absolute one."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                yield from visit(statement)
            return
        if isinstance(node, ast.ImportFrom) and node.module == "batch_scoring":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("batch_scoring."):
            yield str(node.module).split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("batch_scoring."))
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(source))


def reachable(graph: Graph, start: str) -> set[str]:
    """What a package imports, directly or not."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of packages that import one another, directly or not."""
    found = {
        frozenset(other for other in graph if other in reachable(graph, name) and name in reachable(graph, other))
        for name in graph
    }
    return sorted(sorted(group) for group in found if group)


def floors(graph: Graph) -> list[list[str]]:
    """Packages from the top floor down: each as low as what it imports allows, those of a cycle together."""
    height: dict[str, int] = {}

    def height_of(name: str) -> int:
        if name not in height:
            group = {name, *(other for cycle in cycles(graph) if name in cycle for other in cycle)}
            below = {other for member in group for other in graph[member]} - group
            height.update(dict.fromkeys(group, 1 + max((height_of(other) for other in below), default=-1)))
        return height[name]

    found: dict[int, list[str]] = {}
    for name in graph:
        found.setdefault(height_of(name), []).append(name)
    return [sorted(found[number]) for number in sorted(found, reverse=True)]


def without_implied(graph: Graph) -> Graph:
    """The graph without the imports that follow from others."""
    return {
        name: frozenset(
            target
            for target in targets
            if not any(
                target in reachable(graph, other) and name not in reachable(graph, other)
                for other in targets - {target}
            )
        )
        for name, targets in graph.items()
    }


def package_map(graph: Graph) -> str:
    lines = ["```mermaid", "flowchart TB"]
    for number, names in enumerate(floors(graph)):
        lines += [f'  subgraph floor{number} [" "]', "    direction LR", *(f"    {name}" for name in names), "  end"]
    lines += [f"  {name} --> {other}" for name, others in without_implied(graph).items() for other in sorted(others)]
    lines += ["```", ""]
    lines += [
        f"These packages import each other and share a floor: {', '.join(f'`{name}`' for name in cycle)}."
        for cycle in cycles(graph)
    ] or ["No packages import each other, directly or indirectly."]
    return "\n".join(lines)


def test_the_package_map_is_current() -> None:
    documented(DOCUMENT, "package map", package_map(package_graph()))


def test_every_package_is_described() -> None:
    content = DOCUMENT.read_text(encoding="utf-8")

    assert [name for name in package_graph() if f"| `{name}` |" not in content] == []


def test_floors_and_arrows_follow_from_imports() -> None:
    graph = {"top": frozenset({"middle", "low"}), "middle": frozenset({"low"}), "low": frozenset[str]()}

    assert floors(graph) == [["top"], ["middle"], ["low"]]
    assert without_implied(graph)["top"] == {"middle"}
    assert cycles(graph) == []
    assert list(imported("from batch_scoring import low\nif TYPE_CHECKING:\n    import batch_scoring.top")) == ["low"]


def test_packages_of_a_cycle_share_a_floor() -> None:
    graph = {"a": frozenset({"b"}), "b": frozenset({"a", "c"}), "c": frozenset[str](), "d": frozenset({"a"})}

    assert cycles(graph) == [["a", "b"]]
    assert floors(graph) == [["d"], ["a", "b"], ["c"]]
