"""Who may import whom: the rules of decision 1, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

VOCABULARY = frozenset(
    f"stream.{name}"
    for name in (
        "messages",
        "alerts",
        "errors",
        "flags",
        "config",
        "cameras",
        "header_pointing",
        "instruments",
        "barycentre",
        "timestamps",
        "selection",
        "coordinates",
        "atomic_files",
        "named_settings",
        "notes",
        "frame_names",
        "header_times",
        "header_values",
        "processes",
        "own_parts",
        "page_options",
        "own_instruments",
        "toml_text",
    )
)
ALLOWED: dict[str, frozenset[str]] = {
    "stream.measure": VOCABULARY | {"stream.measure"},
    "stream.pipeline": VOCABULARY | {"stream.measure"},
    "stream.night": VOCABULARY | {"stream.measure", "stream.pipeline", "stream.plots", "stream.night"},
    "stream.night.alert_stars": VOCABULARY | {"stream.analysis.choice", "stream.night"},
    "stream.scan": VOCABULARY | {"stream.measure", "stream.night.folder_scan"},
    "stream.analysis": VOCABULARY | {"stream.analysis"},
    "stream.analysis.analyzer": VOCABULARY | {"stream.analysis", "stream.plots", "stream.notebook"},
    "stream.plots": VOCABULARY | {"stream.analysis", "stream.plots"},
    "stream.export": VOCABULARY
    | {"stream.analysis", "stream.measure", "stream.plots", "stream.night.night_reader", "stream.export"},
    "stream.diagnostics": VOCABULARY
    | {"stream.analysis", "stream.measure", "stream.plots", "stream.night.night_reader", "stream.diagnostics"},
    "stream.batch": VOCABULARY
    | {
        "stream.measure",
        "stream.pipeline",
        "stream.night",
        "stream.analysis",
        "stream.plots",
        "stream.export",
        "stream.diagnostics",
        "stream.scan",
        "stream.notebook",
        "stream.batch",
    },
    "stream.commands": frozenset({"stream"}),
    "stream.output_commands": VOCABULARY | {"stream.export", "stream.diagnostics"},
    "stream.repair_command": frozenset({"stream.errors", "stream.night", "stream.processes"}),
    "server": VOCABULARY
    | {
        "stream.analysis",
        "stream.plots",
        "stream.export",
        "stream.measure.apertures",
        "stream.measure.psf",
        "stream.measure.star_widths",
        "stream.night.ledger",
        "stream.night.night_reader",
        "server",
    },
    "simulator": VOCABULARY | {"simulator"},
    "opticam_live": frozenset({"stream", "server", "simulator"}),
}
OURS = ("stream", "server", "simulator", "opticam_live")
"""What a room may import of this project; whatever is not listed may import the vocabulary alone."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def sources() -> list[Path]:
    folders = (ROOT / "stream", ROOT / "server", ROOT / "simulator")
    return [*(path for folder in folders for path in sorted(folder.rglob("*.py"))), ROOT / "opticam_live.py"]


def imports_of(path: Path) -> set[str]:
    """Modules of this project that a file imports, also within functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if is_module(name)} or {module}
    return {name for name in found if name.split(".")[0] in OURS}


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def is_within(module: str, rooms: frozenset[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def allowed_for(module: str) -> frozenset[str]:
    rooms = [room for room in ALLOWED if module == room or module.startswith(f"{room}.")]
    return ALLOWED[max(rooms, key=len)] if rooms else VOCABULARY


@pytest.mark.parametrize("path", sources(), ids=module_of)
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    module = module_of(path)
    forbidden = {name for name in imports_of(path) if not is_within(name, allowed_for(module)) and name != module}
    assert not forbidden, f"{module} imports {', '.join(sorted(forbidden))}"


def test_only_plots_imports_matplotlib_and_nothing_imports_pickle() -> None:
    for path in sources():
        names = {
            (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert "pickle" not in names, path
        assert "matplotlib" not in names or is_within(module_of(path), frozenset({"stream.plots"})), path


def test_the_reader_of_imports_finds_those_within_functions(tmp_path: Path) -> None:
    path = tmp_path / "example.py"
    path.write_text(
        "import stream.night.ledger\ndef f():\n    from stream import pipeline\n    from stream.errors import Reason\n"
    )
    assert imports_of(path) == {"stream.night.ledger", "stream.pipeline", "stream.errors"}
