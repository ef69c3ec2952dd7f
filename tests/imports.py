"""What modules import, read from their source: the material of the architecture tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("kernels", "qualify", "scheduler", "server", "reports")


@dataclass(frozen=True)
class Import:
    """One imported name; `at_load` when merely importing the module runs it (not in a function, not for types)."""

    name: str  #: "qualify.records", "qualify.records.Node"
    line: int
    at_load: bool


@dataclass(frozen=True)
class Module:
    """A source file of the project."""

    name: str  #: "qualify.probe"; a package by its own name
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    def top_level(self) -> set[str]:
        """Import names of what is loaded with the module: "numpy", "qualify"."""
        return {found.name.partition(".")[0] for found in self.imports if found.at_load}


def modules(root: Path = PROJECT) -> tuple[Module, ...]:
    """The front door and every module of the five packages below `root`."""
    files = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    front = root / "gridmark.py"
    return tuple(_module(root, path) for path in ([front] if front.exists() else []) + files)


def _module(root: Path, path: Path) -> Module:
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return Module(name, path, tree, tuple(_imports(tree.body, at_load=True)))


def _imports(body: list[ast.stmt], *, at_load: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # ruff forbids relative imports nowhere, but nobody here writes them: a level would hide what is imported
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (Import(f"{node.module}.{alias.name}", node.lineno, at_load) for alias in node.names)
        else:
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            inner = at_load and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not typing_only
            for name in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(node, name, []), at_load=at_load if name == "orelse" else inner)
            for handler in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _imports(handler.body, at_load=inner)


def circles(found: tuple[Module, ...]) -> list[tuple[str, ...]]:
    """Groups of modules that cannot be loaded without each other."""
    names = {module.name for module in found}
    graph = {module.name: {target for target in _targets(module, names) if target != module.name} for module in found}
    return [group for group in _strongly_connected(graph) if len(group) > 1]


def _targets(module: Module, names: set[str]) -> Iterator[str]:
    for found in module.imports:
        if found.at_load:
            # "from qualify import records" loads the module, "from qualify.records import Node" one name of it
            whole = found.name if found.name in names else found.name.rpartition(".")[0]
            if whole in names:
                yield whole


def _strongly_connected(graph: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Groups in which every module reaches every other (by what each reaches; the graph is small)."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {tuple(sorted({name, *(other for other in reached[name] if name in reached[other])})) for name in graph}
    return sorted(groups)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph[waiting.pop()] - seen:
            seen.add(target)
            waiting.append(target)
    return seen
