"""The viewer as files: nothing is loaded from elsewhere, it opens from disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.progress import bar
from aubench.report.site_folder import clear
from aubench.report.viewer.contents import Contents
from aubench.storage.files import atomic_path, write_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Image = npt.NDArray[np.uint8]

MARK = ".aubench-view"
ASSETS = ("viewer.css", "viewer.js")
QUALITY = 92
"""Of the WebP images; the page is for looking, measured are the run's own files."""


def write_viewer(out: Path, found: Contents, *, restricted_faces: bool = False) -> Path:
    """Write the page and its images; a former one in the same folder is replaced.

    Args:
        out: Folder.
        found: What to show.
        restricted_faces: Whether faces of a data set whose images must not leave the user's
            machines are written too, and the images that models made of them.

    Returns:
        The page to open.

    Raises:
        AubenchError: The folder holds something else, or an image is not as the ledger says.
    """
    hidden = bool(found.document["restricted"]) and not restricted_faces
    clear(out, MARK)
    write_text(out / MARK, "made by `aubench view`\n")
    if not hidden:
        _write_images(out / "images", found)
    for name in ASSETS:
        asset = files("aubench.report.viewer").joinpath("assets", name)
        write_text(out / name, asset.read_text(encoding="utf-8"))
    document = found.document | {"faces": not hidden}
    if hidden:
        document["points"] = None  # by which persons can be told apart
    # A page that is opened from disk may not fetch JSON, but it may run a script.
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    write_text(out / "data.js", f"window.AUBENCH_VIEW = {text};\n")
    index = out / "index.html"
    write_text(index, _page(found))
    return index


def _page(found: Contents) -> str:
    about = found.document
    names = ", ".join(model["name"] for model in about["models"])
    title = f"{names} on {about['dataset']}/{about['protocol']}"
    template = files("aubench.report.viewer").joinpath("assets", "index.html")
    return template.read_text(encoding="utf-8").replace("{{title}}", escape(title))


def _write_images(folder: Path, found: Contents) -> None:
    pictures = list(_pictures(found))
    with bar(len(pictures), "images", "img") as shown:
        for name, load in pictures:
            _write(folder / f"{name}.webp", load())
            shown.update(1)


def _pictures(found: Contents) -> Iterator[tuple[str, Callable[[], Image]]]:
    """Return name and loader of every image."""
    first = found.runs[0]
    source, size = first.images(), first.record.protocol.size
    frame = first.samples.frame.iloc[found.rows]
    number = found.document["samples"]["reference"]
    keys = dict(zip(number, map(str, frame["reference"]), strict=True))
    wanted = [*keys.values(), *(str(key) for key in frame["target"])]
    source.prefetch(list(dict.fromkeys(wanted)), size, "faces")
    for i, key in keys.items():
        yield f"reference/{i}", _loader(source.load, key, size)
    for i, key in enumerate(frame["target"]):
        yield f"target/{i}", _loader(source.load, str(key), size)
    for m, run in enumerate(found.runs):
        missing = found.document["models"][m]["missing"]
        for i, row in enumerate(found.rows):
            if str(i) not in missing:
                yield f"model-{m}/{i}", _loader(run.folder.read, run.ids[row])


def _loader(call: Callable[..., Image], *words: object) -> Callable[[], Image]:
    return lambda: call(*words)


def _write(path: Path, image: Image) -> None:
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Pillow.fromarray(image).save(temporary, format="WEBP", quality=QUALITY, method=2)


def serve(folder: Path, port: int) -> None:
    """Serve the page on the loopback address until it is interrupted.

    Args:
        folder: Of the page.
        port: 0 for any free one.

    Raises:
        AubenchError: The port is taken.
    """
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    import click

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder)))
    except OSError as error:
        raise AubenchError(f"port {port}: {error.strerror}", "choose another --port") from None
    with server:
        click.echo(f"http://127.0.0.1:{server.server_port}/ — Ctrl-C ends it", err=True)
        server.serve_forever()
