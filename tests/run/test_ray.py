"""Runs on a real Ray cluster of three nodes on this machine: the record of a local run."""

import json
import os
import shutil
import sys
import threading
import time

import poison
import pytest

from aubench.errors import AubenchError
from aubench.run.execute import RunConfig, execute

pytestmark = pytest.mark.slow
LIMIT = 16
METRICS = ("kid", "pixels", "aaad", "au")
ENOUGH = 600  # seconds; a loaded machine starts processes slowly


SMALL = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_log_monitor": False}


def patiently(start):
    """Try again where Ray's own processes took longer than it waits for them, 15 s each."""
    for left in (3, 2, 1, 0):
        try:
            return start()
        except Exception as error:
            if not left or "timed out" not in str(error):
                raise


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute here with the threads of a worker: their number shows in the last digits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return poison.install(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def flags(site, tmp_path_factory, aubench_home):
    """The switches of the plug-in's faults, for this process and for workers that start later."""
    before = {name: os.environ.get(name) for name in ("POISON", "PYTHONPATH", "TQDM_DISABLE")}
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = f"{site}{os.pathsep}{before['PYTHONPATH'] or ''}"
    yield poison.Flags(tmp_path_factory.mktemp("flags"))
    sys.path.remove(str(site))
    sys.modules.pop("poisoned", None)
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def nodes(flags):
    """A cluster of three nodes with a processor each; the first is the head."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_raylet_start_wait_time_s", "60")
    from ray.cluster_utils import Cluster

    cluster = patiently(
        lambda: Cluster(
            initialize_head=True,
            connect=False,
            head_node_args={**SMALL, "include_dashboard": False},
        )
    )
    for _ in range(2):
        patiently(lambda: cluster.add_node(**SMALL))
    yield cluster
    cluster.shutdown()
    patch.undo()


def ask(out, **more):
    asked = {"limit": LIMIT, "metrics": METRICS, "batch_size": 2, **more}
    return RunConfig("poisoned", "conflict", out, **asked)


def on(nodes, config, **more):
    from aubench.run.distributed.ray_engine import Cluster, ray_backend

    return execute(config, ray_backend(Cluster(address=nodes.address, **more)))


def content(record):
    data = record.content()
    data["provenance"].pop("revision")
    return data


@pytest.fixture(scope="module")
def local(flags, tmp_path_factory):
    """The folder and record of a local run without faults."""
    folder = tmp_path_factory.mktemp("local") / "run"
    flags.set()
    return folder, execute(ask(folder))


@pytest.fixture(scope="module")
def ids(local):
    lines = (local[0] / "ledger.jsonl").read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_shards_on_three_nodes_give_the_record_of_a_local_run(
    nodes, local, flags, tmp_path, shards
):
    flags.set()
    record = on(nodes, ask(tmp_path / "run"), shards=shards)
    assert content(record) == content(local[1])
    loads = flags.lines("loads")  # two quick workers may leave the third without a shard
    assert len(set(loads)) == len(loads) and min(shards, 2) <= len(loads) <= min(shards, 3)
    # The workers have generated and measured it all.
    assert record.costs["generate"].images == record.costs["measure"].images == LIMIT
    assert not (tmp_path / "run" / "parts").exists()


def test_an_interrupted_run_goes_on_here_or_there(nodes, local, flags, tmp_path, monkeypatch):
    from aubench.run.distributed import ray_engine

    taken, take = [], ray_engine._RayRun._take

    def interrupt(self, piece, answer):
        take(self, piece, answer)
        taken.append(answer)
        if len(taken) == 2:
            raise KeyboardInterrupt

    flags.set()
    monkeypatch.setattr(ray_engine._RayRun, "_take", interrupt)
    with pytest.raises(KeyboardInterrupt):
        on(nodes, ask(tmp_path / "run"), workers=1, shards=4)
    monkeypatch.undo()
    images = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "images").iterdir()}
    assert len(images) == 8
    assert content(execute(ask(tmp_path / "run"))) == content(local[1])
    assert {p: p.stat().st_mtime_ns for p in images} == images


def test_poisoned_samples_fail_alone(nodes, local, ids, flags, tmp_path):
    flags.set(kill=ids[5], fail=ids[9], unsupported=ids[12])
    record = on(nodes, ask(tmp_path / "run", batch_size=4), workers=2, shards=2)
    assert (record.counts.generated, record.counts.failed, record.counts.unsupported) == (13, 2, 1)
    lines = (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()
    rows = {row["id"]: row for row in map(json.loads, lines)}
    assert rows[ids[9]]["failed"] == "no face" and "died" in rows[ids[5]]["failed"]
    made = {name: row["sha256"] for name, row in rows.items() if "sha256" in row}
    former = [json.loads(x) for x in (local[0] / "ledger.jsonl").read_text().splitlines()]
    assert made == {row["id"]: row["sha256"] for row in former if row["id"] in made}
    sizes = [int(line.split()[1]) for line in flags.lines("killed")]
    # Two tries of the piece of eight, one of each half that holds the sample, two of it alone.
    assert sizes == [4, 4, 4, 2, 1, 1]
    # A local run that the same samples fail has the same record.
    flags.set(fail=f"{ids[5]} {ids[9]}", unsupported=ids[12])
    assert content(execute(ask(tmp_path / "here"))) == content(record)


def test_a_plugin_that_raises_stops_the_run_as_it_does_here(nodes, ids, flags, tmp_path):
    flags.set(**{"raise": ids[6]})
    with pytest.raises(AubenchError, match=f"'poisoned' raised ValueError at sample {ids[6]}"):
        on(nodes, ask(tmp_path / "run", batch_size=1), workers=1)


def test_a_worker_with_other_weights_is_refused(nodes, local, flags, tmp_path):
    shutil.copytree(local[0], tmp_path / "run")
    next((tmp_path / "run" / "images").iterdir()).unlink()  # of a whole run nothing is loaded
    flags.set(weights="b" * 64)
    with pytest.raises(AubenchError, match="made with other weights"):
        on(nodes, ask(tmp_path / "run"), workers=1)


def test_a_node_killed_in_mid_run_loses_nothing(nodes, local, flags, tmp_path):
    flags.set(slow=1.0)
    doomed = nodes.list_all_nodes()[-1]
    ledger, seen = tmp_path / "run" / "ledger.jsonl", []

    def kill():
        until = time.monotonic() + ENOUGH
        while time.monotonic() < until and doomed.node_id not in flags.lines("made"):
            time.sleep(0.05)
        seen.append(len(ledger.read_text().splitlines()) if ledger.is_file() else 0)
        nodes.remove_node(doomed, allow_graceful=False)

    thread = threading.Thread(target=kill)
    thread.start()
    record = on(nodes, ask(tmp_path / "run"), shards=3)
    thread.join()
    assert doomed.node_id in flags.lines("made")  # it had work
    assert seen[0] < LIMIT  # and more was to come
    assert content(record) == content(local[1])
