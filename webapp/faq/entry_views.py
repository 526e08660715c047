"""The pages on which editors look after the entries of a collection. To everybody else they are not there."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts import roles
from webapp.errors import AppError, InvalidInput
from webapp.faq import diffs, editing, queries
from webapp.faq.editing import Content, EditedMeanwhile
from webapp.faq.forms import EntryForm
from webapp.faq.models import Collection, Entry
from webapp.faq.queries import Wanted
from webapp.faq.rendering import answer_html
from webapp.faq.tags import tags_of
from webapp.keys.limits import limited
from webapp.keys.principal import principal_of
from webapp.partials import render_page

SHOWN = 12  # entries that a question about many of them names


def for_editors(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Hands the view the collection of that slug, where the person may change its entries.

    Whoever may by a right of theirs, and not as one of its editors, has passed what the admin asks for at its door.
    """

    @wraps(view)
    def guarded(request: HttpRequest, slug: str, **others: Any) -> HttpResponseBase:
        person = principal_of(request).user
        collection = queries.chosen(queries.edited_by(person).filter(slug=slug), slug)
        if (step := roles.step_before(request)) and not collection.editors.filter(pk=person.pk).exists():
            return redirect(f"{step}?{urlencode({'next': request.get_full_path()})}")
        return view(request, collection, **others)

    return login_required(never_cache(limited("other")(guarded)))


# The list -------------------------------------------------------------------------------------------------------------


@require_safe
@for_editors
def entries(request: HttpRequest, collection: Collection) -> HttpResponse:
    """The entries, those changed last first; with `q`, `state` and `tag` only some of them."""
    wanted = _wanted(request)
    page = queries.page_of_entries(collection, wanted, cursor=request.GET.get("before"))
    asked = {name: value for name, value in vars(wanted).items() if value}
    context = {
        "collection": collection,
        "entries": page.items,
        "next_cursor": page.next_cursor,
        "wanted": wanted,
        "asked": asked,
        "query": urlencode(asked) + "&" if asked else "",
        "count": queries.entries_of(collection, wanted).count(),
        "tags": tags_of(collection),
        "states": Entry.State.choices,
    }
    return render(request, "faq/entries/list.html", context)


def _wanted(request: HttpRequest) -> Wanted:
    """What the address asks for; a state that there is not is any."""
    state = request.GET.get("state", "")
    return Wanted(
        q=request.GET.get("q", "").strip()[:200],
        state=state if state in Entry.State.values else "",
        tag=request.GET.get("tag", "").replace("\0", "")[: editing.LONGEST_TAG],
    )


# One entry ------------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def new(request: HttpRequest, collection: Collection) -> HttpResponse:
    form = EntryForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid() and "preview" not in request.POST:
        entry = editing.create(collection, form.content, by=principal_of(request).user)
        messages.success(request, _saved(entry))
        return redirect("faq:entry", collection.slug, entry.pk)
    return _form_page(request, collection, form)


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def entry(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """The form of an entry. What somebody else has saved since it was opened is shown, and not overwritten."""
    if request.method != "POST":
        shown = queries.entry_of(collection, pk)
        return _form_page(request, collection, EntryForm(before=Content.of(shown), version=shown.version), shown)
    shown_or_none = Entry.objects.filter(collection=collection, pk=pk).prefetch_related("phrasings").first()
    form = EntryForm(request.POST, before=Content.of(shown_or_none) if shown_or_none else None)
    if not form.is_valid() or "preview" in request.POST:
        return _form_page(request, collection, form, shown_or_none)
    try:
        saved = editing.change(
            shown_or_none or Entry(pk=pk),
            form.content,
            by=principal_of(request).user,
            version=form.cleaned_data["version"] or 0,
        )
    except EditedMeanwhile as error:
        return _conflict_page(request, collection, form, error)
    messages.success(request, _saved(saved))
    return redirect("faq:entry", collection.slug, pk)


def _form_page(
    request: HttpRequest, collection: Collection, form: EntryForm, shown: Entry | None = None
) -> HttpResponse:
    answer = form["answer"].value() or ""
    refused = request.method == "POST" and "preview" not in request.POST
    context = {"collection": collection, "form": form, "entry": shown, "preview": answer_html(answer)}
    return render(request, "faq/entries/edit.html", context, status=422 if refused else 200)


def _conflict_page(
    request: HttpRequest, collection: Collection, form: EntryForm, error: EditedMeanwhile
) -> HttpResponse:
    """What was typed, in the form; beside it what was saved meanwhile. Saved again, it is saved knowingly."""
    theirs = error.entry
    typed = request.POST.copy()
    typed["version"] = str(theirs.version) if theirs else ""
    before = Content.of(theirs) if theirs else None
    context = {
        "collection": collection,
        "form": EntryForm(typed, before=before),
        "entry": theirs,
        "preview": answer_html(form.content.answer),
        "conflict": queries.revision_behind(theirs) if theirs else None,
        "deleted": theirs is None,
        "differences": diffs.differences(before, form.content) if before else [],
        "action": reverse("faq:entry-new", args=[collection.slug]) if theirs is None else "",
    }
    return render(request, "faq/entries/edit.html", context, status=409)


def _saved(entry: Entry) -> str:
    return "Saved as a draft: only editors see it." if entry.state == Entry.State.DRAFT else "Saved."


@require_POST
@for_editors
def preview(request: HttpRequest, collection: Collection) -> HttpResponse:
    """The answer as visitors will see it."""
    shown = answer_html(request.POST.get("answer", "")[: editing.LONGEST_ANSWER])
    return render(request, "faq/entries/_preview.html", {"preview": shown, "collection": collection})


# Many entries ---------------------------------------------------------------------------------------------------------

ASKED = {
    "publish": "Make {} live?",
    "draft": "Make drafts of {}?",
    "tag": "Give a tag to {}?",
    "delete": "Delete {}?",
}
DONE = {
    "publish": "{} made live.",
    "draft": "{} made drafts: only editors see them.",
    "tag": "{} tagged.",
    "delete": "{} deleted. The history can bring them back.",
}


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def many(request: HttpRequest, collection: Collection) -> HttpResponse:
    """Asks before something is done to many entries, and does it. The address says to which: `entry`, or all found."""
    do = request.GET.get("do", "")
    if do not in ASKED:
        raise InvalidInput("Choose what to do: publish, draft, tag or delete.", field="do")
    chosen = _chosen(request, collection)
    error: AppError | None = None
    if request.method == "POST":
        try:
            count = _do(do, chosen, request)
        except AppError as raised:
            error = raised
        else:
            messages.success(request, DONE[do].format(_counted(count)))
            return redirect(f"{reverse('faq:entries', args=[collection.slug])}?{request.GET.get('back', '')}")
    count = chosen.count()
    if not count:
        messages.warning(request, "No entry was selected. Tick those that you mean first.")
        return redirect("faq:entries", collection.slug)
    context = {
        "collection": collection,
        "do": do,
        "title": ASKED[do].format(_counted(count)),
        "some": list(chosen.order_by("-changed_at", "-pk")[:SHOWN]),
        "others": max(0, count - SHOWN),
        "error": error,
        "tag": request.POST.get("tag", ""),
    }
    return render_page(request, "faq/entries/many.html", "faq/entries/many.html", context, error=error)


def _chosen(request: HttpRequest, collection: Collection) -> QuerySet[Entry]:
    if "all" in request.GET:
        return queries.entries_of(collection, _wanted(request))
    ids = [int(text) for text in request.GET.getlist("entry") if text.isascii() and text.isdecimal()]
    return Entry.objects.filter(collection=collection, pk__in=[pk for pk in ids if pk < 2**63])


def _do(do: str, chosen: QuerySet[Entry], request: HttpRequest) -> int:
    by = principal_of(request).user
    if do == "delete":
        return editing.delete_many(chosen, by=by)
    if do == "tag":
        return editing.add_tag(chosen, request.POST.get("tag", ""), by=by)
    return editing.set_state(chosen, Entry.State.LIVE if do == "publish" else Entry.State.DRAFT, by=by)


def _counted(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


# History --------------------------------------------------------------------------------------------------------------


@require_safe
@for_editors
def history(request: HttpRequest, collection: Collection) -> HttpResponse:
    """What happened to the entries, newest first; with `entry`, an id, to that one; with `import`, a number, by it."""
    external_id = request.GET.get("entry", "").replace("\0", "")
    number = request.GET.get("import", "")
    act = (
        queries.import_of(collection, int(number))
        if number.isascii() and number.isdecimal() and len(number) < 19
        else None
    )
    page = queries.history_of(collection, external_id=external_id, act=act, cursor=request.GET.get("before"))
    behind = {} if act or external_id else queries.imports_behind(page.items)
    asked = {"entry": external_id} if external_id else {"import": act.pk} if act else {}
    context: dict[str, Any] = {
        "collection": collection,
        "revisions": page.items,
        "rows": [(revision, behind.get(revision.act or 0)) for revision in page.items],
        "act": act,
        "next_cursor": page.next_cursor,
        "external_id": external_id,
        "entry": Entry.objects.filter(collection=collection, external_id=external_id).first() if external_id else None,
        "query": f"{urlencode(asked)}&" if asked else "",
    }
    return render(request, "faq/entries/history.html", context)


@require_safe
@for_editors
def revision(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """One version of an entry, and what changed with it."""
    shown = queries.revision_of(collection, pk)
    earlier = queries.before(shown)
    content = Content.of_revision(shown)
    current = Entry.objects.filter(collection=collection, external_id=shown.external_id).first()
    context = {
        "collection": collection,
        "revision": shown,
        "content": content,
        "answer": answer_html(content.answer),
        "earlier": earlier,
        "differences": diffs.differences(Content.of_revision(earlier), content) if earlier else [],
        "entry": current,
        "is_current": current is not None and current.version == shown.version,
    }
    return render(request, "faq/entries/revision.html", context)


@require_POST
@for_editors
def restore(request: HttpRequest, collection: Collection, pk: int) -> HttpResponse:
    """Has the entry say again what it did then. What it says now stays in the history."""
    wanted = queries.revision_of(collection, pk)
    entry = editing.restore(wanted, by=principal_of(request).user)
    messages.success(request, f"Version {wanted.version} is back, as version {entry.version}.")
    return redirect("faq:entry", collection.slug, entry.pk)
