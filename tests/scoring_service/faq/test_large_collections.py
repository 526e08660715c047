"""Thousands of entries: too many for one class each, found by retrieval and the re-ranker."""

import itertools
import random

import pytest

from tests.scoring_service.faq import library
from tests.scoring_service.faq.library import ask
from tests.scoring_service.faq.reference import Reference

SYLLABLES = ("ka", "lo", "mi", "ter", "van", "su", "ple", "gor", "ni", "dax", "ru", "bel", "tho", "zin", "fe", "qua")
SIZE = 2_500


@pytest.fixture(scope="module")
def things() -> list[str]:
    names = ["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)]
    return random.Random(0).sample(names, 500)


TOPICS = {
    "buy": ("Where can I buy a {}?", ["shop to buy the {}", "buy a used {}"]),
    "fix": ("How do I repair a broken {}?", ["repair my {}", "who can repair the {} for me"]),
    "feed": ("What food does a {} eat?", ["best food for the {}", "how much food a {} needs"]),
    "wash": ("How do I wash a {}?", ["wash a dirty {} by hand", "wash stains from my {}"]),
    "send": ("Can I send a {} by post?", ["send a {} abroad", "what it costs to send the {}"]),
}


@pytest.fixture(scope="module")
def lines(things):
    """2,500 entries: five questions about each of 500 things."""
    return [
        {
            "id": f"{topic}-{thing}",
            "question": question.format(thing),
            "phrasings": [each.format(thing) for each in phrasings],
        }
        for thing in things
        for topic, (question, phrasings) in TOPICS.items()
    ]


@pytest.fixture(scope="module")
def version(tmp_path_factory, lines):
    return library.train(tmp_path_factory.mktemp("large"), lines)


def test_the_right_one_of_thousands_is_found(version, things):
    runtime = library.loaded(version)
    for thing in things[:20]:
        assert ask(runtime, f"I need to repair my {thing}")["faq_id"][0] == f"fix-{thing}"
        assert ask(runtime, f"what food does the {thing} like to eat")["faq_id"][0] == f"feed-{thing}"
        assert f"send-{thing}" in ask(runtime, f"sending my {thing} to a friend", top_k=5)["faq_id"]


def test_answers_are_those_of_the_plain_way(version, things):
    runtime, reference = library.loaded(version), Reference(version)
    for thing in things[:10]:
        question = f"buying and repairing an old {thing}"
        assert ask(runtime, question)["probability"] == pytest.approx(
            [each for _, each in reference(question)], abs=1e-6
        )


def test_all_of_thousands_can_be_had_in_order(version):
    answer = ask(library.loaded(version), "wash it", top_k=0)
    assert len(set(answer["faq_id"])) == SIZE
    assert all(first >= second for first, second in itertools.pairwise(answer["probability"]))


def test_so_many_entries_have_no_class_each(version):
    assert not (version / "classifier_bias.npy").exists()
