"""Text vectors of few dimensions or many: TF-IDF exact, TF-IDF with SVD, or a word2vec/GloVe file.

Only the words of the class and query texts (and, with word vectors, of a sample of titles) are kept, so that
memory does not grow with the number of rows. ``urnet.reweight.evidence.text_match`` compares
rows with classes in a space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from urnet.core.checks import InputError

MAX_WORDS = 200_000  # words of titles kept in addition to those of class and query texts, the most frequent ones
MAX_TITLES = 200_000  # titles looked at, a seeded sample
_WORD = r"(?u)\b\w\w+\b"


class TextSpace:
    """Where texts are vectors of length 1: v(text) ∝ Σ over its known words of a vector each.

    ``words`` (V,) lower case; ``word_vectors`` (V, dim), a SciPy sparse matrix or an array, IDF weights
    multiplied in; ``classes`` (n_classes, dim), the vectors of the class texts. A word counts once a text:
    titles repeat their words in tags and description.
    """

    def __init__(self, words: Sequence[str], word_vectors: Any, class_texts: Sequence[str]) -> None:
        self.words, self.word_vectors, self.dim = list(words), word_vectors, word_vectors.shape[1]
        self._counter = _counter(self.words)
        self.classes = self.vectors(class_texts)

    def vectors(self, texts: Sequence[str]) -> Any:
        """(n, dim) float32, each of L2 norm 1, or all zeros where no word is known.

        A SciPy CSR matrix in a sparse space (exact TF-IDF), an array otherwise.
        """
        if not len(texts):
            return self.word_vectors[:0].astype(np.float32)
        found = self._counter.transform(texts) @ self.word_vectors
        return normalize(found, copy=False).astype(np.float32)


def tfidf_space(class_texts: Sequence[str], *, titles: Sequence[str] = (), seed: int = 0) -> TextSpace:
    """Sparse TF-IDF over the words of the class texts: the space for text evidence (ours).

    weight(w) = (ln((1 + C) / (1 + C_w)) + 1) (ln((1 + D) / (1 + D_w)) + 1): C classes, C_w of them with the
    word; D titles, D_w with it. So "picture", which is one class's name and in every title, weighs little,
    and words no class has (a camera's name, "wallpaper hd") do not count at all. No SVD: it puts "dog" and
    "cat" close together because their titles are alike, which is just what evidence must tell apart; the
    exact product of sparse rows costs no more. An English plural counts as its singular.
    Raises InputError when the class texts hold no word.
    """
    words, merge = _with_plurals(_words_of(class_texts))
    return TextSpace(words, merge @ sparse.diags(_idf(words, merge, class_texts, titles, seed)), class_texts)


def svd_space(
    class_texts: Sequence[str],
    *,
    queries: Sequence[str] = (),
    titles: Sequence[str] = (),
    dim: int = 256,
    seed: int = 0,
) -> TextSpace:
    """TF-IDF as in ``tfidf_space``, then truncated SVD: dense vectors for the relevance model.

    The SVD is fitted on class texts, queries and a sample of titles. ``dim`` is cut to what words and texts
    allow. The same seed gives the same vectors.
    """
    words, merge = _with_plurals(_words_of([*class_texts, *queries]))
    weighted = merge @ sparse.diags(_idf(words, merge, class_texts, titles, seed))
    texts = [*class_texts, *queries, *_sample(titles, seed)]
    documents = normalize(_counter(words).transform(texts) @ weighted)
    dim = min(dim, *(size - 1 for size in documents.shape))
    if dim < 1:
        raise InputError(f"text vectors: {documents.shape} texts x words is too little for an SVD")
    svd = TruncatedSVD(dim, random_state=seed).fit(documents)
    return TextSpace(words, np.asarray(weighted @ svd.components_.T, np.float32), class_texts)


def word_space(
    path: str | Path,
    class_texts: Sequence[str],
    *,
    queries: Sequence[str] = (),
    titles: Sequence[str] = (),
    seed: int = 0,
) -> TextSpace:
    """Word vectors from a word2vec or GloVe *text* file; a text is the IDF-weighted mean of its known words.

    Kept are vectors of words in class texts, queries and the most frequent words of a sample of titles. Words
    are looked up in lower case. Raises InputError naming file and line: ``read_word_vectors``; and when the
    file knows no word of the class texts.
    """
    wanted = dict.fromkeys(_words_of([*class_texts, *queries]))
    wanted.update(dict.fromkeys(_words_of(_sample(titles, seed), MAX_WORDS) if len(titles) else ()))
    found = read_word_vectors(path, list(wanted))
    if not found:
        raise InputError(f"{path}: knows no word of the class texts")
    words = sorted(found)
    same = sparse.identity(len(words), format="csr")
    idf = _idf(words, same, class_texts, titles, seed)
    space = TextSpace(words, np.stack([found[word] for word in words]) * np.float32(idf[:, None]), class_texts)
    if not space.classes.any():
        raise InputError(f"{path}: knows no word of the class texts")
    return space


def read_word_vectors(path: str | Path, words: Sequence[str]) -> dict[str, np.ndarray]:
    """The (dim,) float32 vectors of ``words`` that a word2vec or GloVe text file has.

    Lines are `word x1 … xd`, all of one length; a first line `count dim` is a header. A word may hold blanks
    (GloVe has such). Of a word twice the first counts; words that are not UTF-8 are passed over, like any not
    wanted. Raises InputError with the line's number for a line of another length, and for a wanted word's
    number that is none.
    """
    wanted = {word.encode(): word for word in words}
    found: dict[str, np.ndarray] = {}
    dim = 0
    for number, line in _file_lines(Path(path)):
        parts = line.split(b" ") if b"\t" not in line else line.split()
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            dim = int(parts[1])
            continue
        dim = dim or len(parts) - 1
        if dim < 1 or len(parts) <= dim:
            raise InputError(
                f"{path}:{number}: found {len(parts) - 1} numbers; a word and {max(dim, 1)} numbers are accepted"
            )
        word = wanted.get(b" ".join(parts[:-dim]))
        if word is not None and word not in found:
            found[word] = _numbers(path, number, parts[-dim:])
    return found


def _file_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without trailing blanks) of the lines that are not empty."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line := line.rstrip():
                    yield number, line
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _numbers(path: Any, number: int, parts: list[bytes]) -> np.ndarray:
    try:
        vector = np.array([float(part) for part in parts], np.float32)
    except ValueError as error:
        raise InputError(f"{path}:{number}: {error}; a word and {len(parts)} numbers are accepted") from None
    if not np.isfinite(vector).all():
        raise InputError(f"{path}:{number}: found a number that is not finite")
    return vector


def _counter(words: Sequence[str]) -> CountVectorizer:
    """Which of ``words`` (lower case) a text has."""
    return CountVectorizer(binary=True, token_pattern=_WORD, vocabulary=list(words), dtype=np.float32)


def _words_of(texts: Sequence[str], most: int | None = None) -> list[str]:
    """The texts' words in alphabetical order; with ``most`` only so many of the most frequent."""
    if not any(re.search(_WORD, text) for text in texts):
        raise InputError("text vectors: the texts hold no word of two letters or more")
    counter = CountVectorizer(token_pattern=_WORD, max_features=most).fit(texts)
    return sorted(counter.vocabulary_)


def _with_plurals(words: list[str]) -> tuple[list[str], Any]:
    """The words and their English plurals; (forms, words) matrix of ones that makes the forms one word.

    A plural that is itself among the words becomes its singular.
    """
    known = set(words)
    singular = {word + end: word for end in ("es", "s") for word in words if not word.endswith("s")}
    singular.update({f"{word}es": word for word in words if word.endswith(("s", "x", "ch", "sh"))})
    singular.update({f"{word[:-1]}ies": word for word in words if word.endswith("y")})
    forms, targets = sorted(known | singular.keys()), sorted(known - singular.keys())
    place = {word: i for i, word in enumerate(targets)}
    columns = [place[_root(form, singular)] for form in forms]
    shape = (len(forms), len(targets))
    return forms, sparse.csr_matrix((np.ones(len(forms), np.float32), (range(len(forms)), columns)), shape)


def _root(word: str, singular: dict[str, str]) -> str:
    while word in singular:  # ends: a singular is shorter than its plural
        word = singular[word]
    return word


def _idf(words: Sequence[str], merge: Any, class_texts: Sequence[str], titles: Sequence[str], seed: int) -> np.ndarray:
    """(V,) weights of the merged words; the formula is in ``tfidf_space``."""
    weight = np.ones(merge.shape[1])
    for texts in (class_texts, _sample(titles, seed)):
        if len(texts):
            having = np.asarray(((_counter(words).transform(texts) @ merge) > 0).sum(axis=0)).ravel()
            weight *= np.log((1 + len(texts)) / (1 + having)) + 1
    return weight


def _sample(titles: Sequence[str], seed: int, most: int = MAX_TITLES) -> list[str]:
    """At most ``most`` of the titles."""
    if len(titles) <= most:
        return list(titles)
    rows = np.sort(np.random.default_rng(seed).choice(len(titles), most, replace=False))
    return [titles[row] for row in rows.tolist()]
