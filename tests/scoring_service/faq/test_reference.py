"""The matcher answers what the same model computed the plain way answers, only sooner."""

import random

import pytest

from scoring_service.faq import text
from scoring_service.runtimes.base import Row
from tests.scoring_service.faq import library
from tests.scoring_service.faq.reference import Reference

COMMON = "how do i renew a book card lost open hours print wifi password the my of laptop library is what"
ODD = "when cann closre opning pasword xyzzy 如何 克隆 对象 वाई फ़ाई 한국어 größe === => C++ 42 <b>book</b> &amp; 😀"
WORDS = f"{COMMON} {ODD}".split()
SCRIPTS = (
    ("如何克隆一个对象", "怎样复制对象", "复制一个数组"),
    ("Как скопировать объект?", "копия объекта", "клонировать массив"),
    ("파일을 어떻게 복사합니까", "파일 복사", "배열 복사"),
    ("ऑब्जेक्ट की प्रतिलिपि कैसे बनाएं", "प्रतिलिपि बनाना", "सूची की प्रतिलिपि"),
)


def questions() -> list[str]:
    chance = random.Random(3)
    made = [" ".join(chance.choices(WORDS, k=chance.randint(1, 14))) for _ in range(60)]
    letters = ["".join(chance.choices("abcdefghij klmnop", k=chance.randint(3, 40))) for _ in range(20)]
    long = " ".join(chance.choices(WORDS, k=1_500))
    asked = [*made, *letters, long, "zzzz", "x" * 500, "extend my loan", "renew renew renew", *map(" ".join, SCRIPTS)]
    return [each for each in asked if text.is_question(each)]


@pytest.fixture(scope="session")
def hundred(tmp_path_factory):
    """The folder of a version of 104 entries: more than are ranked, with and without phrasings and answers."""
    chance = random.Random(4)
    lines = [
        {"id": f"script-{number}", "question": each[0], "phrasings": list(each[1:])}
        for number, each in enumerate(SCRIPTS)
    ]
    for number in range(100):
        texts = [" ".join(chance.choices(WORDS[:20], k=chance.randint(3, 9))) + f" no{number % 40}" for _ in range(4)]
        answer = " ".join(chance.choices(WORDS[:25], k=30)) if number % 3 else ""
        lines.append(
            {"id": f"e{number}", "question": texts[0], "phrasings": texts[1 : 1 + number % 4], "answer": answer}
        )
    return library.train(tmp_path_factory.mktemp("hundred"), lines)


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("collection", ["version", "hundred"])
def test_answers_are_those_of_the_plain_way(request, collection, batch):
    folder = request.getfixturevalue(collection)
    runtime, reference, asked = library.loaded(folder), Reference(folder), questions()
    for at in range(0, len(asked), batch):
        results = runtime.score([Row((each,)) for each in asked[at : at + batch]])
        for question, result in zip(asked[at : at + batch], results, strict=True):
            expected = reference(question)
            assert result["probability"] == pytest.approx([each for _, each in expected], abs=1e-6), question
            given = dict(zip(result["faq_id"], result["probability"], strict=True))
            # Equals may stand in either order; the last place may be shared.
            least = expected[-1][1] + 2e-6
            for identity, probability in expected:
                assert given.get(identity, least) == pytest.approx(probability, abs=2e-6), (question, identity)
