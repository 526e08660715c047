"""Whatever people type is answered or refused in clear words, in reasonable time."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring_service.errors import BadRow
from scoring_service.faq import text
from scoring_service.runtimes.base import Row

REFUSALS = re.compile(r"The question (is empty|has [\d,]+ characters|has no letters)")
MARKUP = st.lists(
    st.sampled_from(
        ["<p>", "</p>", "<pre>", "<code>", "```", "<div class='x'>", "&lt;", "&", "[a](b)", "card", "\x00", " "]
    )
).map("".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(question=st.text(max_size=200) | MARKUP)
def test_any_text_gives_a_list_of_scores_or_a_clear_refusal(runtime, question):
    [result] = runtime.score([Row((question,), {"top_k": 0}, frozenset({"terms", "answer_id"}))])
    if isinstance(result, BadRow):
        assert REFUSALS.match(str(result))
    else:
        assert len(result["faq_id"]) == len(result["probability"]) == len(result["terms"]) == 6
        assert all(0 <= each <= 1 for each in result["probability"])


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_folding_twice_changes_nothing_more(written):
    once = text.folded(written)
    assert text.words(" ".join(text.words(once))) == text.words(once)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Don't", ["dont"]),
        ("l'Élève", ["l", "eleve"]),
        ("ﬁle ＡＢ Straße Łódź", ["file", "ab", "strasse", "lodz"]),
        ("C++ or C#, i++ === =>", ["c++", "or", "c#", "i++", "===", "=>"]),
        ("<div> vs <span class='a'>", ["div", "vs", "span"]),
        ("a < b and c > d", ["a", "<", "b", "and", "c", ">", "d"]),
        ("see [the docs](https://example.org/x) https://example.org", ["see", "the", "docs"]),
        ("https://example.org", ["https", "example", "org"]),
        ("Fish &amp; chips", ["fish", "&", "chips"]),
        ("如何克隆", ["如", "何", "克", "隆"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("한국어 질문", ["한국어", "질문"]),
        ("why <pre>let x</pre> does it fail ```y```", ["why", "does", "it", "fail"]),
        ("```let x```", ["let", "x"]),
        ("x" * 100, ["x" * 40, "x" * 40, "x" * 20]),
    ],
)
def test_words_of_a_text(written, words):
    assert text.words(written) == words


@pytest.mark.parametrize(
    "piece", ["<a", "<pre>", "[", "](", "```", "'t", "-", "=", "&", "!", "é", "<p ", "http://", "ก"]
)
def test_ten_thousand_hostile_characters_are_cut_into_words_without_trouble(piece):
    assert isinstance(text.words((piece * 10_000)[:10_000]), list)


def test_character_runs_are_those_of_scikit_learn():
    from sklearn.feature_extraction.text import CountVectorizer

    analyse = CountVectorizer(analyzer="char_wb", ngram_range=(2, 5)).build_analyzer()
    for word in ("a", "ab", "closure", "größe", "如"):
        own = sorted(text.character_grams(word))
        assert set(own) == set(analyse(word))
