"""The loop of all trainers, on a small regression: kills, epochs, parts of a batch, averages."""

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from torch import nn
from tqdm import tqdm

from aubench.errors import AubenchError
from aubench.training.checkpoint import read_checkpoint
from aubench.training.loop import TrainingLoop, copied, set_rate, update_average


@dataclass(frozen=True)
class Settings:
    """Of the regression."""

    steps: int = 12
    rate: float = 0.05
    seed: int = 1
    log_every: int = 1


class Regression(TrainingLoop):
    """A line through noise, drawn by seed and step number alone."""

    unchecked = frozenset({"log_every"})
    data = "noise"
    segment = 1
    epoch_length = 0

    def __init__(self, settings, out, **given):
        super().__init__(settings, out / "checkpoint.pt", "regression", **given)
        torch.manual_seed(settings.seed)
        self.model = nn.Linear(3, 1)
        self.average = copied(self.model.state_dict())
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.rate)
        self.ended = []

    @property
    def total_steps(self):
        return self.settings.steps

    @property
    def steps_per_epoch(self):
        return self.epoch_length

    @property
    def resumable(self):
        return self.step_number % self.segment == 0

    def facts(self):
        return {"data": self.data}

    def stateful(self):
        return {"model": self.model, "optimiser": self.optimiser}

    def extra_state(self):
        return {"average": self.average, "ended": self.ended}

    def load_extra_state(self, state):
        self.average, self.ended = state["average"], state["ended"]

    def optimise(self):
        draw = torch.Generator().manual_seed(self.settings.seed * 1000 + self.step_number)
        x = torch.randn(8, 3, generator=draw)
        set_rate(self.optimiser, self.settings.rate / (1 + self.step_number))
        self.optimiser.zero_grad()
        loss = (self.model(x)[:, 0] - x.sum(1)).square().mean()
        self.add_gradient(loss)
        self.descend(self.optimiser, self.model.parameters(), 1.0)
        return {"mse": float(loss.detach())}

    def update_averages(self):
        update_average(self.average, self.model.state_dict(), 0.9, self.step_number)

    def note(self, losses):
        self.log.append({"step": self.step_number, **losses})
        return losses

    def end_epoch(self):
        self.ended.append((self.epoch, self.step_number))


def same(a, b):
    assert a.log == b.log and a.ended == b.ended
    for key, value in a.model.state_dict().items():
        assert torch.equal(value, b.model.state_dict()[key]), key
        assert torch.equal(a.average[key], b.average[key]), key


class Killed(BaseException):
    """In the place of kill -9: nothing is tidied up."""


@how(max_examples=25, deadline=None)
@given(kill=st.integers(0, 11), every=st.integers(1, 5), segment=st.integers(1, 4))
def test_a_killed_training_ends_as_an_unbroken_one(tmp_path_factory, kill, every, segment):
    place = tmp_path_factory.mktemp("loop")

    class Kind(Regression):
        save_every, epoch_length = every, 4

    Kind.segment = segment
    whole = Kind(Settings(), place / "whole")
    whole.run()
    assert whole.finished and [line["step"] for line in whole.log] == list(range(1, 13))
    broken, real = Kind(Settings(), place / "broken"), Kind.optimise

    def optimise():
        if broken.step_number == kill:
            raise Killed
        return real(broken)

    broken.optimise = optimise
    with pytest.raises(Killed):
        broken.run()
    again = Kind(Settings(), place / "broken")
    again.resume()
    saved = [n for n in range(kill + 1) if n % every == 0 and n % segment == 0]
    assert again.step_number == saved[-1]
    again.run()
    same(again, whole)


def test_it_stops_where_asked_and_goes_on(tmp_path):
    whole, part = Regression(Settings(), tmp_path / "a"), Regression(Settings(), tmp_path / "b")
    whole.run()
    part.run(stop=5)
    assert read_checkpoint(part.checkpoint)["step"] == 5 and part.seconds > 0
    again = Regression(Settings(), tmp_path / "b")
    again.resume()
    assert again.seconds == part.seconds
    again.run(stop=3)  # is past it
    assert again.step_number == 5
    again.run(stop=99)
    same(again, whole)


def test_epochs_end_once_each_and_may_end_the_training(tmp_path):
    class Kind(Regression):
        epoch_length, save_every = 4, 1

        @property
        def finished(self):
            return len(self.ended) == 2

    loop = Kind(Settings(steps=40), tmp_path)
    loop.run(stop=4)
    assert loop.ended == [(1, 4)] and (loop.epoch, loop.step_of_epoch) == (1, 0)
    again = Kind(Settings(steps=40), tmp_path)
    again.resume()
    again.run()
    assert again.ended == [(1, 4), (2, 8)] and again.step_number == 8
    assert read_checkpoint(again.checkpoint)["step"] == 8


def test_checkpoints_by_seconds(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    saved = []

    class Kind(Regression):
        save_seconds = 10.0

        def optimise(self):
            clock[0] += 4.0
            return super().optimise()

        def save(self):
            saved.append((self.step_number, self.seconds))
            super().save()

    Kind(Settings(), tmp_path).run()
    assert saved == [(3, 12.0), (6, 24.0), (9, 36.0), (12, 48.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_kept_nowhere(tmp_path, value):
    class Kind(Regression):
        save_every = 1

        def optimise(self):
            losses = super().optimise()
            return {"mse": value} if self.step_number == 2 else losses

    loop = Kind(Settings(), tmp_path)
    with pytest.raises(AubenchError, match=f"mse is {value} at step 3; use a smaller rate"):
        loop.run()
    assert read_checkpoint(loop.checkpoint)["step"] == 2 and len(loop.log) == 2


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    Regression(Settings(), tmp_path).save()
    Regression(Settings(log_every=5), tmp_path).resume()  # does not count
    other = Regression(replace(Settings(), rate=0.1, steps=9), tmp_path)
    other.data = "photographs"
    with pytest.raises(AubenchError) as caught:
        other.resume()
    assert str(caught.value) == (
        f"{tmp_path / 'checkpoint.pt'} is of another training (rate was 0.05, now 0.1; steps was "
        "12, now 9; data was noise, now photographs); use another --out"
    )
    assert other.step_number == 0


def test_a_checkpoint_that_does_not_fit_is_damaged(tmp_path):
    loop = Regression(Settings(), tmp_path)
    loop.save()
    for key, value in (("average", None), ("model", {"weight": torch.zeros(7)})):
        state = read_checkpoint(loop.checkpoint)
        state = {k: v for k, v in state.items() if k != key} | ({key: value} if value else {})
        torch.save(state, loop.checkpoint)
        with pytest.raises(AubenchError, match=r"checkpoint\.pt is damaged; remove it"):
            Regression(Settings(), tmp_path).resume()
        loop.save()
    fresh = Regression(Settings(), tmp_path / "none")
    fresh.resume()
    assert fresh.step_number == 0


class Processes:
    """What ``accelerate`` tells one of several processes."""

    def __init__(self, count, rank):
        self.num_processes, self.process_index = count, rank
        self.device, self.waited, self.apart = torch.device("cpu"), 0, []

    def wait_for_everyone(self):
        self.waited += 1

    def reduce(self, values, kind):
        assert kind == "mean"
        return values * 2

    @contextmanager
    def no_sync(self, model):
        self.apart.append(model)
        yield


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
def test_the_processes_share_a_batch_without_gap(tmp_path_factory, batch, count, accumulate):
    place, seen = tmp_path_factory.getbasetemp(), []
    for rank in range(count):
        loop = Regression(Settings(), place, accelerator=Processes(count, rank))
        mine = loop.batch_parts(batch, accumulate)
        assert len(mine) == accumulate
        seen += [row for part in mine for row in range(part.start, part.stop)]
    assert sorted(seen) == list(range(batch))
    loop.check_batch(count * accumulate, accumulate)
    with pytest.raises(AubenchError, match="cannot be cut into"):
        loop.check_batch(count * accumulate - 1, accumulate)


def test_the_first_process_writes_and_all_wait(tmp_path, capsys, monkeypatch):
    @contextmanager
    def loud(total, label, unit="it", initial=0):
        """A bar that no environment switches off."""
        with tqdm(total=total, desc=label, disable=False, file=sys.stderr) as shown:
            yield shown

    monkeypatch.setattr("aubench.training.loop.bar", loud)
    loops = [Regression(Settings(), tmp_path, accelerator=Processes(2, rank)) for rank in (1, 0)]
    loops[0].run()
    assert not loops[0].checkpoint.exists() and capsys.readouterr().err == ""
    loops[1].run()
    assert loops[1].checkpoint.is_file() and "regression" in capsys.readouterr().err
    assert [loop.accelerator.waited for loop in loops] == [1, 1]
    values = torch.ones(2)
    assert loops[0].mean_over_processes(values).tolist() == [2, 2]
    with loops[0].own_gradients(loops[0].model, last=True):
        assert loops[0].accelerator.apart == []
    with loops[0].own_gradients(loops[0].model, last=False):
        assert loops[0].accelerator.apart == [loops[0].model]
    alone = Regression(Settings(), tmp_path)
    assert alone.mean_over_processes(values) is values and alone.is_first


def test_the_average_in_closed_form():
    average = {"w": torch.zeros(2), "n": torch.tensor(0), "book": torch.zeros(2)}
    values = {"w": torch.ones(2), "n": torch.tensor(5), "book": torch.full((2,), 3.0)}
    update_average(average, values, 0.9, 1, lambda name: name == "book")
    assert average["w"].tolist() == pytest.approx([9 / 11] * 2)  # (1 + 1) / (10 + 1) stays
    assert int(average["n"]) == 5 and average["book"].tolist() == [3, 3]
    update_average(average, values, 0.9, 1000, lambda name: name == "book")
    assert average["w"].tolist() == pytest.approx([9 / 11 * 0.9 + 0.1] * 2)
    update_average(average, {"w": torch.full((2,), 4.0)}, 0.0, 1000)
    assert average["w"].tolist() == [4, 4]


def test_gradients_are_clipped_to_the_norm(tmp_path):
    loop = Regression(Settings(), tmp_path)
    plain = torch.optim.SGD(loop.model.parameters(), lr=1.0)
    for clip, expected in ((0.5, 0.5), (None, 20.0), (0.0, 20.0), (99.0, 20.0)):
        before = loop.model.weight.detach().clone()
        loop.model.weight.grad = torch.tensor([[0.0, 12.0, 16.0]])
        loop.model.bias.grad = torch.zeros(1)
        loop.descend(plain, loop.model.parameters(), clip)
        moved = (loop.model.weight.detach() - before).norm()
        assert float(moved) == pytest.approx(expected, rel=1e-4)


def test_precision(tmp_path):
    with pytest.raises(AubenchError, match="precision float16 needs a GPU"):
        Regression(Settings(), tmp_path, precision="float16")
    for precision, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        loop = Regression(Settings(), tmp_path, precision=precision)
        with loop.autocast():
            assert loop.model(torch.ones(1, 3)).dtype == kind
        assert loop.model.weight.dtype == torch.float32
