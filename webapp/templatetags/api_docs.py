"""Parts of the API's reference that are the same for everybody."""

from functools import cache

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from webapp.apidocs import Operation

register = template.Library()


@register.simple_tag
@cache
def described(operation: Operation) -> SafeString:
    """What the operation takes and answers. Rendered once: of the whole page that is most of the work."""
    return render_to_string("api/_described.html", {"operation": operation})
