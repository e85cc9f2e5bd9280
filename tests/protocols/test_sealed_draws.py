"""Fresh draws: sealed, committed to, revealed; what holds and what is refused."""

import json
from importlib import import_module

import pytest

from aubench.cli.main import main
from aubench.comparison.pairs import Pairs
from aubench.errors import AubenchError
from aubench.protocols.protocol import load_protocol, verify
from aubench.protocols.sealed_draws import draw, drawn_from, read_seal, reveal, seal
from aubench.records.record import Record
from aubench.report.leaderboards.boards import board, fresh_of
from aubench.storage.files import shipped
from aubench.submission.commitment import broken, commit, read_commitment
from aubench.synfacs2.keys import FRESH, SPLITS


def call(*args):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, args)))
    return end.value.code


def test_a_seal_proves_its_seed_and_the_seed_gives_one_draw(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    assert call("protocol", "seal", "conflict", "--out", tmp_path / "s") == 0
    told = capsys.readouterr().out
    stated, seed = read_seal(tmp_path / "s" / "seal.json"), tmp_path / "s" / "seed.txt"
    assert stated.digest in told and seed.read_text().strip() not in told
    assert seed.read_text().strip() not in (tmp_path / "s" / "seal.json").read_text()
    args = ("protocol", "reveal", tmp_path / "s" / "seal.json", "--seed-file", seed)
    assert call(*args) == 0
    assert stated.name in capsys.readouterr().out
    assert call(*args, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["protocol"] == stated.name and shown["holds"] and len(shown["files"]) == 1
    assert call("protocol", "draw", "conflict", "--seed-file", seed, "--json") == 0
    assert json.loads(capsys.readouterr().out)["seal"] == stated.digest
    fresh = load_protocol(stated.name, "synfacs2")
    assert verify(fresh)["samples"] == 1200
    people = {int(name[1:]) for name in fresh.samples().subjects()}
    assert len(people) == 200 and all(number in FRESH for number in people)
    public = load_protocol("conflict", "synfacs2")
    assert {int(name[1:]) for name in public.samples().subjects()} <= set(SPLITS["test"])
    assert set(fresh.samples().frame["strata"]) == set(public.samples().frame["strata"])
    assert not set(fresh.samples().frame["target"]) & set(public.samples().frame["target"])
    again, place = draw("conflict", "synfacs2", seed, tmp_path / "other")
    assert again == stated
    for name in ("samples.csv", "protocol.toml", "SHA256SUMS"):
        assert (place / name).read_bytes() == (fresh.folder / name).read_bytes()
    other = tmp_path / "seed2.txt"
    other.write_text("another-seed-of-enough-letters\n")
    with pytest.raises(AubenchError, match="is not the seed that"):
        reveal(tmp_path / "s" / "seal.json", other)
    assert draw("conflict", "synfacs2", other, tmp_path / "other")[0].name != stated.name


def test_what_cannot_be_drawn_or_sealed_is_refused_in_a_line(tmp_path):
    short = tmp_path / "seed.txt"
    short.write_text("1234\n")
    with pytest.raises(AubenchError, match="no subjects without end"):
        draw("unseen", "synfacs", short)
    with pytest.raises(AubenchError, match=r"unknown protocol 'unsen'.*unseen"):
        draw("unsen", "synfacs2", short)
    with pytest.raises(AubenchError, match="holds no seed"):
        draw("unseen", "synfacs2", short)
    with pytest.raises(AubenchError, match="a seed is used once"):
        seal("unseen", "synfacs2", tmp_path)
    with pytest.raises(AubenchError, match="is no seal"):
        read_seal(short)
    assert drawn_from("unseen-wild-0123abcd") == "unseen-wild"
    assert drawn_from("unseen-wild") is None


def test_a_commitment_holds_weights_and_code(tmp_path, monkeypatch):
    folder = tmp_path / "toy_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    toy_package = import_module("toy_package")
    from aubench.generators.contract import Generator, GeneratorInfo

    info = GeneratorInfo(
        name="toy",
        inputs=frozenset({"au"}),
        size=64,
        training="none",
        trained_on=(),
        metrics_in_training=(),
        licence="MIT",
        citation="none",
    )
    cls = type(
        "Model",
        (Generator,),
        {
            "info": info,
            "load": classmethod(lambda cls, *_, **__: cls()),
            "generate": lambda self, batch: None,
            "weights_sha256": "w" * 64,
            "__module__": toy_package.__name__,
        },
    )
    monkeypatch.setattr("aubench.generators.registry.generator_class", lambda _: cls)
    path = tmp_path / "commit.json"
    found = commit("toy", None, path)
    assert read_commitment(path) == found and found.weights_sha256 == "w" * 64
    assert broken(found, "toy", "w" * 64) == []
    assert "weights of the record" in broken(found, "toy", "v" * 64)[0]
    assert "is of model 'toy'" in broken(found, "other", "w" * 64)[0]
    (folder / "__init__.py").write_text("X = 2\n")
    assert broken(found, "toy", "w" * 64) == [
        "the code installed here is not what was committed to"
    ]
    with pytest.raises(AubenchError, match="a commitment is not changed"):
        commit("toy", None, path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"weights_sha256": "v" * 64}))
    with pytest.raises(AubenchError, match="was changed after"):
        read_commitment(path)


def scored(protocol, model, value, control=False):
    data = json.loads((shipped("leaderboards") / "synfacs/unseen/vqauface.json").read_text())
    data["protocol"] |= {"name": protocol}
    data["model"] |= {"name": model, "control": control}
    data["scores"] = [
        data["scores"][0]
        | {"metric": "au_skill", "id": f"au-skill-share|{protocol}", "value": value, "ci": None}
        | {"higher_is_better": True, "note": ""}
    ]
    return Record.model_validate(data)


def test_the_fresh_column_tells_the_score_and_the_change_of_rank():
    public = [scored("unseen", m, v) for m, v in (("cached", 0.95), ("honest", 0.8), ("late", 0.5))]
    public.append(scored("unseen", "oracle", 1.0, control=True))
    draws = [scored("unseen-0123abcd", m, v) for m, v in (("cached", 0.3), ("honest", 0.78))]
    draws.append(scored("unseen-0123abcd", "oracle", 1.0, control=True))
    found = {"unseen": public, "unseen-0123abcd": draws, "test2k-0123abcd": public}
    table = board("x", public, Pairs(), fresh=fresh_of("unseen", found))
    assert table.columns[-1].title == "fresh"
    words = {row.key: row.cells[-1].words for row in table.rows}
    assert words == {
        "cached": "0.300 (rank 1 → 2)",
        "honest": "0.780 (rank 2 → 1)",
        "late": "",
        "oracle": "1.000",
    }
    assert board("x", public, Pairs()).columns[-1].title != "fresh"
