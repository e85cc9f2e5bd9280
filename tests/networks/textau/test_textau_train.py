"""Training the text classifier: resume, accumulation, tables of real texts, the report."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.textau import corpus as texts_of
from aubench.networks.textau.classifier import load
from aubench.networks.textau.corpus import PARTS, Table, could_be, hold_out, read_labelled_texts
from aubench.networks.textau.report import read_report, table, texts_f1
from aubench.networks.textau.train import Settings, Trainer, masked_bce, settings_for, train

SMALL = Settings("nano-dictionary", "synfacs", epochs=2, limit=24, batch=8, segment=2)


@pytest.fixture(autouse=True)
def few_texts(monkeypatch):
    monkeypatch.setattr(texts_of, "MOST", 12)


def write_csv(path, sets=30, texts=6, labels=None):
    """Texts of ``sets`` AU sets; sentences are shared between AU sets, as with a dictionary."""
    lines = ["text,subject," + ",".join(f"AU{au}" for au in AUS)]
    for n in range(1, sets + 1):
        row = labels[n] if labels else [n >> k & 1 for k in range(12)]
        for k in range(texts):
            words = " ".join(f"Part {i} is moved in way {k}." for i in range(5) if n >> i & 1)
            lines.append(f'"{words}",F001,' + ",".join(map(str, row)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_interrupted_training_ends_the_same(tmp_path, monkeypatch):
    """Cut down within an epoch: what was after the last checkpoint is done again, the same."""
    path = train(SMALL, tmp_path / "whole", "test")
    advance, done = Trainer._advance, []

    def interrupted(self, rows, rng):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(advance(self, rows, rng))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(SMALL, tmp_path / "parts", "test")
    again = Trainer(SMALL, tmp_path / "parts")
    assert (again.epoch, again.step_of_epoch) == (1, 2)  # of three steps; segments of two
    again = train(SMALL, tmp_path / "parts", "test")
    cards = [
        json.loads(p.with_name("nano-dictionary.card.json").read_text()) for p in (path, again)
    ]
    assert cards[0]["history"] == cards[1]["history"] and len(cards[0]["history"]) == 2
    assert cards[0]["sha256"] == cards[1]["sha256"] and cards[0]["scores"] == cards[1]["scores"]

    with pytest.raises(AubenchError, match=r"another training \(epochs was 2, now 3\)"):
        Trainer(replace(SMALL, epochs=3), tmp_path / "parts")
    tokenizer = tmp_path / "parts" / "nano-dictionary.tokenizer.json"
    kept = tokenizer.read_bytes()
    tokenizer.write_bytes(kept + b"\n")
    with pytest.raises(AubenchError, match=r"another training \(tokenizer was"):
        Trainer(SMALL, tmp_path / "parts")
    with pytest.raises(AubenchError, match="its card says"):
        load("nano-dictionary", "cpu", tmp_path / "parts")
    tokenizer.write_bytes(kept)
    (tmp_path / "parts" / "checkpoint.pt").write_bytes(b"x")
    with pytest.raises(AubenchError, match="damaged"):
        Trainer(SMALL, tmp_path / "parts")


@pytest.mark.parametrize("accumulate", [3, 16])
def test_accumulated_gradient_is_that_of_the_batch(tmp_path, accumulate):
    """Also where parts know different numbers of AUs, and where there are more parts than texts."""
    words = [f"the brow is raised {'and pulled ' * k}" for k in range(8)]
    labels = torch.from_numpy(np.random.default_rng(0).choice([0, 1, 9], (8, 12)).astype(np.uint8))
    labels[0] = 9
    grads, losses = [], []
    for parts in (1, accumulate):
        trainer = Trainer(replace(SMALL, limit=8, accumulate=parts), tmp_path, resume=False)
        trainer.model.eval()  # dropout would draw anew for each cut
        losses.append(trainer.backward(words, labels))
        grads.append(torch.cat([p.grad.flatten() for p in trainer.network.parameters()]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-6)
    assert grads[0].abs().max() > 1e-3


def test_bfloat16_trains_close_to_float32(tmp_path):
    history = []
    for precision in ("float32", "bfloat16"):
        settings = replace(SMALL, epochs=1, segment=500, precision=precision)
        trainer = Trainer(settings, tmp_path / precision, resume=False)
        trainer.run()
        assert all(p.dtype == torch.float32 for p in trainer.network.parameters())
        history += [line["loss"] for line in trainer.log]
    assert history[0] == pytest.approx(history[1], abs=0.02) and history[0] != history[1]


def test_masked_loss_knows_nothing_of_unknown_labels():
    logits = torch.tensor([[2.0, -1.0, 30.0]], requires_grad=True)
    loss = masked_bce(logits, torch.tensor([[1, 0, 9]], dtype=torch.uint8))
    expected = np.log1p(np.exp(-2.0)) + np.log1p(np.exp(-1.0))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert logits.grad[0, 2] == 0 and (logits.grad[0, :2] != 0).all()


def test_f1_by_au_on_paper():
    labels = np.full((4, 12), 9, np.uint8)
    labels[:, 0], labels[:, 1] = [1, 1, 0, 9], 0
    p = np.zeros((4, 12), np.float32)
    p[:, 0] = [0.9, 0.1, 0.8, 0.9]
    scores = texts_f1(p, labels)
    assert scores[0] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))  # one hit, one miss, one false alarm
    assert np.isnan(scores[1:]).all()  # no text has these AUs


def test_table_is_split_by_combination_and_by_wording(tmp_path):
    split = Table.of_file(write_csv(tmp_path / "texts.csv"), seed=5)
    parts = split.parts()
    assert list(parts) == list(PARTS) and all(part.texts for part in parts.values())
    trained = {row.tobytes() for row in split.labels}
    assert not trained & {r.tobytes() for name in PARTS[2:] for r in parts[name].labels}
    learnt = {s for text in split.training_texts() for s in texts_of.sentences(text)}
    for name in (PARTS[1], PARTS[3]):
        assert all(set(texts_of.sentences(text)) - learnt for text in parts[name].texts)
    rng = np.random.default_rng(0)
    drawn = {split.draw(0, rng).text for _ in range(50)}
    assert 1 < len(drawn) <= 6 and drawn <= set(split.training_texts())
    shuffled = (tmp_path / "texts.csv").read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join([shuffled[0], *shuffled[:0:-1]]))
    other = Table.of_file(tmp_path / "other.csv", seed=5)
    assert set(other.training_texts()) == set(split.training_texts())


def test_rows_that_may_be_a_held_out_set_are_left_out():
    held, near, far = bytes([1, 0, 1] + [0] * 9), bytes([1, 9, 1] + [0] * 9), bytes([0] * 12)
    assert could_be({near, far}, {held}) == {near}
    assert could_be({near}, set()) == set()
    assert hold_out(["a"], 0.1, 0) == set() and len(hold_out(["a", "b"], 0.1, 0)) == 1


def test_training_on_a_table_with_unknown_aus(tmp_path):
    labels = {n: [n >> k & 1 if k != 7 else 9 for k in range(12)] for n in range(1, 31)}
    path = write_csv(tmp_path / "texts.csv", labels=labels)
    settings = settings_for("nano", data=str(path), epochs=1, batch=64)
    assert settings.texts == 5  # as in the paper
    said = []
    train(settings, tmp_path / "out", "test", say=said.append)
    model = load("nano", "cpu", tmp_path / "out")
    assert model.card["data"]["AUs never labelled"] == [14]
    assert "texts.csv" in said[0]
    report = read_report(tmp_path / "out" / "report.json")
    assert report[PARTS[0]]["AUs"]["AU14"] is None
    assert model.card["scores"]["F1, held-out wordings"] == report[PARTS[1]]["F1"]
    lines = table(report).splitlines()
    assert len(lines) == 1 + 12 + 1 + 2 + 2 + 2 and "–" in lines[8]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("words,AU1\na,1\n", "no column 'text'"),
        ("text,emotion\na smile,joy\n", "no column 'combination'"),
        ("text,AU1,AU1\na,1,0\n", "two columns 'AU1'"),
        ("text,AU1\n", "has no rows"),
        ("", "no column 'text'"),
        ("text,AU1\na smile,1\n ,0\n", "line 3: the text is empty"),
        ("text,AU1\na smile,1\nthe jaw,2\n", "line 3: AU1 is '2'"),
        ("text,AU1,AU2\na smile,9,\n", "line 2: no AU is known"),
        ("text,combination\na smile,6+99\n", "line 2: unknown AU '99'"),
        ('text,AU1\n"a smile,1\n', "line 2 has a quotation mark"),
        ("text,AU1\na smile,1\n", None),
    ],
)
def test_bad_tables_are_named(tmp_path, content, expected):
    path = tmp_path / "t.csv"
    path.write_text(content, encoding="utf-8")
    if expected is None:
        assert read_labelled_texts(path)[1].tolist() == [[1] + [9] * 11]
        return
    with pytest.raises(AubenchError, match=r"t\.csv") as error:
        read_labelled_texts(path)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_unreadable_tables_and_combinations(tmp_path, monkeypatch):
    with pytest.raises(AubenchError, match="cannot read"):
        read_labelled_texts(tmp_path / "absent.csv")
    (tmp_path / "latin.csv").write_bytes("text,AU1\nlèvres,1\n".encode("latin-1"))
    with pytest.raises(AubenchError, match="UTF-8"):
        read_labelled_texts(tmp_path / "latin.csv")
    content = '\ufefftext,combination\n"a,\n b",6+12\nrest,neutral\n'
    (tmp_path / "c.csv").write_text(content, encoding="utf-8")
    texts, labels = read_labelled_texts(tmp_path / "c.csv")
    assert texts == ["a, b", "rest"] and labels.sum(1).tolist() == [2, 0]
    monkeypatch.setattr(texts_of, "SHARE", 1.0)
    with pytest.raises(AubenchError, match="no training text"):
        Table.of_file(tmp_path / "c.csv", seed=0)


def test_a_t5_size_is_never_random_by_itself():
    with pytest.raises(AubenchError, match="google-t5/t5-large; --from-scratch"):
        settings_for("t5-large")
    with pytest.raises(AubenchError, match="exclude each other"):
        settings_for("t5-large", checkpoint="x", from_scratch=True)
    settings = settings_for("t5-large", from_scratch=True, batch=4)
    assert (settings.texts, settings.batch, settings.checkpoint) == (1, 4, None)  # the grammar's
    ours = settings_for("t5-large", data="synfacs", from_scratch=True)
    assert ours.texts == 5  # as the paper
    assert settings_for("nano") == Settings()
