"""What a report says of two versions: which differences count, in which words, and what is left out."""

from collections.abc import Iterator, Sequence

import pytest

from webapp.errors import ScoringRefused
from webapp.registry.evaluation import Evaluation, Gone, Guess, Guesses, Side
from webapp.registry.evaluation_sets import Case
from webapp.registry.reports import Tolerance, kept_measures, report_of


class Script:
    """A version that answers what it is told to: input to its answers; None: it refuses the input."""

    def __init__(self, answers: dict[str, Sequence[tuple[str, float]] | None]) -> None:
        self.answers = answers

    def ask(self, case: Case) -> Guesses:
        answers = self.answers[case.name]
        if answers is None:
            raise ScoringRefused("Not this one.")
        return [Guess(identity, probability, identity.upper()) for identity, probability in answers]

    def ask_many(self, cases: Sequence[Case]) -> Sequence[Guesses]:
        return [self.ask(case) for case in cases]


def report(kind: str, candidate, champion, expected: dict[str, str | None], **tolerance):
    """The report of two versions on the inputs with their expected answers."""

    def cases() -> Iterator[Case]:
        return (Case(name, name, answer) for name, answer in expected.items())

    sides = [Side(name, Script(each)) if each else None for name, each in (("2", candidate), ("1", champion))]
    evaluation = Evaluation(kind, *sides)
    evaluation.run(cases, on_progress=lambda done: None)
    answerable = sum(answer is not None for answer in expected.values())
    tolerated = Tolerance(**{"quality": 1, "latency": 100_000, **tolerance})
    return report_of(evaluation, digest="d", answerable=answerable, tolerance=tolerated, names={"cat": "Cat"})


def pictures(total: int, wrong: int, answer: str = "dog"):
    """Answers to so many pictures of cats, some of them wrong."""
    return {f"{number}.png": [(answer if number < wrong else "cat", 0.9)] for number in range(total)}


CATS = dict.fromkeys((f"{number}.png" for number in range(200)), "cat")


@pytest.mark.parametrize(("wrong", "is_worse"), [(10, False), (12, False), (13, True)])
def test_a_version_may_be_worse_by_as_much_as_is_tolerated(wrong, is_worse):
    found = report("image", pictures(200, wrong), pictures(200, 10), CATS)
    top_1 = next(row for row in found["differences"] if row["metric"] == "top_1")
    assert top_1["worse_than_tolerated"] is is_worse
    assert any(sentence.startswith("Top-1 accuracy") for sentence in found["verdict"]["worse"]) is is_worse


def test_a_longer_tail_counts_when_it_is_no_chance():
    quick = [1.0 + number / 100 for number in range(100)]

    def worse(milliseconds: list[float]) -> list[str]:
        sides = [Side("2", Script({}), milliseconds=milliseconds), Side("1", Script({}), milliseconds=quick)]
        report = report_of(Evaluation("faq", *sides), digest="", answerable=0, tolerance=Tolerance(1, 50), names={})
        return report["verdict"]["worse"]

    assert worse([each * 2 for each in quick]) == [
        "Latency p95 is 3.9 ms, 100 % above version 1 (1.9 ms); tolerated are 50 %."
    ]
    assert worse(quick[:94] + [50.0] * 6) == [], "six stragglers against none might be chance"
    assert worse(quick[:90] + [50.0] * 10) != []
    assert worse([each / 2 for each in quick]) == []


def test_an_input_without_an_answer_counts_as_wrong_and_is_named():
    refusing = pictures(200, 0) | {"7.png": None}
    found = report("image", refusing, pictures(200, 0), CATS)
    assert found["candidate"]["failed"] == 1
    assert found["candidate"]["top_1"] == 0.995
    assert found["verdict"]["worse"] == ["It has no answer to 1 input; version 1 has none to 0."]
    assert found["failures"] == [{"input": "7.png", "reason": "Not this one."}]
    [example] = found["disagreements"]["examples"]
    assert (example["kind"], example["candidate"], example["candidate_failure"]) == ("lost", [], "Not this one.")


@pytest.mark.parametrize("probability", [float("nan"), float("inf"), -0.1, 1.5])
def test_a_probability_that_is_none_counts_as_no_answer(probability):
    found = report("image", pictures(200, 0) | {"7.png": [("cat", probability)]}, None, CATS)
    assert found["candidate"]["failed"] == 1
    assert found["failures"] == [
        {"input": "7.png", "reason": "A probability in its answer is not a number from 0 to 1."}
    ]


def test_a_version_that_answers_nothing_is_given_up():
    with pytest.raises(Gone, match=r"no answer to 10 inputs in a row\. The last time: Not this one\."):
        report("image", dict.fromkeys(CATS), pictures(200, 0), CATS)


def test_a_champion_that_answers_nothing_is_left_out():
    found = report("image", pictures(200, 0), dict.fromkeys(CATS), CATS)
    assert found["champion"] is None
    assert found["candidate"]["inputs"] == 200
    assert found["note"].startswith("Version 1 could not be compared with: It had no answer to 10 inputs")


def test_labels_are_named_in_the_matrix():
    found = report("image", pictures(4, 1), pictures(4, 0), dict(list(CATS.items())[:4]))
    assert found["confusion"] == {
        "labels": [{"label_id": "cat", "label": "CAT"}, {"label_id": "dog", "label": "DOG"}],
        "candidate": [[3, 1], [0, 0]],
        "champion": [[4, 0], [0, 0]],
    }


def test_of_many_labels_only_the_pairs_most_often_confused_are_kept():
    expected = {f"{number}.png": f"label-{number % 40}" for number in range(120)}
    candidate = {name: [("label-0" if label == "label-7" else label, 0.9)] for name, label in expected.items()}
    candidate["1.png"] = [("label-2", 0.9)]
    found = report("image", candidate, None, expected)
    assert found["confusion"] == {
        "pairs": [
            {
                "expected": {"label_id": "label-7", "label": ""},
                "answered": {"label_id": "label-0", "label": "LABEL-0"},
                "candidate": 3,
                "champion": None,
            },
            {
                "expected": {"label_id": "label-1", "label": "LABEL-1"},
                "answered": {"label_id": "label-2", "label": "LABEL-2"},
                "candidate": 1,
                "champion": None,
            },
        ]
    }


def test_questions_that_nothing_answers_only_count_for_telling_them_apart():
    asked = {"a": "x", "b": "y", "pizza": None, "weather": None}
    candidate = {"a": [("x", 0.9)], "b": [("y", 0.8)], "pizza": [("x", 0.85)], "weather": [("y", 0.1)]}
    champion = candidate | {"pizza": [("y", 0.1)]}
    found = report("faq", candidate, champion, asked)
    assert found["candidate"]["accuracy_at_1"] == 1.0
    assert found["candidate"]["no_answer_auroc"] == 0.75
    assert found["champion"]["no_answer_auroc"] == 1.0
    assert found["disagreements"]["examples"] == []
    assert "No-answer AUROC is 0.750, 0.250 below version 1 (1.000); tolerated are 0.01." in found["verdict"]["worse"]


def test_only_some_of_many_disagreements_are_kept_those_that_were_lost_first():
    found = report("image", pictures(200, 120), pictures(200, 200, "bird"), CATS)
    assert (found["disagreements"]["won"], found["disagreements"]["different"]) == (80, 120)
    examples = found["disagreements"]["examples"]
    assert len(examples) == 50
    assert {example["kind"] for example in examples} == {"won"}
    assert examples[0]["expected"] == {"id": "cat", "label": "Cat"}


def test_the_version_keeps_its_measures_without_the_finer_points():
    found = report("image", pictures(4, 1), None, dict(list(CATS.items())[:4]))
    assert set(kept_measures(found)) == {"inputs", "failed", "top_1", "top_5", "ece", "brier", "p50_ms", "p95_ms"}
    assert kept_measures({"reason": "broken"}) == {}
