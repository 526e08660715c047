"""The guide to the API: docs/api.md and docs/changelog.md, cut into the pages of /api/docs."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from django.conf import settings
from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from webapp import apidocs
from webapp.calls import Call

HEADING = re.compile(r"^(##|###) (.+)$", re.MULTILINE)
LANGUAGES = {"sh": ("curl", "curl"), "python": ("python", "Python"), "javascript": ("javascript", "JavaScript")}
# Their table is for those who read the file: the page tells of each kind at length.
WITHOUT_TABLE = {"Errors"}


@dataclass(frozen=True, eq=False)
class Page:
    """One page of the guide. slug: the end of its address, "" for the first; headings: what of docs/api.md is on it."""

    slug: str
    title: str
    lead: str
    headings: Sequence[str] = ()

    @property
    def url_name(self) -> str:
        return f"api-docs-{self.slug}" if self.slug else "api-docs"

    @property
    def url(self) -> str:
        return reverse(self.url_name)


START = Page(
    "",
    "Start",
    "Questions and pictures in, scores out: what the pages do, a program does with a key.",
    ["Five minutes"],
)
ERRORS = Page("errors", "Errors", "What can go wrong, why, and what to do about it.", ["Errors"])
CHANGES = Page(
    "changes", "Changes", "What we promise to keep, how we tell what goes, and what is new.", ["What will go"]
)
REFERENCE = Page(
    "reference", "Reference", "Every call with its fields, answers and code to copy. Each can be tried here."
)
PAGES = [
    START,
    Page("keys", "Keys", "How a program says who it is, and how to keep that safe.", ["Signing in", "Keys"]),
    Page(
        "calls",
        "Calls",
        "What can be asked, and what holds for every answer.",
        [
            "Calls",
            "FAQ entries",
            "What every answer carries",
            "Lists",
            "Asking again and again",
            "Sending a creation again",
            "Feedback",
            "Packed answers",
            "From a page of another site",
            "`/score`",
        ],
    ),
    Page(
        "batches",
        "Batches",
        "Up to a million questions, or thousands of pictures, at once.",
        ["Batches", "Files of batches"],
    ),
    Page("webhooks", "Webhooks", "Have your program told, instead of asking again and again.", ["Webhooks"]),
    Page(
        "versions",
        "Versions",
        "Which version of a model answers, and what answered before.",
        ["Versions", "The history of a model"],
    ),
    Page(
        "limits", "Limits", "How much may be asked in a minute and in a month, and how to see what is left.", ["Limits"]
    ),
    ERRORS,
    CHANGES,
    REFERENCE,
]


@dataclass(frozen=True)
class Part:
    """A piece of a section: text as HTML, or else code in one or more languages."""

    html: SafeString
    calls: Sequence[Call] = ()


@dataclass(frozen=True)
class Section:
    """What stands under one heading. slug: its id on the page."""

    title: str
    slug: str
    parts: Sequence[Part]


@cache
def texts() -> dict[str, str]:
    """The Markdown under each heading of docs/api.md, up to the next one, in their order."""
    pieces = HEADING.split((settings.BASE_DIR / "docs" / "api.md").read_text(encoding="utf-8"))
    return dict(zip(pieces[2::3], pieces[3::3], strict=True))


@cache
def sections(page: Page) -> Sequence[Section]:
    return [_section(heading) for heading in page.headings]


@cache
def changelog() -> Sequence[Part]:
    """docs/changelog.md without its title."""
    text = (settings.BASE_DIR / "docs" / "changelog.md").read_text(encoding="utf-8")
    return _parts(text.partition("\n")[2], "Changelog")


def _section(heading: str) -> Section:
    title = heading.strip("`")
    return Section(title, slugify(title), _parts(texts()[heading], title))


# Markdown as HTML -----------------------------------------------------------------------------------------------------


def _parts(markdown: str, title: str) -> Sequence[Part]:
    """Blocks of code become parts of their own; those that follow each other say the same in several languages."""
    tokens = _markdown.parse(markdown)
    found: list[Part] = []
    for is_code, blocks in groupby(_blocks(tokens), key=lambda block: block[0].type in {"fence", "code_block"}):
        if is_code:
            found.append(Part(SafeString(), [_call(block[0]) for block in blocks]))
            continue
        kept = [each for block in blocks if _is_kept(block, title) for each in block]
        html = _markdown.renderer.render(kept, _markdown.options, {"title": title})
        found.append(Part(mark_safe(html)))  # noqa: S308  # our own text, and HTML in it is escaped
    return found


def _blocks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of each block that stands by itself."""
    block: list[Token] = []
    for token in tokens:
        block.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield block
            block = []


def _is_kept(block: Sequence[Token], title: str) -> bool:
    return not (block[0].type == "table_open" and title in WITHOUT_TABLE)


def _call(token: Token) -> Call:
    slug, language = LANGUAGES.get(token.info, ("text", "Example"))
    return Call(slug, language, token.content.rstrip("\n").replace("$SITE", settings.PUBLIC_URL))


def _heading(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    """One level further down: the page has a heading of its own above them."""
    close = "/" if tokens[index].nesting < 0 else ""
    return f"<{close}h{min(int(tokens[index].tag[1]) + 1, 6)}>"


def _table(_self: RendererHTML, _tokens: Sequence[Token], _index: int, _options: OptionsDict, env: EnvType) -> str:
    """In a frame that can be scrolled, with the keyboard too."""
    return format_html(
        '<div class="guide-table" tabindex="0" role="group" aria-label="{}"><table>', f"Table: {env['title']}"
    )


def _end_of_table(*_: object) -> str:
    return "</table></div>"


def _code(_self: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType) -> str:
    """Words of code; a call of the API leads to its place in the reference."""
    text = tokens[index].content
    operation = None if any(each.type == "link_open" for each in tokens[:index]) else _operations().get(_bare(text))
    code = f"<code>{escape(text)}</code>"
    return f'<a href="{REFERENCE.url}#{operation}">{code}</a>' if operation else code


def _link(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """Links within the file lead to the page on which that section is."""
    target = str(tokens[index].attrs["href"])
    tokens[index].attrs["href"] = _pages_of_links().get(target, target)
    return self.renderToken(tokens, index, options, env)


@cache
def _operations() -> dict[str, str]:
    """The ids of all operations by method and path, with {} for what varies."""
    operations = [each for group in apidocs.groups() for each in group.operations]
    return {_bare(f"{each.method} {each.path}"): each.id for each in operations}


def _bare(call: str) -> str:
    return re.sub(r"{\w+}", "{}", call)


@cache
def _pages_of_links() -> dict[str, str]:
    """Where "#lists" and "changelog.md" lead on the site."""
    anchors = {slugify(heading.strip("`")): page.url for page in PAGES for heading in page.headings}
    within = {f"#{slug}": f"{url}#{slug}" for slug, url in anchors.items()}
    return {**within, "changelog.md": f"{CHANGES.url}#changelog"}


_markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
_RULES: dict[str, Callable[..., str]] = {
    "heading_open": _heading,
    "heading_close": _heading,
    "table_open": _table,
    "table_close": _end_of_table,
    "code_inline": _code,
    "link_open": _link,
}
for _kind, _rule in _RULES.items():
    _markdown.add_render_rule(_kind, _rule)
