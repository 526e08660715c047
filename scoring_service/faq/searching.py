"""The candidates of questions, in whichever way the collection is laid out."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from scoring_service.faq import features, pruning
from scoring_service.faq.index import Index
from scoring_service.faq.large import LargeIndex
from scoring_service.faq.vocabulary import Words

AnyIndex = Index | LargeIndex


def candidates_of(
    index: AnyIndex, questions: Sequence[Words], pinned: Mapping[int, Sequence[int]] = MappingProxyType({})
) -> features.Candidates | pruning.FoundCandidates:
    """As `features.candidates_of`."""
    if isinstance(index, LargeIndex):
        return pruning.candidates_of(index, questions, pinned)
    return features.candidates_of(index, questions, pinned)
