"""A collection on its first days: one entry, a handful, no phrasings, other languages."""

import pytest

from scoring_service import store
from tests.scoring_service.faq import library
from tests.scoring_service.faq.library import ENTRIES, ask


def bare(entry):
    return {"id": entry["id"], "question": entry["question"], "answer": entry["answer"]}


def test_one_entry_without_phrasings_answers_and_says_what_was_not_measured(tmp_path):
    version = library.train(tmp_path, [{"id": "only", "question": "How do I renew a book?"}])
    runtime = library.loaded(version)
    near, far = ask(runtime, "renew my book", top_k=0), ask(runtime, "why do cats purr")
    assert near["faq_id"] == far["faq_id"] == ["only"]
    assert near["probability"][0] > far["probability"][0]
    assert ask(runtime, "how do i renew a book")["probability"][0] >= 0.99
    metrics = store.read_manifest(version).metrics
    assert metrics["measured_on"] is None
    assert metrics["accuracy_at_1"] is metrics["ece"] is metrics["no_answer_auroc"] is None
    assert metrics["ms_per_question"] > 0


def test_two_entries_without_phrasings_are_told_apart(tmp_path):
    runtime = library.matcher_of(tmp_path, [bare(ENTRIES[0]), bare(ENTRIES[1])])
    assert ask(runtime, "renewing books")["faq_id"] == ["renew", "card"]
    assert ask(runtime, "a new card")["faq_id"] == ["card", "renew"]


def test_answers_are_searched_where_the_question_has_none_of_the_words(tmp_path):
    runtime = library.matcher_of(tmp_path, [bare(entry) for entry in ENTRIES])
    assert ask(runtime, "do I need my passport")["faq_id"][0] == "card"
    assert ask(runtime, "second floor")["faq_id"][0] == "print"


def test_entries_without_phrasings_live_beside_entries_with_them(tmp_path):
    mixed = [*ENTRIES[:4], bare(ENTRIES[4]), bare(ENTRIES[5])]
    runtime = library.matcher_of(tmp_path, mixed)
    assert ask(runtime, "Where can I print a page?")["faq_id"][0] == "print"
    assert ask(runtime, "sign up as a new member")["faq_id"][0] == "card"


def test_a_collection_with_one_phrasing_an_entry_can_be_trained(tmp_path):
    entries = [{**bare(entry), "phrasings": entry["phrasings"][:1]} for entry in ENTRIES]
    assert ask(library.matcher_of(tmp_path, entries), "opening hours")["faq_id"][0] == "hours"


def test_two_entries_with_the_same_question_both_match_exactly(tmp_path):
    twins = [{"id": "a", "question": "Where is it?"}, {"id": "b", "question": "where is it"}]
    answer = ask(library.matcher_of(tmp_path, twins), "Where is it")
    assert set(answer["faq_id"]) == {"a", "b"}
    assert min(answer["probability"]) >= 0.99


@pytest.mark.parametrize(
    ("questions", "asked", "expected"),
    [
        (["如何更新我的借书证？", "图书馆几点开门？", "在哪里可以打印文件？"], "几点开门", 1),
        (["本を延長するには？", "図書館は何時に開きますか？"], "何時に開く", 1),
        (["Как продлить книгу?", "Когда открыта библиотека?"], "библиотека открыта сегодня", 1),
        (["ต่ออายุหนังสืออย่างไร", "ห้องสมุดเปิดกี่โมง"], "เปิดกี่โมง", 1),
        (["متى تفتح المكتبة؟", "كيف أجدد كتابا؟"], "تجديد كتاب", 1),
        (["What does 😀 mean?", "What does 🚀 mean?"], "🚀", 1),
    ],
)
def test_any_script_can_be_searched(tmp_path, questions, asked, expected):
    entries = [{"id": str(number), "question": question} for number, question in enumerate(questions)]
    assert ask(library.matcher_of(tmp_path, entries), asked)["faq_id"][0] == str(expected)
