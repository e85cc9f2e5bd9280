"""Rendered images on demand, cached, in parallel, resumable after a kill."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aubench.datasets.training_faces import PACK
from aubench.errors import AubenchError
from aubench.progress import bar
from aubench.storage.files import atomic_path, home, read_checked_png, sweep
from aubench.storage.run_folder import pixel_digest
from aubench.worker_processes import workers, working

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Images = npt.NDArray[np.uint8]


KEY, PIXELS = "aubench key", "aubench pixels"
"""Text chunks of a cached PNG: what it shows, and the digest of its pixels."""


def _render(keys: list[str], size: int, renderer: str) -> list[Images]:
    module: Any = import_module(f"aubench.{renderer}.render")
    return [module.render_key(key, size=size) for key in keys]


def _fingerprint(renderer: str) -> str:
    module: Any = import_module(f"aubench.{renderer}.render")
    return str(module.renderer_id())


def _shown(renderer: str, key: str, size: int) -> str:
    """Return what a cached image says that it shows."""
    return f"{_fingerprint(renderer)} {size} {key}"


def _render_files(keys: list[str], size: int, renderer: str, paths: list[Path]) -> int:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    for key, image, path in zip(keys, _render(keys, size, renderer), paths, strict=True):
        about = PngInfo()
        about.add_text(KEY, _shown(renderer, key, size))
        about.add_text(PIXELS, pixel_digest(image))
        with atomic_path(path) as temporary:
            Image.fromarray(image).save(temporary, format="PNG", compress_level=1, pnginfo=about)
    return len(keys)


def _render_pack(keys: list[str], size: int, renderer: str, path: Path) -> int:
    import numpy as np

    pack = np.stack(_render(keys, size, renderer))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, pack, allow_pickle=False)
        # Behind the array, where numpy stops.
        stream.write(_pack_digest(pack, keys, size, renderer))
    return len(keys)


def _pack_digest(pack: Images, keys: Sequence[str], size: int, renderer: str) -> bytes:
    """Return a digest over what a pack shows and its pixels."""
    whole = hashlib.sha256("\n".join(_shown(renderer, key, size) for key in keys).encode())
    whole.update(pack.data)
    return whole.digest()


def _read_pack(path: Path, keys: Sequence[str], size: int, renderer: str) -> Images | None:
    """Return the images of a pack, None where they are not those that its keys ask for."""
    import numpy as np

    with path.open("rb") as stream:
        pack: Images = np.load(stream, allow_pickle=False)
        digest = stream.read()
    return pack if digest == _pack_digest(pack, keys, size, renderer) else None


class SynfacsImages:
    """The images of synfacs by key, rendered at the size asked for and never resized.

    Single images are kept as PNG files, whole splits in packs of ``PACK``.

    Args:
        processes: How many render at once; one a core if None.
        cache: Folder that keeps them; that of the renderer in the user's cache if None.
        renderer: Package that renders, ``synfacs`` or ``synfacs2``.
    """

    def __init__(
        self,
        processes: int | None = None,
        cache: Path | None = None,
        renderer: str = "synfacs",
    ) -> None:
        self._processes, self._cache, self._renderer = processes, cache, renderer

    @property
    def fingerprint(self) -> str:
        """The renderer's version and the digest of its asset."""
        return _fingerprint(self._renderer)

    def _folder(self, size: int) -> Path:
        cache = self._cache or home() / self._renderer
        return cache / self.fingerprint / str(size)

    def _path(self, key: str, size: int) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder(size) / name[:2] / f"{name[2:34]}.png"

    def _read(self, key: str, size: int) -> Images | None:
        import numpy as np
        from PIL import Image

        try:
            data = io.BytesIO(read_checked_png(self._path(key, size)))
            with Image.open(data, formats=["PNG"]) as opened:
                image = np.asarray(opened, dtype=np.uint8)
                told = dict(opened.text)  # type: ignore[attr-defined]  # a PNG has some
        except (OSError, ValueError, SyntaxError):
            return None  # absent, cut short or damaged: rendered again
        asked = {KEY: _shown(self._renderer, key, size), PIXELS: pixel_digest(image)}
        return image if told == asked else None  # a whole picture of something else is none

    def load(self, key: str, size: int) -> Images:
        """Return uint8 [size, size, 3], from the cache or rendered into it."""
        image = self._read(key, size)
        if image is None:
            _render_files([key], size, self._renderer, [self._path(key, size)])
            image = self._read(key, size)
        if image is None:
            raise AubenchError(f"cannot read {self._path(key, size)}", "check the disk")
        return image

    def load_many(self, keys: Sequence[str], size: int) -> Images:
        """Return uint8 [N, size, size, 3]."""
        import numpy as np

        return np.stack([self.load(key, size) for key in keys])

    def missing(self, keys: Sequence[str], size: int) -> list[str]:
        """Return the distinct keys that the cache lacks, sorted: faces of a subject together."""
        return sorted({key for key in keys if not self._path(key, size).is_file()})

    def prefetch(self, keys: Sequence[str], size: int, label: str) -> None:
        """Render what the cache lacks, subject by subject, on every core."""
        sweep(self._folder(size))
        wanted = self.missing(keys, size)
        if not wanted:
            return
        chunks = [wanted[i : i + 16] for i in range(0, len(wanted), 16)]
        jobs: list[tuple[object, ...]] = [
            (chunk, size, self._renderer, [self._path(key, size) for key in chunk])
            for chunk in chunks
        ]
        with bar(len(set(keys)), label, "img", initial=len(set(keys)) - len(wanted)) as progress:
            self._parallel(_render_files, jobs, progress)

    def attributes(self, subjects: Sequence[str]) -> dict[str, list[str]]:
        """Return age, sex and skin tone of each subject [N], in the groups of ``attributes_of``."""
        module: Any = import_module(f"aubench.{self._renderer}.anatomy.identity")
        table = {name: module.attributes_of(name) for name in set(subjects)}
        names = ("age", "sex", "skin")
        return {name: [table[subject][name] for subject in subjects] for name in names}

    def _parallel(self, function: object, jobs: list[tuple[object, ...]], progress: object) -> None:
        count = self._processes or workers()

        call, shown = cast("Any", function), cast("Any", progress)
        with working(call, jobs, count, "rendering") as found:
            for done in found:
                shown.update(done)

    def packed(self, keys: Sequence[str], size: int, label: str) -> Images:
        """Return uint8 [N, size, size, 3] of many images, cached in packs.

        The name of a pack is the digest of its keys, so a changed split is another pack.
        """
        import numpy as np

        # Sorted, so that a pack holds few subjects: setting one up costs several renders.
        distinct, rows = np.unique(np.array(keys, dtype=str), return_inverse=True)
        names = [str(key) for key in distinct]
        packs = [names[i : i + PACK] for i in range(0, len(names), PACK)]
        paths = [self._pack_path(pack, size) for pack in packs]
        missing = [i for i in range(len(packs)) if not self._whole(paths[i], len(packs[i]), size)]
        jobs: list[tuple[object, ...]] = [
            (packs[i], size, self._renderer, paths[i]) for i in missing
        ]
        if jobs:
            sweep(self._folder(size) / "packs")
            lacking = sum(min(PACK, len(names) - i * PACK) for i in missing)
            with bar(len(names), label, "img", initial=len(names) - lacking) as progress:
                self._parallel(_render_pack, jobs, progress)
        out = np.empty((len(keys), size, size, 3), np.uint8)
        for i, path in enumerate(paths):
            here = np.nonzero(rows // PACK == i)[0]
            pack = _read_pack(path, packs[i], size, self._renderer)
            if pack is None:
                _render_pack(packs[i], size, self._renderer, path)
                pack = np.load(path, allow_pickle=False)
            out[here] = pack[rows[here] - i * PACK]
        return out

    def has_pack(self, keys: Sequence[str], size: int) -> bool:
        """Whether the cache holds the pack of these sorted, distinct keys."""
        return self._whole(self._pack_path(keys, size), len(keys), size)

    def _pack_path(self, keys: Sequence[str], size: int) -> Path:
        name = hashlib.sha256("|".join(keys).encode()).hexdigest()
        return self._folder(size) / "packs" / f"{name[:32]}.npy"

    @staticmethod
    def _whole(path: Path, count: int, size: int) -> bool:
        import numpy as np

        try:
            pack = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return bool(pack.shape == (count, size, size, 3) and pack.dtype == np.uint8)
