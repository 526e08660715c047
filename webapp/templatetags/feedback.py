"""What the buttons "right" and "wrong" need."""

from django import template
from django.http import HttpRequest
from django.template import Context

from webapp.keys.principal import principal_of
from webapp.usage.feedback import Judged, token_for

register = template.Library()


@register.inclusion_tag("components/verdict_form.html", takes_context=True)
def feedback_form(context: Context, judged: Judged, form_id: str) -> dict[str, str]:
    """The form that sends what the person says of these answers; it shows nothing itself."""
    request: HttpRequest = context["request"]
    return {"id": form_id, "token": token_for(principal_of(request).user, judged)}
