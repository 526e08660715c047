"""How figures, times and code are written on the pages."""

import json
import shlex
from datetime import timedelta

import pytest
from django.template import Context, Template
from django.utils import timezone

from webapp.templatetags import ui
from webapp.templatetags.calls import faq_calls, image_calls


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.8734, "87.3 %"),
        (0.5, "50 %"),
        (0.0, "0 %"),
        (0.0004, "< 0.1 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_a_probability_has_at_most_one_decimal_and_is_certain_only_when_it_is(probability, words):
    assert ui.percent(probability) == words


@pytest.mark.parametrize(("duration", "words"), [(0.84, "0.8 ms"), (42.4, "42 ms"), (1310.0, "1.3 s")])
def test_a_duration_has_its_unit(duration, words):
    assert ui.milliseconds(duration) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (2, "just now"),
        (61, "1 minute ago"),
        (7300, "2 hours ago"),
        (-86_400 * 3 - 60, "in 3 days"),
        (-86_400 + 1, "in 24 hours"),
    ],
)
def test_a_time_is_relative_and_says_the_exact_one_on_hover(seconds, words):
    moment = timezone.now() - timedelta(seconds=seconds)
    html = ui.ago(moment)
    assert f">{words}</time>" in html
    assert f"{moment:%H:%M:%S} UTC" in html


def test_a_moment_that_never_came_reads_never():
    assert "never" in ui.ago(None)


def test_words_between_backticks_become_code_and_the_rest_stays_text():
    assert ui.code_words("Send `a < b` & wait.") == "Send <code>a &lt; b</code> &amp; wait."


def test_paragraphs_follow_empty_lines():
    assert ui.paragraphs("One\nline.\n\nTwo.") == "<p>One line.</p>\n<p>Two.</p>"


QUESTION = """it's "5 > 4" && `x` $HOME \\n ü 🙂"""


def test_the_curl_call_survives_any_question(rf):
    curl = faq_calls(Context({"request": rf.get("/faq/")}), QUESTION, "sp_key")[0].code
    words = shlex.split(curl.replace("\\\n", " "))
    assert words[:2] == ["curl", "http://testserver/api/v1/faq/match"]
    assert "Authorization: Bearer sp_key" in words
    assert json.loads(words[words.index("-d") + 1]) == {"question": QUESTION}


def test_the_calls_ask_for_the_matched_words_where_the_page_did(rf):
    curl, python, javascript = faq_calls(Context({"request": rf.get("/faq/")}), "why?", explain=True)
    assert '{"question": "why?", "explain": true}' in curl.code
    assert '{"question": "why?", "explain": True}' in python.code
    assert '{ question: "why?", explain: true }' in javascript.code


def test_the_curl_call_names_the_one_file_whatever_it_is_called(rf):
    name = r"""it's a "cat";type=text\html.jpg"""
    curl = image_calls(Context({"request": rf.get("/")}), name)[0].code
    words = shlex.split(curl.replace("\\\n", " "))
    sent = words[words.index("-F") + 1].removeprefix("files=@")
    assert json.loads(sent) == name, "curl's quoting inside is that of JSON for these characters"


def test_the_python_calls_are_python_whatever_the_names(rf):
    context = Context({"request": rf.get("/")})
    for calls in (faq_calls(context, QUESTION), image_calls(context, 'a "cat".jpg', "resnet152")):
        compile(calls[1].code, "call", "exec")


def test_without_a_key_the_calls_read_it_from_the_environment(rf):
    curl, python, javascript = faq_calls(Context({"request": rf.get("/")}), "why?")
    assert '"Authorization: Bearer $SCOREPOD_KEY"' in curl.code
    assert 'os.environ["SCOREPOD_KEY"]' in python.code
    assert "process.env.SCOREPOD_KEY" in javascript.code


def test_a_probability_bar_is_a_meter_without_inline_style():
    template = Template('{% include "components/probability.html" with probability=p name="Match" %}')
    html = template.render(Context({"p": 0.8734}))
    assert 'role="meter"' in html
    assert 'aria-valuetext="87.3 %"' in html
    assert 'width="87.3%"' in html
    assert "style=" not in html


@pytest.mark.parametrize(
    ("size", "words"),
    [
        *((0, "0 MB"), (1, "1 KB"), (8_200, "9 KB"), (99_499, "100 KB"), (99_500, "0.1 MB")),
        *(
            (10_000_000, "10 MB"),
            (12_340_000, "12.3 MB"),
            (999_960_000, "1 GB"),
            (10**9, "1 GB"),
            (1_540_000_000, "1.5 GB"),
        ),
    ],
)
def test_sizes_are_read_in_the_unit_that_leaves_few_digits(size, words):
    assert ui.byte_size(size) == words
