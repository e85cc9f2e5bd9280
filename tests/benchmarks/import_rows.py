"""Time and peak memory of an import's plan and index, texts, a sample set, and freezing.

``python tests/benchmarks/import_rows.py [SAMPLES]``: by default 302,169 as in the paper; no image
is opened.
"""

import json
import resource
import sys
import tempfile
import time
from hashlib import sha256
from itertools import pairwise
from os import environ
from pathlib import Path

import numpy as np

ROWS, PEOPLE, TASKS = int(sys.argv[1]) if sys.argv[1:] else 302_169, 41, 8


def peak() -> int:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def sequences():
    """Return coded sequences of BP4D's people with AU sets of synfacs' distribution."""
    from aubench.datasets.imported.folds import BP4D
    from aubench.datasets.readers.sequences import Coded
    from aubench.datasets.readers.trees import Entry
    from aubench.datasets.synfacs.synfacs_dataset import draw_labels

    rng = np.random.default_rng(8)
    people = " ".join(BP4D).split()
    ends = np.linspace(0, ROWS, PEOPLE * TASKS + 1).round().astype(int)
    out = []
    for i, (start, end) in enumerate(pairwise(ends)):
        subject, task = people[i // TASKS], f"T{i % TASKS + 1}"
        labels = draw_labels(rng, int(end - start), ["neutral"]).astype(np.int8)
        labels = np.concatenate([np.zeros((100, 12), np.int8), labels])
        labels[rng.random(labels.shape) < 0.0005] = -1
        labels[100:, 6] = np.where((labels[100:] == 1).any(1), labels[100:, 6], 1)
        frames = np.arange(1, len(labels) + 1, dtype=np.int32)
        values = np.full(labels.shape, np.nan, np.float32)
        images = tuple(
            Entry(f"{subject}/{task}/{n:04d}.jpg", None, "", 200_000 + int(n), 1) for n in frames
        )
        others = np.zeros(len(frames), np.bool_)
        out.append(Coded(subject, task, frames, labels, values, others, images))
    return tuple(sorted(out, key=lambda s: (s.subject, s.task)))


def main() -> None:
    """Print a line a stage."""
    with tempfile.TemporaryDirectory() as home:
        environ["AUBENCH_HOME"] = home
        from aubench.datasets.frozen_splits import described_samples
        from aubench.datasets.imported.au_texts import attach_text
        from aubench.datasets.imported.files import folder_of
        from aubench.datasets.imported.imported_dataset import ImportedDataset
        from aubench.datasets.importing import import_dataset as imports
        from aubench.datasets.importing.crop_jobs import FOUND, Cropped, Cropping
        from aubench.datasets.readers.bp4d import BP4DReader
        from aubench.datasets.readers.sequences import SourceData
        from aubench.protocols.freeze import freeze_own

        def uncropped(job):
            some = job.frames[:1] if job.first else job.frames
            digests = [sha256(repr(f.image).encode()).hexdigest()[:16] for f in some]
            cut = zip(some, digests, strict=True)
            return [Cropped(f.name, FOUND, digest, digest, 1, 1.0) for f, digest in cut]

        imports.crop = uncropped
        start = [time.perf_counter(), time.process_time()]

        def stage(name, **more):
            now = [time.perf_counter(), time.process_time()]
            told = {
                "stage": name,
                "seconds": round(now[0] - start[0], 2),
                "cpu": round(now[1] - start[1], 2),
                "peak MB": peak(),
                **more,
            }
            start[:] = [time.perf_counter(), time.process_time()]
            print(json.dumps(told), flush=True)  # noqa: T201

        found = SourceData(Path(home), sequences(), (), ROWS)
        stage("made up")
        (folder_of("bp4d") / "packs").mkdir(parents=True)
        asked = imports.ImportRequest("bp4d", BP4DReader(), Cropping("none"), processes=1)
        record = imports.import_found(asked, found)
        stage("plan and index", rows=record.counts["faces"])
        del found
        for name in ("test2k", "unseen", "conflict"):
            frozen = freeze_own(name, "bp4d", samples=200 if name == "unseen" else None)
            stage(f"freeze {name}", samples=sum(frozen.strata.values()))
        stage("text", texts=attach_text("bp4d", 2020)["texts"])
        samples = described_samples(ImportedDataset("bp4d").everyone(), 201)
        stage("sample set", rows=len(samples), sha256=samples.sha256[:12])


if __name__ == "__main__":
    main()
