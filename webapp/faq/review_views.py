"""The pages on which editors go through what people asked and did not get answered well."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from webapp.errors import AppError, InvalidInput
from webapp.faq import queries, review
from webapp.faq.entry_views import for_editors
from webapp.faq.forms import EntryForm
from webapp.faq.models import Collection, Entry, QuestionGroup
from webapp.faq.queries import Wanted
from webapp.faq.rendering import answer_html
from webapp.keys.principal import principal_of
from webapp.partials import render_page, wants_part

State = QuestionGroup.State
FOUND = 10  # entries of a search


@require_safe
@for_editors
def queue(request: HttpRequest, collection: Collection) -> HttpResponse:
    """The groups of questions, those asked most often first; with `state` those that are done with."""
    review.gather(collection)
    state = request.GET.get("state", "")
    number = request.GET.get("page", "1")
    found = review.queue(
        collection,
        state=state if state in State.values else State.OPEN,
        number=max(1, int(number)) if number.isascii() and number.isdecimal() and len(number) < 7 else 1,
    )
    return render(request, "faq/review/queue.html", {"collection": collection, "queue": found})


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def group(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """One group, with a search for the entry that was meant; a post says what is to become of it.

    do: "accept" with `entry`, an id, and `wording`, the digests of those that are to be phrasings; "dismiss", "reopen".
    A script is told what was done, and how many groups there are now.
    """
    if request.method != "POST":
        q = request.GET.get("q", "").strip()[:200]
        found = list(queries.entries_of(collection, Wanted(q=q))[:FOUND]) if q else []
        return _group_page(request, collection, pk, q=q, found=found)
    try:
        said = _decide(request, collection, review.group_of(collection, pk))
    except AppError as error:
        return _group_page(request, collection, pk, error=error)
    if wants_part(request):
        counts = review.counts_of(collection)
        context = {"collection": collection, "said": said, "counts": counts, "state": request.POST.get("state", "")}
        return render(request, "faq/review/_decided.html", context)
    messages.success(request, said)
    return redirect(_back(request, collection))


def _decide(request: HttpRequest, collection: Collection, group: QuestionGroup) -> str:
    """Does what the post asks for, and says in a sentence what that was."""
    by = principal_of(request).user
    match request.POST.get("do", ""):
        case "dismiss":
            review.dismiss(group, by=by)
            return "Dismissed. The like will not come up again."
        case "reopen":
            review.reopen(group)
            if group.phrasings:
                return "Back in the queue. Its phrasings stay with the entry, whose history can take them back."
            return "Back in the queue."
        case "accept":
            name = request.POST.get("entry", "").replace("\0", "")
            entry = Entry.objects.filter(collection=collection, external_id=name).first()
            if entry is None:
                raise InvalidInput("Choose the entry that answers these questions.", field="entry")
            count = review.accept(group, entry, request.POST.getlist("wording"), by=by)
            if not count:
                return "Accepted. The entry had these phrasings already."
            return (
                f"Accepted: {count} new {'phrasing' if count == 1 else 'phrasings'}, known when the model is trained."
            )
        case _:
            raise InvalidInput("Choose what to do: accept, dismiss or reopen.", field="do")


def _back(request: HttpRequest, collection: Collection) -> str:
    state = request.POST.get("state", "")
    return reverse("faq:review", args=[collection.slug]) + (f"?state={state}" if state in State.values else "")


def _group_page(
    request: HttpRequest,
    collection: Collection,
    pk: int,
    *,
    q: str = "",
    found: list[Entry] | None = None,
    error: AppError | None = None,
) -> HttpResponse:
    context = {
        "collection": collection,
        "item": review.item_of(collection, pk),
        "q": q,
        "found": found,
        "error": error,
    }
    return render_page(request, "faq/review/group.html", "faq/review/_problem.html", context, error=error)


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def new_entry(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """The form of a new entry, filled in with what was asked. Saved, the group is done with."""
    shown = review.group_of(collection, pk)
    form = EntryForm(request.POST) if request.method == "POST" else EntryForm(before=review.drafted(shown))
    if request.method == "POST" and form.is_valid() and "preview" not in request.POST:
        entry = review.accept_as_new(shown, form.content, by=principal_of(request).user)
        draft = entry.state == Entry.State.DRAFT
        messages.success(request, "Saved as a draft: only editors see it." if draft else "Saved.")
        return redirect("faq:review", collection.slug)
    refused = request.method == "POST" and "preview" not in request.POST
    context = {"collection": collection, "form": form, "preview": answer_html(form["answer"].value() or "")}
    return render(request, "faq/entries/edit.html", context, status=422 if refused else 200)
