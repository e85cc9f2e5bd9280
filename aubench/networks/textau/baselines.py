"""What a classifier of texts must beat: a bag of words on the same texts, and our patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS, labels_of
from aubench.facs.describe import mentioned
from aubench.networks.textau.corpus import UNKNOWN_AU, Corpus, Labels

Predict = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts to probabilities float32 [N, 12]."""

TEXTS = 40_000
"""Texts that the bag of words is fitted to."""

RAREST = 3
"""Texts that a word must stand in to be counted."""


def split_words(text: str) -> list[str]:
    """Return words and numbers in lower case; ``AU12C`` is *au*, *12* and *c*."""
    return re.findall(r"[a-z]+|[0-9]+", text.lower())


def rule_based(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return 1 where a pattern of our dictionary finds the AU's action, else 0."""
    if not len(texts):
        return np.empty((0, len(AUS)), np.float32)
    return np.stack([labels_of(sorted(mentioned(text))) for text in texts]).astype(np.float32)


def draw_texts(corpus: Corpus, count: int, seed: int) -> tuple[list[str], Labels]:
    """Return training texts of a corpus as its epochs draw them, and labels uint8 [N, 12]."""
    rng = np.random.default_rng([seed, 1])
    rows = rng.integers(0, len(corpus.labels), count)
    examples = [corpus.draw(int(row), rng) for row in rows]
    return [e.text for e in examples], np.stack([e.labels for e in examples])


def bag_of_words(corpus: Corpus, seed: int, count: int = TEXTS) -> Predict:
    """Fit a logistic regression an AU to which words stand in a text; return its prediction.

    Args:
        corpus: Whose training texts are drawn.
        seed: Of the draw.
        count: Of texts.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = draw_texts(corpus, count, seed)
    rarest = RAREST if count >= 1000 else 1
    words = CountVectorizer(binary=True, analyzer=split_words, min_df=rarest)
    features = words.fit_transform(texts)
    models = []
    for column in labels.T:
        known = column != UNKNOWN_AU
        values = np.unique(column[known])
        if len(values) < 2:
            models.append(float(values[0]) if len(values) else 0.0)
            continue
        model = LogisticRegression(solver="liblinear", random_state=seed)
        models.append(model.fit(features[known], column[known]))

    def predict(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if not len(texts):
            return np.empty((0, len(AUS)), np.float32)
        found = words.transform(texts)
        columns = [
            np.full(len(texts), m) if isinstance(m, float) else m.predict_proba(found)[:, 1]
            for m in models
        ]
        return np.stack(columns, 1).astype(np.float32)

    return predict
