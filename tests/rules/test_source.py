"""Rules our own source keeps: form, types, the direction of imports, and what a page must describe."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[2]


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


def imported(package: str) -> set[str]:
    """The full names of all modules that the package's files import, anywhere in them."""
    names: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("ruff", "format", "--check", "."), id="the code is formatted"),
        pytest.param(("ruff", "check", "."), id="the linter finds nothing"),
        pytest.param(("mypy",), id="the types hold"),
    ],
)
def test_tool_passes(command):
    outcome = run_tool(*command)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_imports_go_one_way(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = lint_imports(no_cache=True, no_logo=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_the_site_sees_only_the_contract():
    seen = {name for name in imported("webapp") if name.startswith("scoring_service.")}
    assert {name for name in seen if not name.startswith("scoring_service.contract")} == set()
    assert seen, "the scoring client decodes with the contract"


def test_only_the_scoring_client_sees_the_contract():
    for app in ("accounts", "keys", "usage", "faq", "images"):
        assert not [name for name in imported(f"webapp/{app}") if name.startswith("scoring_service")]


def test_the_scoring_service_knows_nothing_of_django():
    assert not [name for name in imported("scoring_service") if name.split(".")[0] in {"django", "webapp"}]


def test_the_contract_needs_only_msgspec():
    tree = ast.parse((ROOT / "scoring_service" / "contract.py").read_text(encoding="utf-8"))
    modules = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) == {"msgspec"}


def test_each_type_of_a_message_is_studied_before_there_are_threads():
    """msgspec would crash a process whose threads have their first message of a type at the same time."""
    types = {
        node.name: {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
        for path in (ROOT / "scoring_service").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and "Struct" in map(ast.unparse, node.bases)
    }
    assert "PodState" in types
    assert [name for name, decorators in types.items() if "studied" not in decorators] == []


@pytest.mark.parametrize("module", ["webapp/settings.py", "scoring_service/settings.py"])
def test_every_setting_is_described_in_the_operations_page(module):
    source = (ROOT / module).read_text(encoding="utf-8")
    names = set(re.findall(r"""(?:env\w*[\[(.]+(?:get\()?|\w+\(env, ?)["']([A-Z][A-Z0-9_]+)["']""", source))
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert names, f"no setting found in {module}"
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_every_requirement_is_pinned():
    for path in ROOT.glob("**/requirements*.txt"):
        if {".venv", "node_modules", "var"} & set(path.relative_to(ROOT).parts):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-r")):
                assert re.fullmatch(r"[\w.-]+(\[[\w,]+\])?==[\w.]+", line), f"{path.name}: {line}"
