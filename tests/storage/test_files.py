"""Writing: whole or not at all, and one line where the system refuses."""

import subprocess
import sys

import pytest

from aubench.errors import AubenchError
from aubench.storage.files import atomic_path, write_text

WRITERS = {
    "text": "temporary.write_bytes(b'x' * 300_000)",
    "safetensors": "import numpy as np; from safetensors.numpy import save_file; "
    "save_file({'a': np.ones(100_000, np.float32)}, temporary)",
    "torch": "import torch; torch.save({'a': torch.ones(100_000)}, temporary)",
    "parquet": "import numpy as np, pandas as pd; "
    "pd.DataFrame({'a': np.random.rand(50_000)}).to_parquet(temporary)",
    "image": "import numpy as np; from PIL import Image; "
    "Image.fromarray(np.random.randint(0, 255, (300, 300, 3), np.uint8)).save(temporary, 'png')",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_library_that_meets_a_full_disk_leaves_the_old_file(tmp_path, writer):
    """The system stops every file at 64 kB, as a quota would."""
    path = tmp_path / "kept"
    path.write_text("old")
    code = (
        "import resource, signal\n"
        "from pathlib import Path\n"
        "from aubench.errors import AubenchError\n"
        "from aubench.storage.files import atomic_path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n"
        f"    with atomic_path(Path({str(path)!r})) as temporary:\n"
        f"        {WRITERS[writer]}\n"
        "except AubenchError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("no space left to write"), done.stderr
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("mask", [0o022, 0o007])
def test_files_are_as_open_as_the_user_wants_whatever_library_wrote_them(tmp_path, writer, mask):
    code = (
        f"import os; os.umask({mask}); from pathlib import Path\n"
        "from aubench.storage.files import atomic_path\n"
        f"with atomic_path(Path('file')) as temporary: {WRITERS[writer]}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept"
    write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("own")

    with pytest.raises(RuntimeError, match="own"), atomic_path(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AubenchError, match="cannot write"):
        write_text(tmp_path / "file" / "below" / "x", "text")
