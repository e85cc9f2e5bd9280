"""The container's recipe, as far as it can be judged without building it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

LINES = [
    " ".join(line.split())
    for line in re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8")).splitlines()
    if line and not line.startswith("#")
]


def test_what_is_copied_is_there_and_is_all_that_the_build_reads():
    copied = [word for line in LINES if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    included = re.search(r"force-include\]\n(.+?)\n\n", project, re.DOTALL)[1]
    read = re.findall(r'^"([^"]+)"', included, re.MULTILINE)
    assert read and {"pyproject.toml", "README.md", *read} <= set(copied)


def test_torch_is_taken_in_the_tested_version_without_its_build(tmp_path):
    """By the very line of the recipe, from the file as it stands."""
    (line,) = (line for line in LINES if line.startswith("RUN sed"))
    script = line.removeprefix("RUN ").partition("> /tmp/torch.txt")[0]
    done = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    tested = dict(re.findall(r"^(torch|torchvision)==([0-9.]+)", _constraints(), re.MULTILINE))
    assert dict(word.split("==") for word in done.stdout.split()) == tested
    assert set(tested) == {"torch", "torchvision"}


def test_nobody_is_root_in_it():
    kinds = [line.split()[0] for line in LINES]
    last = [line for line in LINES if line.startswith("USER")][-1]
    assert last == "USER aubench" and kinds.index("USER") < kinds.index("ENTRYPOINT")
    assert LINES[-2:] == ['ENTRYPOINT ["aubench"]', 'CMD ["--help"]']


def _constraints():
    return Path(ROOT / "constraints.txt").read_text("utf-8")
