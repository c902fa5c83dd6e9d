"""Nothing that is read, heard or asked becomes code: the sources are searched for the ways in which it could."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_imports import ROOT, sources

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop", "xmlrpc"}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
METHODS = {
    "os": {
        "system",
        "popen",
        "execv",
        "execve",
        "execvp",
        "execvpe",
        "execl",
        "execlp",
        "spawnv",
        "spawnl",
        "startfile",
    },
    "ssl": {"_create_unverified_context"},
    "tempfile": {"mktemp"},
    "yaml": {"load", "full_load", "unsafe_load"},
    "pandas": {"eval", "read_pickle"},
    "numexpr": {"evaluate"},
    "numpy": {"fromregex"},
    "np": {"fromregex"},
    "builtins": CALLS,
    "pickle": {"load", "loads"},
    "subprocess": {"getoutput", "getstatusoutput"},
}
KEYWORDS = {"shell", "allow_pickle"}
SCRIPTS = {"code", "major_code"}
"""Arguments that a browser runs: they are written down, and never put together from what was read."""
IN_BROWSERS = re.compile(
    r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write|javascript:|srcdoc"
)
COPIERS = {"send_pyobj", "recv_pyobj"}
"""Methods of sockets that pickle."""


def faults_of(source: str) -> list[str]:
    """What a source has of all this, by line."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            faults += [f"{node.lineno}: {each.name}" for each in node.names if each.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            faults.append(f"{node.lineno}: {node.module}")
        elif isinstance(node, ast.Call):
            faults += [f"{node.lineno}: {fault}" for fault in _faults_of_call(node)]
    return faults


def _faults_of_call(call: ast.Call) -> list[str]:
    name = call.func
    faults = []
    if isinstance(name, ast.Name) and name.id in CALLS:
        faults.append(name.id)
    elif isinstance(name, ast.Attribute):
        owner = name.value.id if isinstance(name.value, ast.Name) else ""
        if name.attr in METHODS.get(owner, set()) | COPIERS:
            faults.append(f"{owner}.{name.attr}")
    for keyword in call.keywords:
        is_off = isinstance(keyword.value, ast.Constant) and not keyword.value.value
        if keyword.arg in KEYWORDS and not is_off:
            faults.append(str(keyword.arg))
        if keyword.arg in SCRIPTS and isinstance(keyword.value, ast.JoinedStr | ast.BinOp | ast.Call):
            faults.append(f"{keyword.arg}, put together")
    return faults


def test_no_source_makes_code_of_data() -> None:
    found = {str(path): faults for path in sources() if (faults := faults_of(path.read_text(encoding="utf-8")))}
    assert not found


def test_no_page_writes_markup_of_data() -> None:
    files = [path for path in (ROOT / "server").rglob("*") if path.suffix in (".js", ".html")]
    assert len(files) >= 4
    found = {path.name: IN_BROWSERS.findall(path.read_text(encoding="utf-8")) for path in files}
    assert not {name: faults for name, faults in found.items() if faults}
    assert IN_BROWSERS.search("div.innerHTML = name")


def test_classes_are_imported_by_name_in_one_place_alone() -> None:
    """``package.module:Class`` of a recipe names code of the user's own; nothing else may."""
    users = [
        path.name
        for path in sources()
        if "import_module(" in path.read_text(encoding="utf-8") or "load_module(" in path.read_text(encoding="utf-8")
    ]
    assert set(users) == {"own_parts.py", "opticam_live.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from marshal import loads",
        "def f():\n    import dill.detect",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "os.system(command)",
        "yaml.load(text)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=wanted)",
        "socket.send_pyobj(message)",
        "CustomJS(code=f'go({name})')",
        "CustomJS(code='go(' + name + ')')",
        "CustomJS(code='go(%s)' % name)",
        "os.execvp(name, words)",
    ],
)
def test_the_search_finds(line: str) -> None:
    assert faults_of(line)


@pytest.mark.parametrize(
    "line",
    ["np.load(path, allow_pickle=False)", "CustomJS(code=KEEP)", "re.compile(text)", "view.eval", "yaml.safe_load(t)"],
)
def test_the_search_leaves(line: str) -> None:
    assert not faults_of(line)


def test_all_rooms_are_searched() -> None:
    assert {path.relative_to(Path(__file__).resolve().parents[1]).parts[0] for path in sources()} == {
        "stream",
        "server",
        "simulator",
        "opticam_live.py",
    }
