"""The evidence for each row's class, gathered for one stage: images, texts, ranks, and their sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from urnet.config.recipe import Recipe
from urnet.config.stage import Evidence
from urnet.data.lists.query_texts import read_query_texts
from urnet.data.table.table import BLOCK, SOURCES, Table
from urnet.reweight.evidence.class_similarity import class_similarity, confusion_counts
from urnet.reweight.evidence.decided import certain_rows
from urnet.reweight.evidence.heads_and_votes import HeadsAndVotes, Known, heads_and_votes
from urnet.reweight.evidence.out_of_fold import Settings, out_of_fold
from urnet.reweight.evidence.posterior import posterior
from urnet.reweight.evidence.ranks import rank_evidence
from urnet.reweight.evidence.relevance import relevance_model, reliable_rows
from urnet.reweight.evidence.text_match import text_evidence
from urnet.reweight.evidence.text_vectors import TextSpace, svd_space, tfidf_space, word_space

Columns = dict[str, np.ndarray]
TITLES = 200_000  # rows whose texts tell how common a word is


class StageEvidence:
    """Evidence for the rows that could be measured, those without that were decided to show none of the classes.

    ``features`` (n, d) array-like and ``labels`` (n,) are theirs; ``rows`` (n,): where they are in the table.
    """

    def __init__(
        self, recipe: Recipe, settings: Evidence, table: Table, rows: np.ndarray, features: Any, top_k: int
    ) -> None:
        self.recipe, self.settings, self.table, self.rows = recipe, settings, table, rows
        self.features, self.labels = features, table.column("label")[rows]
        self.decided = None if table.decided is None else table.decided[rows]
        self.certain = certain_rows(self.decided, self.labels)
        self.n_classes, self.top_k = recipe.data.n_classes, min(top_k, recipe.data.n_classes)

    def head(self, targets: tuple[np.ndarray, np.ndarray] | None = None, number: int = 0) -> Columns:
        """Out-of-fold probabilities of head ``number``, trained on the labels or on ``targets``.

        Labels are learned with classes even, as their sizes are a fault of the data; a posterior knows by
        itself how frequent each class is.
        """
        if self.settings.votes and targets is None:
            return self._both.head.columns
        return out_of_fold(
            self.features,
            self.labels,
            self.n_classes,
            folds=self.settings.folds,
            targets=targets,
            decided=self.decided,
            balanced=targets is None,
            shrinkage=self.settings.shrinkage,
            k=self.top_k,
            seed=self.recipe.seed + number,
        )

    def joined(self, first: Columns) -> Columns:
        """The posterior of each row's class. ``first``: the head trained on the labels.

        Each of ``rounds`` further heads learns from the posterior found so far: only where texts or ranks count, as
        a head that learned from its own output would only grow surer of it. With votes, the second head has done that.
        """
        if self.settings.votes:
            return self._with_votes() if self.head_only else self.posterior(self._with_votes())
        found = self.posterior(first)
        for number in range(0 if self.head_only else self.settings.rounds):
            head = self.head((found["index"], found["prob"]), number + 1)
            found = self.posterior(head)
        return found

    def relevance(self, first: Columns, found: Columns) -> np.ndarray:
        """(n,) the probability of each given label: the posterior's share of it.

        Where there is nothing but the head, its own confidence finds wrong labels better than the posterior does
        (the labels' noise, estimated from the same head, says nothing new of a single row).
        """
        return first["given"] if self.head_only and not self.settings.votes else found["given"]

    @cached_property
    def _both(self) -> HeadsAndVotes:
        settings = Settings(self.settings.folds, True, self.settings.shrinkage, self.top_k, self.recipe.seed)
        known, power = Known(None, self.decided), self.settings.vote_power
        return heads_and_votes(self.features, self.labels, self.n_classes, settings, known, power)

    def _with_votes(self) -> Columns:
        """What two heads and votes say; of the only row of its class, which no head has seen, nothing but its label."""
        index, prob = self._both.best(self.top_k)
        prob[~self._both.head.seen] = 0
        return {"index": index, "prob": prob.astype(np.float16), "given": self._both.relevance}

    @property
    def head_only(self) -> bool:
        """Whether there is nothing but the features: no texts, no ranks."""
        return self.text_label is None and (self.group is None or self.settings.noise == 0)

    def posterior(self, head: Columns) -> Columns:
        """What a teacher (index, prob, given), texts and ranks together say of each row's class."""
        return posterior(
            self.labels,
            self.n_classes,
            teacher_index=head["index"],
            teacher_prob=head["prob"],
            given_prob=head["given"],
            text_label=self.text_label,
            group=self.group,
            decided=self.decided,
            voted=None if self.certain is None else self.table.column("given")[self.rows],
            k=self.top_k,
            noise=self.settings.noise,
            text=self.settings.text,
        )

    @cached_property
    def text_label(self) -> np.ndarray | None:
        """(n,) the class each row's text names, -1 none; None where none does, or texts do not count."""
        found = self.text
        if found is None or not found["text_known"].any():
            return None
        return np.where(found["text_known"], found["text_index"][:, 0], -1)

    @cached_property
    def text(self) -> Columns | None:
        """What the rows' texts say (``text_evidence``); None where they do not count, or there are none."""
        if self.settings.text == 0:
            return None
        space = self._space()
        if space is None:
            return None
        return text_evidence(
            space, self._texts(), self.labels, self.n_classes, min(5, self.n_classes), least=self.settings.least_cosine
        )

    @cached_property
    def class_texts(self) -> list[str]:
        """(n_classes,) class names with their queries; "" where nothing is known."""
        return read_query_texts(self.recipe.data, self.table.class_names).classes

    def terms(
        self, first: Columns, weights: Mapping[str, float], reliable_rank: float
    ) -> tuple[Columns, dict[str, np.ndarray]]:
        """The evidence for each row's given label, term by term, and which rows each term is known for.

        Of text, rank and model those whose weight is above 0; ``reliable_rank`` is of the rows that train the model.
        """
        terms: Columns = {"confidence": self._both.relevance if self.settings.votes else first["given"]}
        known: Columns = {}
        if weights["text"] > 0 and self.text is not None:
            terms["text"], known["text"] = self.text["text_given"], self.text["text_known"]
        if weights["rank"] > 0:
            terms["rank"], known["rank"] = self.height
        if weights["model"] > 0:
            terms["model"], known["model"] = self._model(reliable_rank)
        return terms, known

    def _model(self, reliable_rank: float) -> tuple[np.ndarray, np.ndarray]:
        """The relevance model's cosine of image and query (or class) text, and where it is known."""
        found = read_query_texts(self.recipe.data, self.table.class_names)
        query, source, rank = (self.table.column(name)[self.rows] for name in ("query", "source", "rank"))
        reliable = reliable_rows(
            self.labels,
            self.n_classes,
            source=source,
            query=query,
            rank=rank,
            sources=[SOURCES.index("google")],
            quantile=reliable_rank,
        )
        if self.certain is not None:
            reliable = reliable | self.certain
        vectors = self._dense_space([*found.query, *found.classes]) if any(self.class_texts) else None
        named = np.array([bool(text) for text in found.query])
        asked = (query >= 0) & (query < len(named)) & named[np.clip(query, 0, len(named) - 1)]
        own = np.where(asked, query, len(found.query) + self.labels)
        if vectors is None:
            return np.zeros(len(self.rows), np.float32), np.zeros(len(self.rows), bool)
        model = relevance_model(
            self.features,
            self.labels,
            self.n_classes,
            text_vectors=vectors,
            text_of=own,
            reliable=reliable,
            seed=self.recipe.seed,
        )
        return model["cosine"], model["known"]

    def _dense_space(self, texts: list[str]) -> np.ndarray:
        """(texts, width) vectors for the relevance model: word vectors, or TF-IDF with truncated SVD."""
        titles = self._sample()
        if self.settings.word_vectors is not None:
            space = word_space(self.settings.word_vectors, self.class_texts, queries=texts, titles=titles)
        else:
            space = svd_space(self.class_texts, queries=texts, titles=titles, seed=self.recipe.seed)
        return np.asarray(space.vectors(texts))

    def similarity(self, first: Columns) -> Any:
        """Which classes are taken for one another, by the out-of-fold head and by the classes' texts."""
        held = slice(None) if self.certain is None else ~self.certain  # of the others their own head has learned
        confusion = confusion_counts(self.labels[held], self.n_classes, first["index"][held], first["prob"][held])
        space = self._space()
        text = None if space is None else space.classes @ space.classes.T
        return class_similarity(confusion, text)

    def _sample(self) -> list[str]:
        rows = np.linspace(0, len(self.rows) - 1, min(TITLES, len(self.rows))).astype(np.int64)
        return self.table.strings("text", self.rows[np.unique(rows)])

    def _space(self) -> TextSpace | None:
        if not any(self.class_texts):
            return None
        titles = self._sample()
        if not any(titles):
            return None
        if self.settings.word_vectors is not None:
            return word_space(self.settings.word_vectors, self.class_texts, titles=titles)
        return tfidf_space(self.class_texts, titles=titles, seed=self.recipe.seed)

    def _texts(self) -> Iterator[list[str]]:
        for start in range(0, len(self.rows), BLOCK):
            yield self.table.strings("text", self.rows[start : start + BLOCK])

    @cached_property
    def group(self) -> np.ndarray | None:
        """(n,) bin of rows alike in source and rank; None where no rank is known, or ranks do not count."""
        bins = self.settings.rank_bins
        height, known = self.height
        if bins == 0 or not known.any():
            return None
        source = self.table.column("source")[self.rows].astype(np.int64)
        place = np.minimum(((1 - height) * bins).astype(np.int64), bins - 1)
        group = np.where(known, 1 + source * bins + place, 0)
        return np.unique(group, return_inverse=True)[1]

    @cached_property
    def height(self) -> tuple[np.ndarray, np.ndarray]:
        """How high each row is in its query's results, 1 first to 0 last, and whether that is known."""
        rank, query, source = (self.table.column(name)[self.rows] for name in ("rank", "query", "source"))
        return rank_evidence(rank, query, source)
