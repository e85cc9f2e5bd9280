"""Statistics against closed forms, other implementations and simulation."""

from itertools import combinations, permutations

import choix
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aubench.errors import AubenchError
from aubench.study.analysis import agreement, comparisons, exclusion, intervals, power
from aubench.study.analysis import plackett_luce as worths
from aubench.study.analysis.answers import Ranked
from aubench.study.analysis.results import Comparison, read_results
from aubench.study.design.files import Key, KeyTrial, Rules


def random_ranks(seed, *shape, strength=0.0):
    generator = np.random.default_rng(seed)
    utility = generator.gumbel(size=shape) - strength * np.arange(shape[-1])
    return stats.rankdata(-utility, axis=-1)


def as_ranked(ranks, combinations):
    models = tuple("abcdefghi"[: ranks.shape[2]])
    raters = tuple(map(str, range(len(ranks))))
    items = tuple(f"item{i}" for i in range(ranks.shape[1]))
    return Ranked(raters, items, tuple(combinations), models, ranks)


def test_kendalls_w_of_known_tables():
    same = np.tile([1.0, 2.0, 3.0, 4.0], (5, 1))
    assert agreement.kendall_w(same) == pytest.approx(1.0)
    against = np.array([[1.0, 2, 3, 4], [4.0, 3, 2, 1]])
    assert agreement.kendall_w(against) == pytest.approx(0.0)
    # Siegel and Castellan's worked form: W = 12 S / (m^2 (n^3 - n)), by hand for 3 judges.
    ranks = np.array([[1.0, 6, 3, 2, 5, 4], [1.0, 5, 6, 4, 2, 3], [6.0, 3, 2, 5, 4, 1]])
    assert agreement.kendall_w(ranks) == pytest.approx(12 * 25.5 / (9 * 210))
    assert agreement.kendall_w(np.ones((3, 4)) * 2.5) is None
    assert agreement.kendall_w(ranks[:1]) is None


@pytest.mark.parametrize("decimals", [3, 0])  # 0 makes ties
def test_w_and_friedman_agree_with_scipy_and_the_larger_p_counts(decimals):
    generator = np.random.default_rng(4)
    scores = np.round(generator.normal(0, 1.3, (14, 6, 5)) - np.arange(5) / 3, decimals)
    found = agreement.friedman(scores)
    for blocks, axis in ((found.by_rater, 1), (found.by_item, 0)):
        means = scores.mean(axis=axis)
        expected = stats.friedmanchisquare(*means.T)
        assert blocks.statistic == pytest.approx(expected.statistic)
        assert blocks.p == pytest.approx(expected.pvalue)
        assert blocks.blocks == len(means)
    assert found.p == max(found.by_rater.p, found.by_item.p)
    ranks = stats.rankdata(-scores.mean(axis=1), axis=1)
    assert found.by_rater.statistic == pytest.approx(14 * 4 * agreement.kendall_w(ranks))
    assert agreement.friedman(np.ones((4, 4, 3))).p is None


def test_holm_agrees_with_statsmodels_by_hand_and_levels_go_with_it():
    p = np.array([0.001, 0.2, 0.012, 0.03])
    adjusted, level = comparisons.holm(p)
    assert adjusted.tolist() == pytest.approx([0.004, 0.2, 0.036, 0.06])
    assert level.tolist() == pytest.approx([0.05 / 4, 0.05 / 2, 0.05 / 3, 0.05 / 2])
    assert ((p < level) == (adjusted < 0.05)).all()
    generator = np.random.default_rng(0)
    for _ in range(200):  # an interval excludes zero just where the adjusted p says so
        p = generator.uniform(0, 0.06, 6)
        adjusted, level = comparisons.holm(p)
        assert ((p < level) == (adjusted < 0.05)).all()


def test_pairs_are_told_apart_as_their_intervals_say_and_letters_follow():
    question = power.Question(1.5, 4, 3, 0.2, 0.3)
    scores = power.simulate_scores(question, 3.0, 12, 4, np.random.default_rng(1))
    names = [str(i // 4) for i in range(12)]
    found = comparisons.compare(scores, names, "abcd")
    assert [(c.first, c.second) for c in found][:2] == [("a", "b"), ("a", "c")]
    means = scores.mean(axis=(0, 1))
    for one in found:
        gap = means["abcd".index(one.first)] - means["abcd".index(one.second)]
        assert one.difference == pytest.approx(gap) and one.p <= one.p_holm
        assert (one.low > 0 or one.high < 0) == (one.p_holm < 0.05)
    order = sorted("abcd", key=lambda name: -means["abcd".index(name)])
    letters = comparisons.letters(found, order)
    assert letters["a"] == "a" and not set(letters["a"]) & set(letters["b"])
    for one in found:
        shared = bool(set(letters[one.first]) & set(letters[one.second]))
        assert shared == (one.p_holm >= 0.05)


def test_single_faces_shown_to_some_raters_keep_the_level():
    """Each rater sees one of three models on each item; the models do not differ."""
    generator = np.random.default_rng(5)
    alarms = []
    for _ in range(150):
        raters, items, models = 15, 12, 3
        whole = (
            0.5 * generator.standard_normal((raters, 1, models))
            + 0.7 * generator.standard_normal((1, items, models))
            + generator.standard_normal((raters, items, models))
        )
        turn = (np.arange(raters)[:, None] + np.arange(items)[None]) % models
        seen = np.where(turn[..., None] == np.arange(models), whole, np.nan)
        found = comparisons.contrasts(seen, [str(i // 4) for i in range(items)])
        alarms.append((found.p < 0.05).mean())
    assert 0.01 < np.mean(alarms) < 0.09


@pytest.mark.parametrize(("raters", "items"), [(10, 3), (60, 3), (20, 5)])
def test_models_that_do_not_differ_are_told_apart_in_one_study_of_twenty(raters, items):
    question = power.Question(0.5, 4, 3)
    single, family = power.false_alarms(question, raters, items, 120)
    # Raters alone as blocks reject in 19 to 72 % of such studies.
    assert 0.015 < single < 0.09 and family < 0.11


def test_krippendorffs_alpha_of_known_tables():
    same = np.tile(random_ranks(1, 1, 6, 5), (4, 1, 1))
    assert agreement.alpha(same) == pytest.approx(1.0)
    assert abs(agreement.alpha(random_ranks(2, 40, 30, 5))) < 0.02
    pair = random_ranks(3, 2, 12, 4)
    a, b = pair.reshape(2, -1)
    # Two coders, no ties, equal margins: the ordinal distance is between mid-positions.
    values = np.arange(1, 5)
    n = 24
    place = {v: sum(n for u in values if u < v) + n / 2 for v in values}
    observed = np.mean([(place[x] - place[y]) ** 2 for x, y in zip(a, b, strict=True)])
    both = np.concatenate([a, b])
    every = [
        (place[x] - place[y]) ** 2 for i, x in enumerate(both) for j, y in enumerate(both) if i != j
    ]
    assert agreement.alpha(pair) == pytest.approx(1 - observed / np.mean(every))
    assert agreement.alpha(np.ones((1, 2, 3))) is None


def test_expected_scores_by_counting_all_orders():
    values = np.array([5.0, 2.0, 1.0, 0.5])
    expected = np.zeros(4)
    for order in permutations(range(4)):
        chance, left = 1.0, list(order)
        while left:
            chance *= values[left[0]] / values[left].sum()
            left = left[1:]
        for place, model in enumerate(order):
            expected[model] += chance * (4 - place)
    assert worths.expected_scores(values) == pytest.approx(expected)
    assert worths.expected_scores(values).sum() == pytest.approx(10.0)


def test_worths_of_pairs_agree_with_choix():
    generator = np.random.default_rng(3)
    wins = generator.integers(1, 9, (4, 4)).astype(float) * (1 - np.eye(4))
    found = worths.bradley_terry(wins[None])[0]
    pairs = [(i, j) for i in range(4) for j in range(4) for _ in range(int(wins[i, j]))]
    expected = np.exp(choix.opt_pairwise(4, pairs))
    assert found == pytest.approx(expected / expected.sum(), abs=1e-5)


def test_worths_agree_with_choix():
    ranks = random_ranks(5, 200, 5, strength=0.4)
    orders = np.argsort(ranks, axis=1)
    distinct, counts = np.unique(orders, axis=0, return_counts=True)
    found = worths.fit(distinct, counts[None].astype(float))[0]
    expected = np.exp(choix.opt_rankings(5, orders.tolist(), alpha=0.0, tol=1e-9))
    assert found == pytest.approx(expected / expected.sum(), rel=1e-4)


def test_many_weightings_at_once_are_each_their_own():
    orders = np.argsort(random_ranks(5, 30, 4, strength=0.4), axis=1)
    weights = np.random.default_rng(0).integers(1, 4, (3, 30)).astype(float)
    together = worths.fit(orders, weights)
    for row, alone in zip(weights, together, strict=True):
        repeated = np.repeat(orders, row.astype(int), axis=0)
        assert worths.fit(repeated, np.ones((1, len(repeated))))[0] == pytest.approx(alone, 1e-6)


def test_a_tie_counts_as_every_order_it_admits():
    orders, weights = worths.strict_orders(np.array([1.5, 1.5, 3.0, 4.0]))
    assert orders.tolist() == [[0, 1, 2, 3], [1, 0, 2, 3]] and weights.tolist() == [0.5, 0.5]
    orders, weights = worths.strict_orders(np.full(4, 2.5))
    assert len(orders) == 24 and weights.sum() == pytest.approx(1)
    assert worths.fit(orders, weights[None])[0] == pytest.approx([0.25] * 4)


def test_a_model_that_always_loses_is_worth_nothing():
    orders = np.array([[0, 1, 2], [1, 0, 2]])
    found = worths.fit(orders, np.ones((1, 2)))[0]
    assert found == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)


def test_weighted_means_are_means_of_repeated_rows():
    scores = 6 - random_ranks(7, 8, 6, 5)
    drawn = intervals.draw(["x"] * 3 + ["y"] * 3, 8, 4, seed=1)
    assert (drawn.raters.sum(axis=1) == 8).all()
    assert (drawn.items[:, :3].sum(axis=1) == 3).all() and (
        drawn.items[:, 3:].sum(axis=1) == 3
    ).all()
    found = intervals.weighted_means(scores, drawn)
    for row in range(4):
        rows = np.repeat(np.arange(8), drawn.raters[row].astype(int))
        columns = np.repeat(np.arange(6), drawn.items[row].astype(int))
        assert found[row] == pytest.approx(scores[rows][:, columns].mean(axis=(0, 1)))
    scores[2, 4] = np.nan
    holes = intervals.weighted_means(scores, intervals.Draws(np.ones((1, 8)), np.ones((1, 6))))
    assert holes[0] == pytest.approx(np.nanmean(scores, axis=(0, 1)))


def test_two_way_error_is_that_of_the_components():
    """Variance of the mean over repeated studies against the mean of its estimate."""
    generator = np.random.default_rng(3)
    names = ["x"] * 4 + ["y"] * 4
    means, errors = [], []
    for _ in range(2000):
        scores = (
            generator.normal(0, 0.5, (10, 1, 1))
            + generator.normal(0, 0.8, (1, 8, 1))
            + generator.normal(0, 1.0, (10, 8, 1))
        )
        means.append(scores.mean())
        errors.append(intervals.two_way_error(scores, names)[0][0] ** 2)
    exact = 0.25 / 10 + 0.64 / 8 + 1.0 / 80
    assert np.var(means) == pytest.approx(exact, rel=0.1)
    assert np.mean(errors) == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize(("raters", "items"), [(0.0, 0.0), (0.6, 0.8)])
def test_intervals_hold_the_truth_as_often_as_they_say(raters, items):
    """200 studies each; truth in closed form, or by 200,000 draws with random effects."""
    question = power.Question(0.8, 4, 3, raters, items)
    gap = power.gap_of(question)
    generator = np.random.default_rng(11)
    logs = np.array([gap / 2, -gap / 2, 0, 0])
    spread = np.hypot(raters, items)
    truth = worths.expected_scores(
        np.exp(logs + spread * generator.standard_normal((200_000, 4)))
    ).mean(axis=0)
    names = [name for name in "xyz" for _ in range(4)]
    hits = []
    for seed in range(200):
        scores = power.simulate_scores(question, gap, 12, 4, generator)
        found = intervals.auchs(as_ranked(5 - scores, names), draws=300, seed=seed)
        hits.append((found.low <= truth) & (truth <= found.high))
    coverage = np.mean(hits, axis=0)
    # Nominal 0.95; four standard errors of 200 studies are 0.062.
    assert (coverage > 0.888).all() and coverage.mean() > 0.925 and coverage.mean() < 0.99


def test_intervals_lie_within_the_scale_and_around_the_value():
    ranks = random_ranks(9, 6, 6, 4, strength=3.0)
    found = intervals.auchs(as_ranked(ranks, "xxxyyy"), draws=300)
    assert (found.low >= 1).all() and (found.high <= 4).all()
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    assert found.value.sum() == pytest.approx(10.0)
    held = intervals.worths(as_ranked(ranks, "xxxyyy"), draws=100)
    assert held.value.sum() == pytest.approx(1.0)
    assert (held.low <= held.value + 1e-12).all() and (held.high <= 1).all()


def test_one_item_a_combination_still_gives_an_interval():
    found = intervals.auchs(as_ranked(random_ranks(9, 6, 2, 4), "xy"), draws=200)
    assert (found.high > found.low).any()


def frame_of(records):
    columns = ["rater", "trial", "kind", "model", "image", "rank", "seconds", "item", "combination"]
    return pd.DataFrame(records, columns=columns)


def test_each_rule_strikes_whom_it_names():
    key = Key(
        secret="",
        seed=0,
        models=("a", "b"),
        runs={},
        images={},
        trials={
            "m": KeyTrial(kind="main", sample="s", subject="S"),
            "d": KeyTrial(kind="duplicate", sample="s", subject="S", repeats="m"),
            "g": KeyTrial(kind="gold", sample="q", subject="S", best="t"),
        },
    )
    records = []
    people = [("1", 9, 1, 0), ("2", 1, 1, 0), ("3", 9, 2, 0), ("4", 9, 1, 1), ("5", 9, 1, 0)]
    for rater, seconds, gold, swap in people:
        for trial, kind, first in (("m", "main", "a"), ("d", "duplicate", "ba"[swap == 0])):
            order = "ab" if first == "a" else "ba"
            records += [
                (rater, trial, kind, model, f"i{model}", place, seconds, "s", "12+15")
                for place, model in enumerate(order, 1)
            ]
        records.append((rater, "g", "gold", "target", "t", gold, seconds, "q", "12+15"))
        records.append((rater, "g", "gold", "wrong", "w", 3 - gold, seconds, "q", "12+15"))
    frame = frame_of(records)
    rules = Rules(min_gold=0.5, min_seconds=3.0, min_self_tau=0.0)
    found = exclusion.exclusions(frame, key, rules, {"1", "2", "3", "4"})
    assert [rule.raters for rule in found] == [("5",), ("3",), ("2",), ("4",)]
    assert exclusion.self_tau(frame, key)["4"] == -1.0
    lenient = Rules(min_gold=0.0, min_seconds=0.0, finished_only=False)
    assert not any(rule.raters for rule in exclusion.exclusions(frame, key, lenient, set()))


def test_letters_join_what_cannot_be_told_apart():
    apart = {("a", "c"), ("a", "d"), ("a", "e"), ("b", "d"), ("b", "e"), ("c", "e")}
    found = [
        Comparison(
            first=x,
            second=y,
            difference=0.0,
            low=0.0,
            high=0.0,
            p=0.0,
            p_holm=0.01 if (x, y) in apart else 0.5,
        )
        for x, y in combinations("abcde", 2)
    ]
    groups = comparisons.groups_alike(found, "abcde")
    assert groups == [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")]
    letters = comparisons.letters(found, "abcde")
    assert letters == {"a": "a", "b": "ab", "c": "bc", "d": "cd", "e": "d"}
    assert comparisons.letters([], "abc") == dict.fromkeys("abc", "a")


def test_a_damaged_results_file_is_one_line(tmp_path):
    path = tmp_path / "auchs.json"
    with pytest.raises(AubenchError, match="cannot read"):
        read_results(path)
    for text in ("", "{}", '{"study": 3}'):
        path.write_text(text)
        with pytest.raises(AubenchError, match="not a results file"):
            read_results(path)


def test_power_grows_and_is_the_level_where_nothing_differs():
    question = power.Question(0.6, 4, 2, 0.2, 0.2)
    small, large = power.power(question, [6, 24], [3], studies=150, seed=1)
    assert small.holm < 0.4 and large.paired > 0.55
    nothing = power.Question(1e-6, 4, 2, 0.2, 0.2)
    (level,) = power.power(nothing, [12], [3], studies=400, seed=1)
    assert level.paired < 0.06  # one side of 5 %
    assert level.holm < 0.06


def test_the_gap_of_two_models_is_a_logit():
    # Two models: scores differ by 2 p - 1.
    gap = power.gap_of(power.Question(0.4, 2, 1, 0.0, 0.0))
    assert gap == pytest.approx(np.log(0.7 / 0.3), abs=1e-6)
    with pytest.raises(AubenchError, match="less than 4"):
        power.gap_of(power.Question(4.5))
