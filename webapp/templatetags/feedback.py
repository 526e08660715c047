"""What the buttons "right" and "wrong" need."""

from django import template
from django.http import HttpRequest
from django.template import Context

from webapp.accounts.models import User
from webapp.usage.feedback import Judged, token_for

register = template.Library()


@register.inclusion_tag("components/verdict_form.html", takes_context=True)
def feedback_form(context: Context, judged: Judged, form_id: str) -> dict[str, str]:
    """The form that sends what the person, or a visitor, says of these answers; it shows nothing itself."""
    request: HttpRequest = context["request"]
    user = request.user if isinstance(request.user, User) else None
    return {"id": form_id, "token": token_for(user, judged)}
