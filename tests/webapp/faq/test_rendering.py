"""Entries as HTML: readable, and harmless whatever they hold."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webapp.faq.rendering import answer_html, marked_html

HARMLESS_ADDRESS = re.compile(r"(https?:|mailto:|[^:]*$|[^:]*[/?#])", re.IGNORECASE)
# Pieces that attacks are made of, so that random texts hold them more often than chance would have it.
PIECES = st.sampled_from(
    [
        *(
            "<script>",
            "</script>",
            "<img src=x onerror=alert(1)>",
            "<svg/onload=",
            "<style>",
            "<a href='javascript:x'>",
        ),
        *("javascript:", "vbscript:", "data:text/html,", "&#106;avascript:", "[a](", "](javascript:alert(1))", "!["),
        *("[x]: javascript:alert(1)\n", "```html\n", "```js\n", "\n```\n", "<!--", "]]>", "<b "),
        *("<", ">", '"', "'", "`", ")", "|", "#", "\n", "\x00", "\u2028"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=10), max_size=15).map("".join)


class Danger(HTMLParser):
    """Collects what could run or leave the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag in {
            "script",
            "style",
            "iframe",
            "object",
            "embed",
            "svg",
            "math",
            "form",
            "input",
            "img",
            "link",
            "base",
        }:
            self.found.append(tag)
        for name, value in attributes:
            if name.startswith("on") or name in {"style", "src", "id"}:
                self.found.append(f"{tag} {name}")
            if name == "href" and not HARMLESS_ADDRESS.match(value or ""):
                self.found.append(f"href {value}")


def dangers_in(html: str) -> list[str]:
    parser = Danger()
    parser.feed(html)
    parser.close()
    return parser.found


@given(TEXTS)
@example("[x](javascript:alert(1))")
@example("<img src=x onerror=alert(1)>")
@example("```html\n<script>alert(1)</script>\n```")
@example("[x](&#x6A;avascript:alert(1))")
@example('<a href="https://x.example" onclick="x">')
def test_no_answer_can_run_anything(markdown):
    assert dangers_in(answer_html(markdown)) == []


@given(TEXTS, st.lists(PIECES | st.text(min_size=1, max_size=5), max_size=4))
def test_no_question_can_run_anything(text, words):
    html = marked_html(text, words)
    assert dangers_in(html) == []
    assert set(re.findall(r"<[^>]*>", html)) <= {"<mark>", "</mark>"}


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("Use **spread**.", "<p>Use <strong>spread</strong>.</p>\n"),
        ("`a < b`", "<p><code>a &lt; b</code></p>\n"),
        ("# Title", "<h3>Title</h3>\n"),
        ("- one\n- two", "<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n"),
        (
            "[MDN](https://developer.mozilla.org)",
            '<p><a href="https://developer.mozilla.org" rel="noopener noreferrer nofollow">MDN</a></p>\n',
        ),
        ("```nolanguage\nx = 1\n```", "<pre><code>x = 1\n</code></pre>\n"),
    ],
)
def test_markdown_becomes_html(markdown, html):
    assert answer_html(markdown) == html


def test_code_has_the_classes_that_colour_it():
    html = answer_html('```js\nconst a = "b";\n```')
    assert html.startswith('<pre class="highlight"><code><span class="kd">const</span>')
    assert "style=" not in html


@pytest.mark.parametrize(
    ("text", "words", "html"),
    [
        ("Copy an array", ["copy"], "<mark>Copy</mark> an array"),
        ("A copyist copies", ["copy"], "A copyist copies"),
        ("Is a<b?", ["a"], "Is <mark>a</mark>&lt;b?"),
        ("Why is NaN !== NaN?", ["NaN"], "Why is <mark>NaN</mark> !== <mark>NaN</mark>?"),
        ("let, const", ["let", "let me"], "<mark>let</mark>, const"),
        ("über alles", ["ÜBER"], "<mark>über</mark> alles"),
        ("plain", [], "plain"),
        ("plain", ["", " "], "plain"),
    ],
)
def test_whole_words_are_marked_whatever_their_case(text, words, html):
    assert marked_html(text, words) == html
