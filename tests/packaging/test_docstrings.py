"""Docstrings name each argument, attribute and error in a phrase that stands by itself."""

import ast
import re

import pytest
from documents import ROOT

UNDER_WAY = (
    "aubench/synfacs",
    "aubench/networks/face_landmarker",
    "aubench/networks/textau",
    "aubench/facs/describe",
)
"""Parts whose entries still begin in the middle of a sentence."""

FILES = [
    path
    for folder in ("aubench", "baselines", "reference_model")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.relative_to(ROOT).as_posix().startswith(UNDER_WAY)
]
BEGINS = re.compile(r"[A-Z\d`[(|~Σ]|(float|uint|int)\d*\b|bool\b|sha256\b|k\(|-?\d|<")
ENDS = re.compile(r"[.?!…]\)?$")


def entries(text):
    """Return names and texts of the entries below Args, Attributes and Raises of a docstring."""
    found, section = [], False
    for line in text.splitlines():
        if line and not line.startswith(" "):
            section = line in ("Args:", "Attributes:", "Raises:")
        elif section and (entry := re.match(r"    (\*{0,2}[\w, *]+): (.*)", line)):
            found.append([entry[1], entry[2]])
        elif section and found and line.startswith("     "):
            found[-1][1] += " " + line.strip()
    return found


def faults(source):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return [
        f"{getattr(node, 'name', 'module')}: {name}: {text}"
        for node in nodes
        for name, text in entries(ast.get_docstring(node) or "")
        if not (BEGINS.match(text) and ENDS.search(text))
    ]


@pytest.mark.parametrize("section", ["Args", "Attributes", "Raises"])
def test_fragments_are_found(section):
    text = f'"""Sum.\n\n    {section}:\n        x: {{}}\n    """'
    for wrong in (
        "that takes them.",
        "Folder that takes them",
        "of the run\n            and more.",
    ):
        assert len(faults(text.format(wrong))) == 1, wrong
    for right in ("Folder that takes them.", "float32 [N].", "``a`` or\n            ``b``."):
        assert faults(text.format(right)) == [], right


def test_entries_of_docstrings_stand_by_themselves():
    found = [
        f"{p.relative_to(ROOT)}: {line}" for p in FILES for line in faults(p.read_text("utf-8"))
    ]
    assert found == []
