"""Matches questions with the entries of a collection."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from django.utils.functional import cached_property
from django.utils.safestring import SafeString

from webapp.errors import InvalidInput, ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable
from webapp.faq import asked
from webapp.faq.models import EXACT, Collection, Entry, Revision
from webapp.faq.queries import lacks_model
from webapp.faq.rendering import answer_html, marked_html
from webapp.keys.principal import Principal, Visitor
from webapp.registry import shadow
from webapp.registry.models import ScoringModel
from webapp.registry.pins import require_pinnable
from webapp.registry.services import Who, create_model
from webapp.request_ids import current_request_id
from webapp.scoring.answers import FaqAnswer, Terms
from webapp.scoring.client import scoring_client
from webapp.usage import services as usage
from webapp.usage.feedback import Judged
from webapp.usage.models import ScoringRecord

log = structlog.get_logger(__name__)

MAX_QUESTION = 10_000  # characters
TIMEOUT = 5.0  # seconds for one question, from the site's side
NO_MODEL_YET = (
    "{} has no model yet, so nothing can answer. Somebody who looks after it must train one and put it into service."
)
SPARE = 50  # entries that are asked for besides where some of the best are not shown
CLOSE = 0.1  # a second match so little less probable than the first may as well be what was meant
KEPT_IN_HISTORY = 3  # matches with their questions; of the others only the ids, for what may be said of them


@dataclass(frozen=True)
class MatchAsk:
    """A question, checked at the door. top_k: how many entries at most; min_probability: 0 to 1; explain: name the
    words that made each match; version: of the model, "" for whichever serves. typing: what a page calls somebody who
    types, "" elsewhere.
    """

    question: str
    collection: Collection
    top_k: int = 5
    min_probability: float = 0.0
    explain: bool = False
    version: str = ""
    typing: str = ""


@dataclass(frozen=True)
class Match:
    """An entry with the probability (0 to 1) that it answers the question. likely: it reaches the threshold."""

    id: str
    answer_id: str
    question: str
    answer: str
    tags: Sequence[str]
    probability: float
    likely: bool
    terms: Terms | None

    @cached_property
    def question_html(self) -> SafeString:
        """The entry's question, the words that made the match marked."""
        return marked_html(self.question, self.terms.entry if self.terms else ())

    @property
    def matched_on(self) -> list[str]:
        """The words of the question that made the match, without its punctuation; operators ("===") stay."""
        return [word for word in self.terms.question if word.strip(".?!")] if self.terms else []

    def asked_html(self, question: str) -> SafeString:
        """The question asked, the words that made the match marked."""
        return marked_html(question, self.matched_on)

    @cached_property
    def answer_html(self) -> SafeString:
        return answer_html(self.answer)


@dataclass(frozen=True)
class MatchResult:
    """What came back for a question, most probable first, and which version of the model said so."""

    question: str
    collection: Collection
    scored: Sequence[Match]
    threshold: float
    model: str
    version: str
    duration_ms: float
    request_id: str

    @property
    def matches(self) -> list[Match]:
        """Those that reach the threshold."""
        return [match for match in self.scored if match.likely]

    @property
    def less_likely(self) -> list[Match]:
        return [match for match in self.scored if not match.likely]

    @property
    def ambiguous(self) -> bool:
        """Whether the first two are so close that either may be meant; never where one has the question itself."""
        return len(self._candidates) > 1

    @property
    def candidates(self) -> list[Match]:
        """Those that may be meant, where it is ambiguous; else none."""
        return self._candidates if self.ambiguous else []

    @cached_property
    def _candidates(self) -> list[Match]:
        good = self.matches
        if not good or good[0].probability >= EXACT:
            return good[:1]
        return [match for match in good if good[0].probability - match.probability < CLOSE]

    @property
    def judged(self) -> Judged:
        """What people may call right or wrong of it."""
        ids = [match.id for match in self.scored]
        return Judged(ScoringRecord.Kind.FAQ.value, self.request_id, self.model, self.version, ids)

    @property
    def answered(self) -> bool:
        return any(match.likely for match in self.scored)


def match(
    ask: MatchAsk,
    *,
    who: Principal | Visitor,
    source: ScoringRecord.Source,
    live: bool = False,
    restored: bool = False,
) -> MatchResult:
    """The closest entries of the collection for the question. live: asked while somebody types.

    Raises ScoringError; the attempt is in the person's history either way, unless it only brings a page back
    (restored). Raises NotAllowed or InvalidInput for a version that may not be asked for.
    """
    model = ask.collection.model_name
    if ask.version and isinstance(who, Principal):
        require_pinnable(model, ask.version, who)
    with usage.recorded(
        who,
        kind=ScoringRecord.Kind.FAQ,
        source=source,
        subject=ask.question,
        model=model,
        live=live,
        restored=restored,
        pinned=bool(ask.version),
    ) as attempt:
        answer = _ask_pods(ask, who, ask.top_k)
        attempt.answered(answer.version, [score.probability for score in answer.scores])
        found = attach_entries(answer, ask.collection)
        if len(found) < ask.top_k == len(answer.scores):
            # Drafts and deleted entries, which the model still knows, have taken places.
            more = _ask_pods(ask, who, ask.top_k + SPARE)
            found = attach_entries(more, ask.collection)[: ask.top_k]
        attempt.answer = _for_history(found)
    if not ask.version:
        shadow.offer_faq(ask.question, answer)
        if not restored:
            _keep(ask, who, answer, found, from_page=source == ScoringRecord.Source.PAGE, live=live)
    return MatchResult(
        question=ask.question,
        collection=ask.collection,
        scored=[match for match in found if match.probability >= ask.min_probability],
        threshold=answer.threshold,
        model=answer.model,
        version=answer.version,
        duration_ms=attempt.duration_ms,
        request_id=current_request_id(),
    )


def _keep(
    ask: MatchAsk,
    who: Principal | Visitor,
    answer: FaqAnswer,
    found: Sequence[Match],
    *,
    from_page: bool = False,
    live: bool = False,
) -> None:
    """For the people who look after the collection."""
    own = ask.collection.threshold
    asked.note(
        ask.collection,
        user_id=who.user.pk if isinstance(who, Principal) else None,
        text=ask.question,
        request_id=current_request_id(),
        version=answer.version,
        scores=[(match.id, match.probability) for match in found],
        threshold=answer.threshold if own is None else own,
        from_page=from_page,
        live=live,
        typing=ask.typing,
    )


def _ask_pods(ask: MatchAsk, who: Principal | Visitor, top_k: int) -> FaqAnswer:
    with _saying_what_lacks(ask.collection):
        answer = scoring_client().match_faq(
            ask.question,
            model=ask.collection.model_name,
            top_k=top_k,
            explain=ask.explain,
            timeout=TIMEOUT,
            version=ask.version or None,
            routing_key=who.routing_key,
        )
    threshold = ask.collection.threshold
    return answer if threshold is None else replace(answer, threshold=threshold)


def rank_all(question: str, collection: Collection, *, who: Principal) -> FaqAnswer:
    """Every original of the collection's model but drafts, most probable first, by id alone. Raises ScoringError."""
    model = collection.model_name
    with usage.recorded(
        who, kind=ScoringRecord.Kind.FAQ, source=ScoringRecord.Source.API, subject=question, model=model
    ) as attempt:
        with _saying_what_lacks(collection):
            answer = scoring_client().match_faq(
                question, model=model, top_k=0, timeout=TIMEOUT, routing_key=who.routing_key
            )
        attempt.answered(answer.version, [score.probability for score in answer.scores])
        found = attach_entries(replace(answer, scores=answer.scores[:KEPT_IN_HISTORY]), collection)
        attempt.answer = _for_history(found)
    shadow.offer_faq(question, answer)
    _keep(MatchAsk(question, collection), who, answer, found)
    drafts = set(
        Entry.objects.filter(collection=collection, state=Entry.State.DRAFT).values_list("external_id", flat=True)
    )
    return replace(answer, scores=[score for score in answer.scores if score.faq_id not in drafts])


@contextmanager
def _saying_what_lacks(collection: Collection) -> Iterator[None]:
    """Pods that fail because the collection has no model yet are no fault of theirs."""
    try:
        yield
    except (ScoringRefused, ScoringTimeout):
        raise
    except ScoringError as error:
        if lacks_model(collection):
            raise ScoringUnavailable(NO_MODEL_YET.format(collection.name)) from error
        raise


def attach_entries(answer: FaqAnswer, collection: Collection) -> list[Match]:
    """The scored ids with the texts of their entries. Drafts are left out; so is an id without an entry, and logged.

    Raises ScoringError when no id has an entry: the model was trained on something else.
    """
    ids = [score.faq_id for score in answer.scores]
    known = {entry.external_id: entry for entry in Entry.objects.filter(collection=collection, external_id__in=ids)}
    entries = {name: entry for name, entry in known.items() if entry.state == Entry.State.LIVE}
    if missing := [faq_id for faq_id in ids if faq_id not in known]:
        log.warning("scored_ids_without_entry", model=answer.model, version=answer.version, ids=missing[:10])
        if not known and not _were_there(collection, missing):
            raise ScoringError(
                f"The model {answer.model} knows other entries than the collection {collection.name}. "
                "The people who run this site must load the entries it was trained on."
            )
    return [
        Match(
            id=score.faq_id,
            answer_id=score.answer_id,
            question=entry.question,
            answer=entry.answer,
            tags=entry.tags,
            probability=score.probability,
            likely=score.probability >= answer.threshold,
            terms=score.terms,
        )
        for score in answer.scores
        if (entry := entries.get(score.faq_id))
    ]


def _were_there(collection: Collection, ids: Sequence[str]) -> bool:
    """Whether entries with these ids have been deleted since the model was trained."""
    return Revision.objects.filter(collection=collection, external_id__in=ids).exists()


def _for_history(matches: Sequence[Match]) -> list[dict[str, object]]:
    best = [
        {"id": match.id, "question": match.question, "probability": match.probability}
        for match in matches[:KEPT_IN_HISTORY]
    ]
    return [*best, *({"id": match.id, "probability": match.probability} for match in matches[KEPT_IN_HISTORY:])]


# The model of a collection --------------------------------------------------------------------------------------------


def require_faq_model(name: str) -> None:
    """Raises InvalidInput where the registry has something else under that name."""
    known = ScoringModel.objects.filter(name=name).exclude(kind=ScoringModel.Kind.FAQ).first()
    if known:
        raise InvalidInput(f"The model {name} is there already and no FAQ matcher. Name another.", field="model_name")


def register_model(collection: Collection, *, by: Who) -> None:
    """Puts the collection's model into the registry where it is not there: without a version yet, to be trained."""
    if not ScoringModel.objects.filter(name=collection.model_name).exists():
        create_model(
            name=collection.model_name,
            kind=ScoringModel.Kind.FAQ,
            pool=ScoringModel.Pool.CPU,
            title=f"{collection.name} FAQ",
            by=by,
        )
