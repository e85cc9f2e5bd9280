"""Write constraints.txt from the versions that are installed here, or check these against it.

    python .ci/constraints.py            # in an environment in which all tests have just passed
    python .ci/constraints.py --check    # names what is installed in another version; exit code 1

Of each package that aubench, its extras or its tests need, directly or not, one version. Left out
is what torch brings along, which depends on the build of torch that a machine takes.
"""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

FILE = Path(__file__).resolve().parents[1] / "constraints.txt"
ROOTS = ("aubench", "tox", "tox-uv")
OF_TORCH = ("nvidia-", "cuda-", "triton")
OLDEST = "3.11.0"
"""Python that pyproject.toml admits."""
HEAD = """\
# The versions with which all tests passed: pip install -c constraints.txt .
# Written by .ci/constraints.py. What torch brings along is left out: it goes with torch's build.
"""


def needed(root: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield what an installed package needs, with the extras asked of it."""
    extras = metadata.metadata(root).get_all("Provides-Extra") or [] if root == "aubench" else []
    waiting, seen = [(root, frozenset(extras))], set()
    while waiting:
        name, asked = waiting.pop()
        if (name, asked) in seen:
            continue
        seen.add((name, asked))
        yield name, asked
        lines = metadata.requires(name) or []
        for line in map(Requirement, lines):
            wanted = any(
                line.marker is None or line.marker.evaluate({"extra": extra})
                for extra in {"", *asked}
            )
            if wanted and installed(line.name):
                waiting.append((canonicalize_name(line.name), frozenset(line.extras)))


def installed(name: str) -> str:
    """Return the public part of an installed version, empty where there is none."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def pins() -> dict[str, str]:
    """Return versions by name."""
    names = {name for root in ROOTS if installed(root) for name, _ in needed(root)}
    names -= {"aubench", *(name for name in names if name.startswith(OF_TORCH))}
    return {name: installed(name) for name in sorted(names)}


def marker(name: str) -> str:
    """Return where a pin holds: a few ask for a later 3.11 than we do, and are free before it."""
    asked = SpecifierSet(metadata.metadata(name)["Requires-Python"] or "")
    if OLDEST in asked:
        return ""
    (lowest,) = (part.version for part in asked if part.operator == ">=")
    return f' ; python_full_version >= "{lowest}"'


def main() -> None:
    """Write the file, or compare with it."""
    if sys.argv[1:] != ["--check"]:
        lines = "".join(f"{name}=={version}{marker(name)}\n" for name, version in pins().items())
        FILE.write_text(HEAD + lines, encoding="utf-8")
        return
    stated = dict(
        line.partition(" ;")[0].split("==")
        for line in FILE.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    others = {name: found for name in stated if (found := installed(name)) != stated[name]}
    told = [f"{name} {found}, not {stated[name]}" for name, found in others.items() if found]
    if told:
        sys.exit(f"not as {FILE.name} says: {'; '.join(told)}")


if __name__ == "__main__":
    main()
