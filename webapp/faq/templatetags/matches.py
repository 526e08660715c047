"""What the search page needs to say why an entry matched."""

from django import template
from django.utils.safestring import SafeString

from webapp.faq.services import Match

register = template.Library()


@register.filter
def as_asked(match: Match, question: str) -> SafeString:
    """The question as it was asked, the words that made the match marked."""
    return match.asked_html(question)
