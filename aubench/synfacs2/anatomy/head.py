"""The baked head: mesh, shape targets, masks, and the texture plane of the skin.

Frame of the mesh: +x the character's left, +y up, +z forward, decimetres.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from scipy import sparse

from aubench.errors import AubenchError

F32 = np.float32
Array = np.ndarray[Any, Any]

ASSET = Path(__file__).parents[1] / "asset.npz"
PIXELS = Path(__file__).parents[1] / "pixels.json"
BODY, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE = range(6)
LASHES = (6, 7, 8, 9)
UPPER_LASHES = (7, 9)

# Texture plane: u = RADIUS * atan2(x, z - AXIS) and v = y on the mean head, texels of 0.5 mm.
RADIUS, AXIS, TEXEL = 0.95, 0.45, 0.005
U_MIN, U_MAX, V_MIN, V_MAX = -1.5, 1.5, 6.0, 8.4
WIDE, HIGH = 600, 480


def smoothstep(a: float, b: float, x: Array) -> Array:
    """Return the cubic ramp from 0 at ``a`` to 1 at ``b``."""
    t = np.clip((x - a) / (b - a), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def bump(u: Array, v: Array, cu: float, cv: float, su: float, sv: float) -> Array:
    """Return an axis-aligned Gaussian of height 1."""
    return np.exp(-0.5 * (((u - cu) / su) ** 2 + ((v - cv) / sv) ** 2)).astype(F32)


def _read(path: Path) -> dict[str, Array]:
    """Return the arrays of the asset.

    Raises:
        AubenchError: The file is missing or damaged.
    """
    try:
        # Opened here: of a damaged file numpy would leave its own handle open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as asset:
            return {name: asset[name] for name in asset.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise AubenchError(
            f"cannot read the head asset {path}: {error}", "install aubench again"
        ) from error


class Head:
    """Arrays of the asset and what follows from them alone; one instance a process."""

    triangles: npt.NDArray[np.int32]
    part: npt.NDArray[Any]
    lash_triangles: npt.NDArray[np.int32]
    lash_part: npt.NDArray[Any]
    caster: npt.NDArray[np.int32]
    vertex_part: npt.NDArray[Any]
    u: npt.NDArray[np.float32]
    v: npt.NDArray[np.float32]
    teeth: npt.NDArray[np.intp]
    eye_centre: dict[int, npt.NDArray[np.float32]]
    neck: npt.NDArray[np.float32]
    names: list[str]
    lash_length: npt.NDArray[np.float32]
    subdivision: Any

    def __init__(self) -> None:
        raw = _read(ASSET)
        self.mean: Array = raw["mean"]
        n_fine, n_coarse = len(self.mean), len(raw["coarse"])
        self.subdivision = sparse.csr_matrix(
            (
                raw["subdivision_data"],
                raw["subdivision_indices"].astype(np.int32),
                raw["subdivision_indptr"],
            ),
            shape=(n_fine, n_coarse),
        )
        self.coarse: Array = raw["coarse"].astype(np.float64)
        self.coarse_part: Array = raw["coarse_part"]
        self.coarse_quads: Array = raw["coarse_quads"].astype(np.int32)
        self._targets(raw)
        self.rim: Array = raw["rim"].astype(np.int64)
        quads = raw["quads"].astype(np.int32)
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
        part = np.concatenate([raw["quad_part"]] * 2)
        solid = part <= TONGUE
        self.triangles, self.part = np.ascontiguousarray(triangles[solid]), part[solid]
        self.lash_triangles = np.ascontiguousarray(triangles[~solid])
        self.lash_part = part[~solid]
        caster = self.coarse_quads[self.coarse_part == BODY]
        # Fine vertices begin with the moved coarse ones, so the coarse mesh can cast shadows.
        self.caster = np.concatenate([caster[:, [0, 1, 2]], caster[:, [0, 2, 3]]]).astype(np.int32)
        self.n_coarse = n_coarse
        self.vertex_part = np.full(n_fine, -1)
        for p in range(10):
            self.vertex_part[np.unique(quads[raw["quad_part"] == p])] = p
        self.occlusion: Array = raw["occlusion"].astype(F32) / 255
        self.lips: Array = raw["mask_lips"].astype(F32) / 255
        self.ears: Array = raw["mask_ears"].astype(F32) / 255
        self.inside: Array = raw["mask_inside_mouth"].astype(F32) / 255
        self.eyelids: Array = raw["mask_eyelids"].astype(F32) / 255
        x, y, z = self.mean.T
        self.u = (RADIUS * np.arctan2(x, z - AXIS)).astype(F32)
        self.v = y.astype(F32)
        self.teeth = np.nonzero(np.isin(self.vertex_part, (3, 4, 5)))[0]
        self.eye_centre = {p: self.mean[self.vertex_part == p].mean(0) for p in (1, 2)}
        self.neck = smoothstep(5.75, 6.45, y)[:, None].astype(F32)
        self._lashes()

    def _targets(self, raw: dict[str, Array]) -> None:
        self.names = [str(name) for name in raw["target_names"]]
        start = raw["target_start"]
        self._at = {name: (int(start[i]), int(start[i + 1])) for i, name in enumerate(self.names)}
        self._index = raw["target_index"].astype(np.int64)
        counts = np.diff(start)
        step = np.repeat(raw["target_scale"], counts)[:, None]
        self._delta = (raw["target_delta"] * step).astype(F32)

    def _lashes(self) -> None:
        from scipy.spatial import cKDTree

        tree = cKDTree(self.mean[self.vertex_part == BODY])
        self.lash_length = np.zeros(len(self.mean), F32)
        for p in LASHES:
            at = self.vertex_part == p
            distance, _ = tree.query(self.mean[at])
            far = np.quantile(distance, 0.97)
            self.lash_length[at] = np.clip((distance - 0.008) / (far - 0.008), 0, 1)

    def has(self, name: str) -> bool:
        """Whether the asset holds a target (empty ones are left out)."""
        return name in self._at

    def add(self, V: Array, name: str, weight: float) -> None:
        """Add a weighted shape target to coarse vertices in place; missing targets are zero."""
        span = self._at.get(name)
        if span is not None and abs(weight) > 1e-4:
            V[self._index[slice(*span)]] += weight * self._delta[slice(*span)]

    def add_half(self, V: Array, name: str, side: int, weight: float) -> None:
        """Add the left (side 1) or right (-1) half of a target, blended over 1 cm."""
        span = self._at.get(name)
        if span is not None and abs(weight) > 1e-4:
            index = self._index[slice(*span)]
            share = smoothstep(-0.05, 0.05, side * self.coarse[index, 0])[:, None]
            V[index] += (weight * share * self._delta[slice(*span)]).astype(V.dtype)

    def normals(self, V: Array) -> Array:
        """Return unit vertex normals float32 [n, 3] of the solid parts."""
        from aubench.synfacs2.anatomy.normals import vertex_normals

        return np.asarray(vertex_normals(V, self.triangles))


@lru_cache(maxsize=1)
def head() -> Head:
    """Return the head, loaded once a process."""
    return Head()


@lru_cache(maxsize=1)
def texture_grid() -> tuple[Array, Array]:
    """Return u and v of every texel, float32 [HIGH, WIDE]."""
    u = U_MIN + (np.arange(WIDE) + 0.5) * TEXEL
    v = V_MIN + (np.arange(HIGH) + 0.5) * TEXEL
    gu, gv = np.meshgrid(u, v)
    return gu.astype(F32), gv.astype(F32)


@lru_cache(maxsize=24)
def _noise_plane(high: int, wide: int, cells: int) -> Array:
    from scipy.ndimage import zoom

    rows = max(2, int(cells * high / wide))
    plane = np.random.default_rng(cells + high).standard_normal((rows, cells))
    padded = np.pad(plane, 2, mode="wrap")
    fy, fx = high / rows, wide / cells
    smooth = zoom(padded, (fy, fx), order=3 if cells < wide / 3 else 1)
    oy, ox = int(2 * fy), int(2 * fx)
    smooth = smooth[oy : oy + high, ox : ox + wide]
    short = (high - smooth.shape[0], wide - smooth.shape[1])
    smooth = np.pad(smooth, ((0, short[0]), (0, short[1])), mode="edge")
    return np.asarray(smooth / smooth.std() * 0.75, F32)


def noise(rng: np.random.Generator, high: int, wide: int, cells: int) -> Array:
    """Return smooth noise float32 [high, wide], sd 0.75, ``cells`` bumps across."""
    plane = _noise_plane(high, wide, cells)
    plane = np.roll(plane, (int(rng.integers(high)), int(rng.integers(wide))), (0, 1))
    return np.asarray(plane[:, ::-1] if rng.random() < 0.5 else plane)
