"""Asking a trained matcher: what comes first, how probable it is, and what else can be had."""

import itertools
import json

import pytest

from scoring_service.errors import BadRow
from scoring_service.runtimes.base import Row
from tests.scoring_service.faq import library
from tests.scoring_service.faq.library import ENTRIES, ask

ALL = {entry["id"] for entry in ENTRIES}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("I would like to extend my loan for another week", "renew"),
        ("Where is the printer?", "print"),
        ("what is the password of the wifi", "wifi"),
        ("opening hours on Saturday", "hours"),
        ("how much does a lost novel cost me", "lost"),
    ],
)
def test_a_question_in_other_words_finds_its_entry(runtime, question, expected):
    assert ask(runtime, question)["faq_id"][0] == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("oppening huors", "hours"),
        ("wirless netwrok pasword", "wifi"),
        ("HOW DO I RÉNÉW A BÖOK", "renew"),
        ("ｐｒｉｎｔｅｒ", "print"),
        ("<p>Where can I <b>print</b>?</p><pre><code>lpr file.pdf</code></pre>", "print"),
        ("```\nprint(document)\n```", "print"),
        ("lib­rary ca\u200brd 😀", "card"),
    ],
)
def test_typing_errors_accents_markup_and_odd_characters_do_not_hide_the_entry(runtime, question, expected):
    assert ask(runtime, question)["faq_id"][0] == expected


@pytest.mark.parametrize("text", [text for entry in ENTRIES for text in (entry["question"], *entry["phrasings"])])
def test_a_known_text_word_for_word_is_first_and_almost_certain(runtime, text):
    entry = next(entry for entry in ENTRIES if text in (entry["question"], *entry["phrasings"]))
    answer = ask(runtime, f"  {text.upper()} !")
    assert answer["faq_id"][0] == entry["id"]
    assert answer["probability"][0] >= 0.99
    assert answer["probability"][1] < 0.99


def test_ten_entries_are_given_unless_another_number_is_asked_for(tmp_path):
    entries = [{"id": f"e{number}", "question": f"What is thing number {number}?"} for number in range(30)]
    runtime = library.matcher_of(tmp_path, entries)
    assert len(ask(runtime, "which thing")["faq_id"]) == 10
    assert len(ask(runtime, "which thing", top_k=3)["faq_id"]) == 3
    assert len(ask(runtime, "which thing", top_k=25)["faq_id"]) == 25
    assert len(ask(runtime, "which thing", top_k=500)["faq_id"]) == 30
    assert len(set(ask(runtime, "which thing", top_k=0)["faq_id"])) == 30


def test_probabilities_lie_between_0_and_1_and_never_rise(tmp_path):
    entries = [{"id": f"e{number}", "question": f"What is thing number {number}?"} for number in range(30)]
    runtime = library.matcher_of(tmp_path, entries)
    for question in ("thing 12", "What is thing number 7?", "zzz", "?! 3"):
        probabilities = ask(runtime, question, top_k=0)["probability"]
        assert all(0 <= each <= 1 for each in probabilities)
        assert all(first >= second for first, second in itertools.pairwise(probabilities))


def test_a_question_about_something_else_stays_below_the_threshold(runtime):
    assert ask(runtime, "why do cats purr")["probability"][0] < runtime.parameters["threshold"]
    assert ask(runtime, "what time do you open on Saturdays")["probability"][0] >= runtime.parameters["threshold"]


def test_answer_ids_come_on_request_only(runtime):
    assert set(ask(runtime, "wifi")) == {"faq_id", "probability"}
    answer = ask(runtime, "wifi", "answer_id")
    assert answer["answer_id"] == [f"{identity}-answer" for identity in answer["faq_id"]]


def test_terms_are_words_of_the_question_as_typed_and_of_the_entry(runtime):
    question = "Is the PRINTER on the secnd floor?"
    answer = ask(runtime, question, "terms")
    assert answer["faq_id"][0] == "print"
    terms = [json.loads(each) for each in answer["terms"]]
    entry = next(entry for entry in ENTRIES if entry["id"] == "print")
    texts = " ".join([entry["question"], entry["answer"], *entry["phrasings"]])
    assert {"PRINTER", "secnd", "floor"} <= set(terms[0]["question"])
    assert {"printer", "second", "floor"} <= set(terms[0]["entry"])
    assert all(word in question for each in terms for word in each["question"])
    assert all(word in texts for word in terms[0]["entry"])


def test_terms_are_given_for_every_entry_asked_for(runtime):
    answer = ask(runtime, "wifi", "terms", top_k=0)
    assert len(answer["terms"]) == len(ALL)
    assert all(json.loads(each).keys() == {"question", "entry"} for each in answer["terms"])


@pytest.mark.parametrize("question", ["", "   \n", "?!", "…", "---", "===", "<p></p>", "<br/> <br/>", "\u0301\u0301"])
def test_a_question_without_words_is_refused_in_clear_words(runtime, question):
    with pytest.raises(BadRow, match=r"empty|no letters or digits"):
        ask(runtime, question)


def test_ten_thousand_characters_are_read_and_one_more_is_refused(runtime):
    long = ("how do I connect to the wireless network " * 300)[:10_000]
    assert ask(runtime, long)["faq_id"][0] == "wifi"
    with pytest.raises(BadRow, match="10,001 characters"):
        ask(runtime, "x" * 10_001)


@pytest.mark.parametrize("top_k", [-1, 2.5, "3", True, None])
def test_a_senseless_top_k_is_refused(runtime, top_k):
    with pytest.raises(BadRow, match="top_k"):
        ask(runtime, "wifi", top_k=top_k)


def test_a_batch_gives_what_single_questions_give(runtime):
    questions = [text for entry in ENTRIES for text in entry["phrasings"]] + ["why do cats purr", "x"]
    rows = [
        Row((question,), {"top_k": 1 + place % 7}, frozenset({"terms"})) for place, question in enumerate(questions)
    ]
    alone = [runtime.score([row])[0] for row in rows]
    together = runtime.score(rows)
    for one, other in zip(alone, together, strict=True):
        assert one["faq_id"] == other["faq_id"]
        assert one["terms"] == other["terms"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_a_bad_row_fails_alone(runtime):
    good, bad, also_good = runtime.score([Row(("wifi",)), Row(("?",)), Row(("card",))])
    assert isinstance(bad, BadRow)
    assert (good["faq_id"][0], also_good["faq_id"][0]) == ("wifi", "card")


def test_nothing_but_bad_rows_is_answered_too(runtime):
    assert all(isinstance(each, BadRow) for each in runtime.score([Row(("",)), Row(("?",))]))
