"""A matcher as files: arrays as .npy, read through memory maps, and JSON. Nothing in them can run code.

entries.json                        ids, answer ids and texts, for exact matches and for showing what matched
vocabulary.json                     words and runs of characters, in the order of their numbers
reranker.json                       weights of the logistic regression, Platt's slope and intercept
word_idf.npy gram_idf.npy first_text.npy classifier_bias.npy topics*.npy trees_*.npy fields_{weights,unknown}.npy
<matrix>_{data,indices,indptr}.npy  sparse matrices by rows (CSR)
<matrix>_heads.npy                  the rows of frequent terms once more, dense

Large collections (large.py) have, in place of entries.json, vocabulary.json and the matrices:

entries.jsonl entries_starts.npy    the entries, one a line, and where each line begins, in bytes
<name>.npy                          the arrays of `LargeIndex` by their names
<name>_{starts,items}.npy           its lists of numbers

Older versions have files for each searchable field (field_<name>_*.npy) and no heads. They are put together when such a
version is loaded, in memory that processes do not share.
"""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, overload

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct
from scipy.sparse import csr_array

from scoring_service.contract import studied
from scoring_service.faq.bm25 import Field, Fields
from scoring_service.faq.classifier import Classifier
from scoring_service.faq.index import Index
from scoring_service.faq.large import LargeIndex
from scoring_service.faq.latent import Latent
from scoring_service.faq.lookup import Keys, Rows
from scoring_service.faq.reranker import Logistic, Reranker, Trees
from scoring_service.faq.searching import AnyIndex
from scoring_service.faq.sparse import Postings
from scoring_service.faq.vocabulary import Vocabulary


@studied
class StoredEntry(Struct, frozen=True):
    """texts: the question, then its phrasings."""

    id: str
    answer_id: str
    texts: list[str]
    answer: str


@studied
class _Vocabulary(Struct):
    words: list[str]
    grams: list[str]
    texts: int
    unknown_idf: dict[str, float] | None = None  # of each field, in versions that had files for each


_OLD_WORDS = ("text", "entry", "answer")
_OLD_GRAMS = ("entry_grams", "answer_grams", "all_grams")


@studied
class _Reranker(Struct):
    logistic: dict[str, Any]
    slope: float
    intercept: float
    trees_base: float | None


def write(folder: Path, entries: Iterable[StoredEntry], index: AnyIndex, reranker: Reranker) -> None:
    """Writes the matcher's files into an empty folder."""
    if isinstance(index, LargeIndex):
        _write_lines(folder, entries)
        arrays = _large_parts(index)
    else:
        _write_json(folder, "entries", list(entries))
        arrays = _write_index(folder, index)
    if index.latent:
        latent = index.latent
        arrays |= {"topics_row_of": latent.row_of, "topics": latent.topics, "topics_centres": latent.centres}
    trees = reranker.trees
    if trees:
        arrays |= {"trees_feature": trees.feature, "trees_threshold": trees.threshold, "trees_leaf": trees.leaf}
    logistic = reranker.logistic.to_json()
    ranking = _Reranker(logistic, reranker.slope, reranker.intercept, trees.base if trees else None)
    _write_json(folder, "reranker", ranking)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def read(folder: Path) -> tuple[Sequence[StoredEntry], AnyIndex, Reranker]:
    """The matcher in the folder. Raises OSError, ValueError or msgspec.MsgspecError when files are missing or odd."""
    ranking = msgspec.json.decode((folder / "reranker.json").read_bytes(), type=_Reranker)
    latent = None
    if (folder / "topics.npy").exists():
        latent = Latent(_array(folder, "topics_row_of"), _array(folder, "topics"), _array(folder, "topics_centres"))
    trees = None
    if ranking.trees_base is not None:
        trees = Trees(
            _array(folder, "trees_feature"),
            _array(folder, "trees_threshold"),
            _array(folder, "trees_leaf"),
            ranking.trees_base,
        )
    reranker = Reranker(Logistic.from_json(ranking.logistic), trees, ranking.slope, ranking.intercept)
    entries: Sequence[StoredEntry]
    if (folder / "entries.jsonl").exists():
        index = _read_large(folder, latent)
        entries = Lines(folder / "entries.jsonl", _array(folder, "entries_starts"))
        if len(entries) != index.entry_count:
            raise ValueError(f"entries.jsonl has {len(entries):,} lines, the index {index.entry_count:,} entries")
        return entries, index, reranker
    entries = msgspec.json.decode((folder / "entries.json").read_bytes(), type=list[StoredEntry])
    return entries, _read_index(folder, entries, latent), reranker


class Lines(Sequence[StoredEntry]):
    """Entries in a file that is mapped, each read when it is asked for."""

    def __init__(self, path: Path, starts: npt.NDArray[np.int64]) -> None:
        """starts: where each line begins, and where the last one ends. Raises ValueError where that is not so."""
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._starts = starts
        self._decoder = msgspec.json.Decoder(StoredEntry)
        if len(self._content) != starts[-1]:
            raise ValueError(f"{path.name} has {len(self._content):,} bytes, not {starts[-1]:,}")

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, number: int) -> StoredEntry: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[StoredEntry]: ...
    def __getitem__(self, number: int | slice) -> StoredEntry | Sequence[StoredEntry]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        first, last = self._starts[number % len(self) :][:2].tolist()
        return self._decoder.decode(self._content[first:last])


def _write_json(folder: Path, name: str, document: object) -> None:
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(document))


def _write_lines(folder: Path, entries: Iterable[StoredEntry]) -> None:
    encoder = msgspec.json.Encoder()
    ends = [0]
    with (folder / "entries.jsonl").open("wb") as file:
        for each in entries:
            ends.append(ends[-1] + file.write(encoder.encode(each) + b"\n"))
    np.save(folder / "entries_starts.npy", np.array(ends, dtype=np.int64), allow_pickle=False)


def _large_parts(index: LargeIndex) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for each in fields(index):
        value = getattr(index, each.name)
        if isinstance(value, Rows):
            arrays |= {f"{each.name}_starts": value.starts, f"{each.name}_items": value.items}
        elif isinstance(value, Keys):
            arrays[each.name] = value.hashes
        elif isinstance(value, np.ndarray):
            arrays[each.name] = value
    return arrays


def _read_large(folder: Path, latent: Latent | None) -> LargeIndex:
    parts: dict[str, Any] = {"latent": latent}
    for each in fields(LargeIndex):
        if each.type is Rows:
            starts, items = (_array(folder, f"{each.name}_{part}") for part in ("starts", "items"))
            if starts[-1] != len(items):
                raise ValueError(f"{each.name}_items.npy has {len(items):,} numbers, not {starts[-1]:,}")
            parts[each.name] = Rows(starts, items)
        elif each.name != "latent":
            array = _array(folder, each.name)
            parts[each.name] = Keys(array) if each.type is Keys else array
    return LargeIndex(**parts)


def _write_index(folder: Path, index: Index) -> dict[str, npt.NDArray[Any]]:
    """Writes the vocabulary; returns the arrays."""
    vocabulary = index.vocabulary
    terms = _Vocabulary(list(vocabulary.words), list(vocabulary.grams), vocabulary.text_count)
    _write_json(folder, "vocabulary", terms)
    arrays: dict[str, npt.NDArray[Any]] = {
        "word_idf": vocabulary.word_idf,
        "gram_idf": vocabulary.gram_idf,
        "first_text": index.first_text,
        "fields_weights": index.fields.weights,
        "fields_unknown": index.fields.unknown,
        **_postings_parts("fields", index.fields.impacts),
        **_parts("text_words", index.text_words),
        **_parts("text_grams", index.text_grams),
    }
    if index.classifier:
        arrays |= {"classifier_bias": index.classifier.bias, **_postings_parts("classifier", index.classifier.weights)}
    return arrays


def _read_index(folder: Path, entries: Sequence[StoredEntry], latent: Latent | None) -> Index:
    stored = msgspec.json.decode((folder / "vocabulary.json").read_bytes(), type=_Vocabulary)
    words, grams, texts = len(stored.words), len(stored.grams), sum(len(entry.texts) for entry in entries)
    vocabulary = Vocabulary(
        _numbered(stored.words),
        _numbered(stored.grams),
        _array(folder, "word_idf"),
        _array(folder, "gram_idf"),
        stored.texts,
    )
    classifier = None
    if (folder / "classifier_bias.npy").exists():
        weights = _postings(folder, "classifier", (words + grams, len(entries)))
        classifier = Classifier(weights, _array(folder, "classifier_bias"))
    return Index(
        vocabulary,
        _fields(folder, stored, texts, len(entries)),
        _array(folder, "first_text"),
        _matrix(folder, "text_words", (texts, words)),
        _matrix(folder, "text_grams", (texts, grams)),
        classifier,
        latent,
    )


def _numbered(terms: Sequence[str]) -> Mapping[str, int]:
    return {term: number for number, term in enumerate(terms)}


def _parts(name: str, matrix: csr_array) -> dict[str, npt.NDArray[Any]]:
    return {f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def _postings_parts(name: str, postings: Postings) -> dict[str, npt.NDArray[Any]]:
    return _parts(name, postings.matrix) | {f"{name}_heads": postings.heads, f"{name}_ends": postings.ends}


def _array(folder: Path, name: str) -> npt.NDArray[Any]:
    path = folder / f"{name}.npy"
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    # A plain view of the mapped memory: np.memmap costs time in every slice.
    return np.asarray(mapped)


def _matrix(folder: Path, name: str, shape: tuple[int, int]) -> csr_array:
    parts = [_array(folder, f"{name}_{part}") for part in ("data", "indices", "indptr")]
    return csr_array((parts[0], parts[1], parts[2]), shape=shape)


def _fields(folder: Path, stored: _Vocabulary, texts: int, entries: int) -> Fields:
    words, grams = len(stored.words), len(stored.grams)
    sizes = (texts, entries, entries, entries)
    if stored.unknown_idf is None:
        impacts = _postings(folder, "fields", (words + grams, sum(sizes)))
        return Fields(sizes, impacts, _array(folder, "fields_weights"), _array(folder, "fields_unknown"))
    alone = {
        name: Field(
            _matrix(folder, f"field_{name}", (terms, texts if name == "text" else entries)),
            _array(folder, f"field_{name}_idf"),
            stored.unknown_idf[name],
        )
        for names, terms in ((_OLD_WORDS, words), (_OLD_GRAMS, grams))
        for name in names
    }
    by_words, by_runs = ([alone[name] for name in names] for names in (_OLD_WORDS, _OLD_GRAMS))
    return Fields.of([[*by_words, None], [None, *by_runs]], sparse=1)


def _postings(folder: Path, name: str, shape: tuple[int, int]) -> Postings:
    matrix = _matrix(folder, name, shape)
    if not (folder / f"{name}_heads.npy").exists():  # a version written before there were dense rows
        return Postings.of(matrix)
    return Postings(matrix, _array(folder, f"{name}_heads"), _array(folder, f"{name}_ends"))
