"""Text of entries as safe HTML: answers from Markdown, questions with the words that made the match marked.

What comes out may be put into a page as it is: no script, no handler, no address but http, https and mailto.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import nh3
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

# Pygments' classes are one or two letters and a digit; nothing else may name a class of our pages.
CODE_CLASS = re.compile(r"[a-z]{1,2}\d?")
TEXT_TAGS = ["p", "br", "hr", "strong", "em", "s", "a", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li"]
CODE_AND_TABLE_TAGS = ["code", "pre", "span", "table", "thead", "tbody", "tr", "th", "td"]
ALLOWED_ATTRIBUTES = {"a": {"href", "title"}, "span": {"class"}, "pre": {"class"}, "ol": {"start"}}
_formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True)


def _highlighted(code: str, language: str, _attributes: str) -> str:
    """Code of a fenced block with Pygments' classes; an empty string leaves the block plain."""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return f'<pre class="highlight"><code>{highlight(code, lexer, _formatter)}</code></pre>\n'


def _checked_attribute(element: str, attribute: str, value: str) -> str | None:
    """The value to keep, or None to drop it."""
    if attribute != "class":
        return value
    if element == "pre":
        return value if value == "highlight" else None
    return " ".join(filter(CODE_CLASS.fullmatch, value.split())) or None


# "html": False already escapes raw HTML; nh3 is the wall behind it, for what a parser may get wrong.
_markdown = MarkdownIt("commonmark", {"html": False, "highlight": _highlighted}).enable(["table", "strikethrough"])


@lru_cache(maxsize=4096)
def answer_html(markdown: str) -> SafeString:
    """Markdown as HTML. Headings start at level 3, below those of the page."""
    tokens = _markdown.parse(markdown)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
    html = _markdown.renderer.render(tokens, _markdown.options, {})
    clean = nh3.clean(
        html,
        tags={*TEXT_TAGS, *CODE_AND_TABLE_TAGS},
        attributes=ALLOWED_ATTRIBUTES,
        attribute_filter=_checked_attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(clean)  # noqa: S308  # sanitised in the line above


def marked_html(text: str, words: Iterable[str]) -> SafeString:
    """The text, escaped, with each whole occurrence of one of the words in <mark>. Case does not matter."""
    return mark_safe("".join(_marked_pieces(text, words)))  # noqa: S308  # each piece is escaped


def _marked_pieces(text: str, words: Iterable[str]) -> Iterator[str]:
    alternatives = "|".join(map(re.escape, sorted({word for word in words if word.strip()}, key=len, reverse=True)))
    if not alternatives:
        yield conditional_escape(text)
        return
    # An odd piece of the split is what the group matched.
    for position, piece in enumerate(re.split(rf"(?<!\w)({alternatives})(?!\w)", text, flags=re.IGNORECASE)):
        yield f"<mark>{conditional_escape(piece)}</mark>" if position % 2 else conditional_escape(piece)
