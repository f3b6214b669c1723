"""Text vectors, text evidence and query texts: scikit-learn's, planted titles, broken files."""

import math

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.query_texts import read_query_texts
from urnet.reweight.evidence.text_match import text_evidence
from urnet.reweight.evidence.text_vectors import read_word_vectors, svd_space, tfidf_space, word_space

CLASSES = ["dog, domestic dog\nfunny puppy", "cat, house cat", "truck\nmotor truck", "picture, image"]
TITLES = ["picture of my dog", "picture of a cat", "two trucks", "picture, wallpaper hd", "picture of a dog"]


def evidence(space, texts, labels, **settings):
    settings = {"n_classes": space.classes.shape[0], "k": 2, **settings}
    return text_evidence(space, [texts], np.array(labels), **settings)


def expected_cosines(classes, titles, texts):
    """Words present times their idf among classes and among titles, by scikit-learn; words are in the singular."""
    count = TfidfVectorizer(binary=True, use_idf=False, norm=None, token_pattern=r"\w\w+").fit(classes)
    weight = np.ones(len(count.vocabulary_))
    for part in filter(None, (classes, titles)):
        weight *= TfidfVectorizer(vocabulary=count.vocabulary_, token_pattern=r"\w\w+").fit(part).idf_
    return normalize(count.transform(texts).multiply(weight)) @ normalize(count.transform(classes).multiply(weight)).T


def test_sparse_space_is_scikit_learns():
    texts = ["My DOG in the house", "a funny cat picture", "nothing here", "", "truck truck truck motor dog"]
    for titles in ([], [title.replace("trucks", "truck") for title in TITLES]):
        space = tfidf_space(CLASSES, titles=titles)
        got = space.vectors(texts)
        assert sparse.issparse(got) and got.dtype == np.float32
        cosine = (got @ space.classes.T).toarray()
        np.testing.assert_allclose(cosine, expected_cosines(CLASSES, titles, texts).toarray(), atol=1e-6)
        norms = np.sqrt(got.power(2).toarray().sum(axis=1))
        np.testing.assert_allclose(norms, [1, 1, 0, 0, 1], atol=1e-6)
        assert space.vectors([]).shape == (0, space.dim)


def test_plurals_are_their_singulars():
    space = tfidf_space(["fox", "baby", "glass", "horse riding", "cats", "cat house"])
    one = space.vectors(["fox", "baby", "glass", "horse", "cat"]).toarray()
    many = space.vectors(["Foxes", "babies", "glasses", "horses", "CATS"]).toarray()
    np.testing.assert_array_equal(one, many)
    assert not space.vectors(["as es ies bab"]).nnz


def test_what_every_title_says_counts_little():
    """`picture` is a class's name: without the titles it would weigh as much as `cat`."""
    text = ["picture of a cat"]
    plain = evidence(tfidf_space(["cat", "picture"]), text, [0])
    found = evidence(tfidf_space(["cat", "picture"], titles=TITLES), text, [0])
    assert plain["text_given"][0] == pytest.approx(0.5)
    assert found["text_given"][0] > 0.9


def test_text_evidence_by_hand():
    space = tfidf_space(["dog", "cat", "truck"])
    got = evidence(space, ["a dog", "cat!", "dog and cat", "wallpaper hd", ""], [0, 0, 1, 1, 2], k=3)
    assert {name: (v.dtype.str[1:], v.shape) for name, v in got.items()} == {
        "text_match": ("f4", (5,)),
        "text_given": ("f4", (5,)),
        "text_index": ("i4", (5, 3)),
        "text_prob": ("f2", (5, 3)),
        "text_known": ("b1", (5,)),
    }
    np.testing.assert_allclose(got["text_match"], [1, 0, math.sqrt(0.5), 0, 0], atol=1e-6)
    np.testing.assert_allclose(got["text_given"], [1, 0, 0.5, 0, 0], atol=1e-6)
    assert got["text_known"].tolist() == [True, True, True, False, False]
    assert got["text_index"].tolist() == [[0, 1, 2], [1, 0, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    shares = [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(got["text_prob"], shares, atol=1e-3)


def test_the_shares_are_the_documented_formula():
    space = tfidf_space(CLASSES)
    text, t, least = ["funny house dog with a motor"], 0.2, 0.1
    got = evidence(space, text, [2], k=4, temperature=t, least=least)
    cosine = expected_cosines(CLASSES, [], text).toarray()[0]
    raw = np.where(cosine > least, np.exp(cosine / t) - np.exp(least / t), 0)
    share = np.zeros(4)
    share[got["text_index"][0]] = got["text_prob"][0]
    np.testing.assert_allclose(share, raw / raw.sum(), atol=1e-3)
    assert got["text_given"][0] == pytest.approx(share[2], abs=1e-3)
    cold = evidence(space, text, [2], temperature=0.005)  # exp(200) does not overflow
    assert np.isfinite(cold["text_given"]).all()


def test_a_class_without_a_text_is_not_known():
    got = evidence(tfidf_space(["dog", "", "cat"]), ["a dog", "a dog"], [1, 2])
    assert got["text_known"].tolist() == [False, True]


def test_blocks_of_any_size_give_the_same():
    space, labels = tfidf_space(CLASSES), np.arange(50) % 4
    texts = [f"{CLASSES[i % 3]} {i}" for i in range(50)]
    whole = evidence(space, texts, labels)
    parts = text_evidence(space, iter([texts[:7], [], texts[7:]]), labels, 4, 2, block_cells=12)
    for name, column in whole.items():
        assert column.tobytes() == parts[name].tobytes()
    order = np.random.default_rng(0).permutation(50)
    shuffled = evidence(space, [texts[i] for i in order], labels[order])
    for name, column in whole.items():
        assert shuffled[name].tobytes() == column[order].tobytes()


def test_planted_wrong_titles_are_found():
    rng = np.random.default_rng(0)
    names = ["dog", "cat", "truck", "frog", "ship"]
    labels = rng.integers(5, size=400)
    wrong = rng.random(400) < 0.3
    shown = np.where(wrong, (labels + rng.integers(1, 5, 400)) % 5, labels)
    texts = [f"photo {names[c]}s nikon {i}" for i, c in enumerate(shown)]
    got = evidence(tfidf_space(names, titles=texts), texts, labels)
    assert got["text_given"][~wrong].min() > got["text_given"][wrong].max()
    assert (got["text_index"][:, 0] == shown).all() and got["text_known"].all()


def test_svd_space_keeps_the_geometry_is_cut_to_size_and_repeats():
    texts = ["dog house", "nothing", "truck"]
    space = svd_space(CLASSES, queries=["old dog", "cat food"], titles=TITLES, dim=256, seed=3)
    again = svd_space(CLASSES, queries=["old dog", "cat food"], titles=TITLES, dim=256, seed=3)
    assert space.dim < 12
    got = space.vectors(texts)
    assert isinstance(got, np.ndarray) and got.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), [1, 0, 1], atol=1e-5)
    assert got.tobytes() == again.vectors(texts).tobytes()
    exact = tfidf_space([*CLASSES, "old dog", "cat food"])
    cosine, expected = space.classes @ space.classes.T, (exact.classes @ exact.classes.T).toarray()[:4, :4]
    assert np.abs(cosine - expected).max() < 0.35 and (cosine.argmax(1) == np.arange(4)).all()


VECTORS = (
    b"dog 1 0 0\ncat 0.6 0.8 0\npuppy 1 0 0.1\n. . . 5 5 5\ntruck 0 0 1\nunused x y z\n\xff\xfe 1 2 3\ndog 9 9 9\n"
)


@pytest.mark.parametrize("header", [b"", b"8 3\n"])
def test_word_vectors(tmp_path, header):
    path = tmp_path / "vectors.txt"
    path.write_bytes(header + VECTORS)
    found = read_word_vectors(path, ["dog", "cat", "boat", "truck"])
    assert {word: vector.tolist() for word, vector in found.items()} == {
        "dog": [1, 0, 0],
        "cat": [np.float32(0.6), np.float32(0.8), 0],
        "truck": [0, 0, 1],
    }
    space = word_space(path, ["dog", "cat", "truck"], titles=["my puppy", "a truck"])
    got = space.vectors(["Puppy", "dog cat", "boat"])
    assert got[0] @ space.classes[0] > 0.99
    expected = np.array([1.6, 0.8, 0]) / np.linalg.norm([1.6, 0.8, 0])  # dog and cat are equally frequent
    np.testing.assert_allclose(got[1], expected, atol=1e-6)
    assert not got[2].any()
    found = evidence(space, ["puppy", "boat"], [0, 0], least=0.3)
    assert found["text_given"][0] > 0.9 and found["text_known"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dog 1 2 3\ncat 1 2\n", r"v.txt:2: found 2 numbers; a word and 3 numbers are accepted"),
        (b"2 4\ndog 1 2 3\n", r"v.txt:2: found 3 numbers; a word and 4 numbers"),
        (b"dog 1 2 x\n", r"v.txt:1: could not convert .*a word and 3 numbers"),
        (b"dog 1 nan 2\n", r"v.txt:1: found a number that is not finite"),
        (b"dog\n", r"v.txt:1: found 0 numbers"),
        (b"boat 1 2\n", r"v.txt: knows no word of the class texts"),
        (b"", r"v.txt: knows no word"),
        (None, r"v.txt: cannot be read"),
    ],
)
def test_broken_word_vectors(tmp_path, content, message):
    if content is not None:
        (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        word_space(tmp_path / "v.txt", ["dog", "cat"])


def test_bad_input():
    space = tfidf_space(["dog", "cat"])
    for arguments, settings, message in [
        ((["a"], [0, 1]), {}, "labels has 2 rows but texts has 1"),
        ((["a", "b"], [0]), {}, "labels has 1 rows but texts has 2 or more"),
        ((["a"], [0]), {"n_classes": 3}, "has 2 classes, n_classes is 3"),
        ((["a"], [2]), {}, "label 2 in row 0"),
        ((["a"], [0]), {"k": 3}, "k: found 3; 1..2"),
        ((["a"], [0]), {"temperature": 0.0}, "temperature 0.0"),
        ((["a"], [0]), {"least": 1.0}, "least 1.0"),
    ]:
        with pytest.raises(InputError, match=message):
            evidence(space, *arguments, **settings)
    for build in (tfidf_space, svd_space):
        with pytest.raises(InputError, match="hold no word"):
            build(["", "a b ?"])
    with pytest.raises(InputError, match="too little for an SVD"):
        svd_space(["dog"])


def webvision(root, files):
    (root / "info").mkdir()
    for name, content in files.items():
        (root / "info" / name).write_bytes(content.encode() if isinstance(content, str) else content)


def test_query_texts_of_webvision_2(tmp_path):
    webvision(
        tmp_path, {"queries.txt": "\ufefftench\ntinca\r\n\nsea shärk\n", "queries_synsets_map.txt": "1 0\n2 0\n4 1\n"}
    )
    got = read_query_texts(Data(str(tmp_path), 3, "webvision2"), ["tench, Tinca tinca", "shark", ""])
    assert got.query == ["", "tench", "tinca", "", "sea shärk"]
    assert got.query_class == [-1, 0, 0, -1, 1]
    assert got.classes == ["tench, Tinca tinca\ntench\ntinca", "shark\nsea shärk", ""]


def test_query_texts_of_webvision_1_join_both_engines(tmp_path):
    webvision(
        tmp_path,
        {
            "queries_google.txt": "tench fish\nshark\n",
            "queries_flickr.txt": "tench\nshark\n",
            "queries_synsets_map.txt": "1 1\n2 2\n",
        },
    )
    got = read_query_texts(Data(str(tmp_path), 2, "webvision1"), ["tench", "great shark"])
    assert got.query == ["", "tench fish\ntench", "shark"]
    assert got.query_class == [-1, 0, 1]
    assert got.classes == ["tench\ntench fish", "great shark\nshark"]


def test_without_queries_there_are_class_names(tmp_path):
    for format in ("folder", "list", "webvision2"):
        got = read_query_texts(Data(str(tmp_path), 2, format), ["a", ""])
        assert (got.query, got.query_class, got.classes) == ([""], [-1], ["a", ""])


def test_query_files_that_do_not_fit(tmp_path):
    webvision(tmp_path, {"queries.txt": "one\ntwo\n", "queries_synsets_map.txt": "1 0\n3 1\n"})
    data = Data(str(tmp_path), 2, "webvision2")
    with pytest.raises(InputError, match=r"has 2 queries, but queries_synsets_map.txt has query 3"):
        read_query_texts(data, ["", ""])
    with pytest.raises(InputError, match="class_names has 1 rows but n_classes has 2"):
        read_query_texts(data, [""])
    (tmp_path / "info" / "queries.txt").write_bytes(b"one\n\xff\n")
    with pytest.raises(InputError, match=r"queries.txt:2: is not UTF-8"):
        read_query_texts(data, ["", ""])
