"""Strings known by their hashes alone: sorted arrays that processes share, in place of a dictionary in each of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from scoring_service.faq.sparse import Integers, Numbers, ranges


def hashes(strings: Iterable[str]) -> Numbers:
    """64 bits of each string: among a million strings two share them once in some forty million collections."""
    digests = [blake2b(each.encode("utf-8", "surrogatepass"), digest_size=8).digest() for each in strings]
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


@dataclass(frozen=True, eq=False)
class Keys:
    """n different strings, numbered in the order of their hashes: int64 (n,), ascending."""

    hashes: Numbers

    def __len__(self) -> int:
        return len(self.hashes)

    def numbers(self, strings: Iterable[str]) -> Numbers:
        """The number of each string, -1 of one that is not among them."""
        return places_in(self.hashes, hashes(strings))


@dataclass(frozen=True, eq=False)
class Rows:
    """Lists of numbers, one after the other: the items of row n stand from starts[n] to starts[n + 1].

    starts: int64 (rows + 1,); items: int32.
    """

    starts: Numbers
    items: Integers

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Integers:
        return self.items[self.starts[row] : self.starts[row + 1]]

    def gathered(self, rows: Integers) -> tuple[Integers, Numbers]:
        """The items of some rows, one row after the other, and how many each has."""
        starts = self.starts[rows]
        lengths = self.starts[rows + 1] - starts
        return self.items[ranges(starts, lengths)], lengths

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        """The same, but that the rows that are not chosen have no items."""
        lengths = np.diff(self.starts)
        return Rows.of(lengths * chosen, self.items[chosen.repeat(lengths)])

    @classmethod
    def of(cls, lengths: Integers, items: Integers) -> "Rows":
        return cls(np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))), items.astype(np.int32, copy=False))


def places_in(ascending: Numbers, wanted: Numbers) -> Numbers:
    """Where each of the wanted numbers stands in an ascending array, -1 where it does not."""
    if not len(ascending):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = ascending.searchsorted(wanted)
    np.minimum(places, len(ascending) - 1, out=places)
    places[ascending[places] != wanted] = -1
    return places


def joined(words: Sequence[str]) -> str:
    """A text as exact matches compare it."""
    return " ".join(words)
