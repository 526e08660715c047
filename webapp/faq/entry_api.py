"""The entries of a collection by API: read by who may ask it, written by its editors."""

import re

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.response import Response

from webapp.accounts import roles
from webapp.errors import InvalidInput, NotAllowed, NotFound, PreconditionFailed
from webapp.faq import editing, queries
from webapp.faq.editing import Content
from webapp.faq.models import Collection, Entry
from webapp.faq.queries import Wanted
from webapp.faq.serializers import (
    EntriesSerializer,
    EntryChangeSerializer,
    EntrySerializer,
    EntryWishesSerializer,
    NewEntrySerializer,
)
from webapp.keys.api import ApiRequest, ApiView, answer_example, in_path, list_example, page_answer, parse
from webapp.keys.models import Scope

SEEN = re.compile(r'(?:W/)?"([0-9]{1,9})"')
OF_COLLECTION = in_path("slug", str, "Of the collection.", "javascript")
OF_ENTRY = in_path("entry_id", str, "Of the entry.", "js-020")
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description="The `ETag` of the version that you have seen, so that nobody's change is lost; without it, or with "
    "`*`, whatever there is is changed.",
    examples=[OpenApiExample("Version 3", value='"3"')],
)
ETAG = OpenApiParameter(
    "ETag", str, OpenApiParameter.HEADER, response=[200, 201], description="The version, for `If-Match`."
)
WRITTEN = {
    "question": "How do I copy an array?",
    "answer": "Use spread syntax: `const copy = [...list]`.",
    "tags": ["arrays"],
    "phrasings": ["duplicate a list"],
    "state": "live",
}
ENTRY = {
    "id": "js-020",
    "answer_id": "js-020-a",
    **WRITTEN,
    "test_phrasings": [],
    "version": 3,
    "created_at": "2026-11-27T08:00:00Z",
    "changed_at": "2026-12-04T09:30:00Z",
}


class EntriesApi(ApiView):
    """A view about entries of the collection that the address names."""

    required_scope = Scope.FAQ.value
    write_scope = Scope.FAQ_WRITE.value

    def readable(self, slug: str) -> tuple[Collection, bool]:
        """The collection, and whether its drafts may be seen. Raises NotFound."""
        who = self.request.auth_principal
        collection = queries.collection_called(slug, who.user)
        edits = Scope.FAQ_WRITE in who.scopes and queries.edited_by(who.user).filter(pk=collection.pk).exists()
        return collection, edits

    def editable(self, slug: str) -> Collection:
        """The collection, for changes. Raises NotFound, or NotAllowed for somebody who may only ask it."""
        who = self.request.auth_principal
        collection, edits = self.readable(slug)
        if not edits:
            raise NotAllowed(f"You are not among those who edit {collection.name}.")
        # A session alone gives nobody rights that the admin asks a second factor for; a key is one of its own.
        by_right_alone = not collection.editors.filter(pk=who.user.pk).exists()
        if who.key is None and by_right_alone and roles.step_before(self.request._request):
            raise NotAllowed("Type a code of your authenticator app first: open the page of the entries.")
        return collection

    def entry(self, collection: Collection, entry_id: str, *, drafts: bool = True) -> Entry:
        """Raises NotFound."""
        found = Entry.objects.filter(collection=collection, external_id=entry_id.replace("\0", ""))
        if not drafts:
            found = found.filter(state=Entry.State.LIVE)
        entry = found.prefetch_related("phrasings").first()
        if entry is None:
            raise NotFound(f"There is no entry {entry_id!r} in this collection.")
        return entry

    def version_seen(self) -> int | None:
        """What If-Match names; None for any. Raises PreconditionFailed."""
        text = self.request.headers.get("If-Match", "*").strip()
        if text == "*":
            return None
        seen = SEEN.fullmatch(text)
        if seen is None:
            raise PreconditionFailed("If-Match names no version of an entry. It is the ETag of what you have read.")
        return int(seen[1])


def _answer(entry: Entry, status: int = 200, **headers: str) -> Response:
    return Response(EntrySerializer(entry).data, status, headers={"ETag": f'"{entry.version}"', **headers})


class EntriesView(EntriesApi):
    also_raises = (NotFound, InvalidInput)
    idempotent = True

    @extend_schema(
        operation_id="faq_entries",
        tags=["FAQ"],
        summary="List entries",
        description="Of one collection, those changed last first.",
        parameters=[OF_COLLECTION, EntryWishesSerializer],
        responses={200: EntriesSerializer},
        examples=[list_example("One entry", ENTRY)],
    )
    def get(self, request: ApiRequest, slug: str) -> Response:
        collection, drafts = self.readable(slug)
        wishes = self.wishes(EntryWishesSerializer)
        wanted = Wanted(**{name: wishes.pop(name) for name in ("q", "state", "tag") if name in wishes})
        page = queries.page_of_entries(collection, wanted, drafts=drafts, **wishes)
        return page_answer(request, page, EntriesSerializer)

    @extend_schema(
        operation_id="create_faq_entry",
        tags=["FAQ"],
        summary="Make an entry",
        description="Matches can bring it once the collection's model has been trained with it.",
        parameters=[OF_COLLECTION, ETAG],
        request=NewEntrySerializer,
        responses={201: EntrySerializer},
        examples=[
            OpenApiExample("An entry", value=WRITTEN, request_only=True),
            answer_example("Made", {**ENTRY, "version": 1}, "201"),
        ],
    )
    def post(self, request: ApiRequest, slug: str) -> Response:
        collection = self.editable(slug)
        ask = parse(NewEntrySerializer, request.data)
        names = {"external_id": ask.validated_data.get("id", ""), "answer_id": ask.validated_data.get("answer_id", "")}
        made = editing.create(collection, ask.content(), by=request.auth_principal.user, **names)
        return _answer(made, 201, Location=f"{request.path}/{made.external_id}")


class EntryView(EntriesApi):
    also_raises = (NotFound, PreconditionFailed)

    @extend_schema(
        operation_id="faq_entry",
        tags=["FAQ"],
        summary="Read an entry",
        description="With its version in `ETag`, for a change of it.",
        parameters=[OF_COLLECTION, OF_ENTRY, ETAG],
        responses={200: EntrySerializer},
        examples=[answer_example("An entry", ENTRY)],
    )
    def get(self, request: ApiRequest, slug: str, entry_id: str) -> HttpResponse:
        collection, drafts = self.readable(slug)
        answer = _answer(self.entry(collection, entry_id, drafts=drafts))
        known: HttpResponse | None = get_conditional_response(request._request, etag=answer["ETag"], response=answer)
        return known or answer

    @extend_schema(
        operation_id="change_faq_entry",
        tags=["FAQ"],
        summary="Change an entry",
        description="What is left out stays. Answer, tags and state count at once; question and phrasings when the "
        "model is trained next.",
        parameters=[OF_COLLECTION, OF_ENTRY, IF_MATCH, ETAG],
        request=EntryChangeSerializer,
        responses={200: EntrySerializer},
        examples=[
            OpenApiExample("Another answer", value={"answer": "Use `list.slice()`."}, request_only=True),
            answer_example("Changed", {**ENTRY, "answer": "Use `list.slice()`.", "version": 4}),
        ],
    )
    def patch(self, request: ApiRequest, slug: str, entry_id: str) -> Response:
        entry = self.entry(self.editable(slug), entry_id)
        content = parse(EntryChangeSerializer, request.data).content(Content.of(entry))
        version = self.version_seen()
        seen = entry.version if version is None else version  # what is not changed comes from what was just read
        return _answer(editing.change(entry, content, by=request.auth_principal.user, version=seen))

    @extend_schema(
        operation_id="delete_faq_entry",
        tags=["FAQ"],
        summary="Delete an entry",
        description="Nobody gets it as an answer any more. The history keeps it, and editors can bring it back.",
        parameters=[OF_COLLECTION, OF_ENTRY, IF_MATCH],
        responses={204: None},
    )
    def delete(self, request: ApiRequest, slug: str, entry_id: str) -> Response:
        entry = self.entry(self.editable(slug), entry_id)
        editing.delete(entry, by=request.auth_principal.user, version=self.version_seen())
        return Response(status=204)
