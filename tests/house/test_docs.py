# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual says what the code does: options, statuses, fields, examples."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import typer.main
from docutils import nodes
from docutils.core import publish_doctree, publish_string

from v2v import document, errors

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "man").glob("*.rst"))
COMMANDS = {
    "v2v": "v2v_all",
    **{
        path.stem.replace("_", "-"): path.stem
        for path in sorted((ROOT / "tools").glob("v2v_*.py"))
        if path.stem != "v2v_all"
    },
}
STRICT = {"report_level": 2, "halt_level": 2}


def text(name: str) -> str:
    return (ROOT / "man" / f"{name}.rst").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_its_man_page_and_no_other(command: str) -> None:
    tree = publish_doctree(text(f"{command}.1"), settings_overrides=STRICT)
    documented = {o.astext().split()[0] for o in tree.findall(nodes.option_string)}
    app = import_module(COMMANDS[command]).app
    parameters = typer.main.get_command(app).params
    declared = {word for p in parameters for word in p.opts if word.startswith("-")}
    assert documented == declared | {"-h", "--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_every_page_becomes_a_man_page(page: Path) -> None:
    made = publish_string(page.read_text(), writer="manpage", settings_overrides=STRICT)
    assert b".TH" in made


def test_every_exit_status_is_in_the_table() -> None:
    statuses = {
        str(value)
        for name, value in vars(errors).items()
        if name.isupper() and isinstance(value, int)
    }
    table = text("v2v-stream.7").partition("EXIT STATUS")[2]
    assert statuses <= set(re.findall(r"^(\d+)\b", table, re.MULTILINE))


@pytest.mark.parametrize(
    "record",
    [
        *(document.VM, document.Disk, document.Layer, document.Nic, document.Guest),
        *(document.Devices, document.Change, document.LogEntry, document.Finding),
        *(document.Failure, document.Busy, document.Defined),
    ],
)
def test_every_field_of_the_document_is_described(
    record: type[document.Record],
) -> None:
    words = set(re.findall(r"\w+", text("v2v-document.5")))
    assert set(record.model_fields) <= words


def test_the_schema_is_current() -> None:
    from make_schema import PATH, schema

    assert PATH.read_text() == schema(), "run contrib/make_schema.py"


def test_the_pipeline_of_the_readme_names_our_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert f"`{command}" in readme or command in readme


def findings_made(path: Path) -> set[tuple[str, str | None]]:
    """Return the code and severity (None: not told) of the findings that *path* makes.

    They go straight into Finding(), or through a function that takes a ``code``: one
    of the module, or sources.descriptions.caution.
    """
    tree = ast.parse(path.read_text())
    parameters: dict[str, list[str]] = {"Finding": [], "caution": ["code"]}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args]
            if "code" in names:
                parameters[node.name] = names
    found = set[tuple[str, str | None]]()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name in parameters:
            given = dict(zip(parameters[name], node.args, strict=False))
            given |= {k.arg: k.value for k in node.keywords if k.arg}
            severities: set[str | None] = {*texts(given.get("severity"))} or {None}
            found |= {(c, s) for c in texts(given.get("code")) for s in severities}
    return found


def texts(value: ast.expr | None) -> set[str]:
    """Return the texts that *value* is, or may be."""
    return {
        node.value
        for node in (ast.walk(value) if value else ())
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def findings_listed() -> dict[str, tuple[set[str], str]]:
    """Return the severities and the text of each code in v2v-findings(7)."""
    page = (ROOT / "man" / "v2v-findings.7.rst").read_text()
    entry = re.compile(r"(?m)^([a-z]+(?:-[a-z]+)*)\n((?:    .*\n)+)")
    found = {}
    for code, lines in entry.findall(page):
        text = " ".join(lines.split())
        if told := re.match(r"\((\w+(?:, \w+)*)\) ", text):
            assert code not in found, f"{code} is described twice"
            found[code] = (set(told[1].split(", ")), text)
    return found


def test_every_finding_is_described() -> None:
    modules = (ROOT / "lib").rglob("*.py")
    made = set[tuple[str, str | None]]().union(*map(findings_made, modules))
    listed = findings_listed()
    assert len(listed) > 90
    assert {code for code, _ in made} == set(listed)
    for code, severity in made:
        severities, text = listed[code]
        assert severities <= {"block", "warn", "info"}, code
        assert severity is None or severity in severities, f"{code} is {severity}"
        assert "Remedy: " in text or severities == {"info"}, code
