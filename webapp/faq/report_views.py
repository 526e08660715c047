"""The report of a collection, what is kept of questions, and the page that tells visitors so."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from webapp.accounts.models import User
from webapp.faq import asked, queries, report, review
from webapp.faq.entry_views import for_editors
from webapp.faq.models import AskedQuestion, Collection

PERIODS = (7, 30, 90)
DAYS = 30  # by default
LEARNED = 5  # versions


@require_safe
@for_editors
def show(request: HttpRequest, collection: Collection) -> HttpResponse:
    """How much was asked in the last `days` days, how well it was answered, and what is lacking."""
    review.gather(collection)
    text = request.GET.get("days", "")
    days = next((each for each in PERIODS if str(each) == text), DAYS)
    context = {
        "collection": collection,
        "report": report.of(collection, days),
        "periods": PERIODS,
        "learned": collection.learned.all()[:LEARNED],
    }
    return render(request, "faq/review/report.html", context)


class KeptForm(forms.ModelForm[Collection]):
    class Meta:
        model = Collection
        fields = ("keeps_questions", "kept_days")
        labels = {"keeps_questions": "Keep what people ask", "kept_days": "For how many days"}
        help_texts = {
            "keeps_questions": "Without it there is no review, and the report only counts. Switched off, all that is "
            "kept now is deleted.",
        }


@require_http_methods(["GET", "HEAD", "POST"])
@for_editors
def kept(request: HttpRequest, collection: Collection) -> HttpResponse:
    """Whether, and how long, what people ask is kept. sure: posted when what is kept may be deleted."""
    form = KeptForm(request.POST if request.method == "POST" else None, instance=collection)
    if request.method == "POST" and form.is_valid():
        count = AskedQuestion.objects.filter(collection=collection).count()
        if not collection.keeps_questions and count and "sure" not in request.POST:
            return render(request, "faq/review/kept_off.html", {"collection": collection, "count": count})
        collection.save(update_fields=form.fields.keys())
        if collection.keeps_questions:
            messages.success(request, f"Saved. Questions are deleted after {collection.kept_days} days.")
        else:
            count = asked.forget_all(collection)
            questions = f"{count:,} {'question' if count == 1 else 'questions'}"
            messages.success(request, f"Saved. Nothing is kept from now on, and {questions} deleted.")
        return redirect("faq:report", collection.slug)
    status = 422 if request.method == "POST" else 200
    return render(request, "faq/review/kept.html", {"collection": collection, "form": form}, status=status)


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    """What this site keeps of what people ask, for everybody to read; by collection, of those that they may ask."""
    person = request.user if isinstance(request.user, User) else None
    context = {"collections": queries.visible_to(person)}
    return render(request, "faq/privacy.html", context)
