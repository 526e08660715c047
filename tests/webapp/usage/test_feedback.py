"""Saying whether an answer was right: by the buttons of a page, and by API."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import bearer, make_collection, make_key, picture
from tests.webapp.answers import assert_problem
from tests.webapp.pods import Pods
from webapp.usage import traffic
from webapp.usage.models import Feedback, ScoringRecord

API, PAGE = "/api/v1/feedback", "/feedback"
TERMS = {"question": [], "entry": []}


@pytest.fixture
def pods(scoring: Pods) -> Pods:
    make_collection(*(f"Question {number}" for number in range(1, 9)))
    scoring.faq = [(f"js-{number}", f"js-{number}-a", 0.95 - number / 10, TERMS) for number in range(1, 9)]
    return scoring


def verdicts() -> list[tuple[str, str, str, bool]]:
    return list(Feedback.objects.order_by("pk").values_list("model", "version", "item", "right"))


class TestByApi:
    @pytest.fixture
    def asked(self, client, owner_key, pods):
        """The id of an answered request."""
        body = {"question": "copy", "top_k": 8}
        answer = client.post("/api/v1/faq/match", body, content_type="application/json", headers=bearer(owner_key))
        return answer.json()["request_id"]

    @pytest.fixture
    def classified(self, client, owner_key, pods):
        """The same for pictures of those names."""

        def classified(*names):
            files = [picture(name=name) for name in names]
            answer = client.post("/api/v1/images/classify", {"files": files}, headers=bearer(owner_key))
            return answer.json()["request_id"]

        return classified

    @pytest.fixture
    def say(self, client, owner_key):
        def say(body, key=owner_key):
            return client.post(API, body, content_type="application/json", headers=bearer(key))

        return say

    def test_it_is_about_the_best_match(self, say, asked):
        answer = say({"request_id": asked, "verdict": "right"})
        assert answer.status_code == 200
        assert answer.json() == {
            "request_id": asked,
            "id": "js-1",
            "verdict": "right",
            "model": "faq-javascript",
            "version": "1",
        }
        assert verdicts() == [("faq-javascript", "1", "js-1", True)]

    def test_or_about_any_other_of_the_answer(self, say, asked):
        assert say({"request_id": asked, "verdict": "wrong", "id": "js-8"}).json()["id"] == "js-8"
        assert verdicts() == [("faq-javascript", "1", "js-8", False)]

    def test_the_last_word_counts_and_counts_once(self, say, asked):
        for verdict in ("right", "wrong", "wrong"):
            assert say({"request_id": asked, "verdict": verdict}).status_code == 200
        totals = traffic.totals("faq-javascript", "1", since=timezone.now() - timedelta(minutes=1))
        assert (totals.right, totals.wrong) == (0, 1)

    def test_of_one_picture_it_needs_no_id(self, say, classified):
        assert say({"request_id": classified("dog.png"), "verdict": "wrong"}).json()["id"] == "dog.png"
        assert verdicts() == [("resnet152", "1", "dog.png", False)]

    def test_of_several_pictures_the_file_name_says_which(self, say, classified):
        request_id = classified("dog.png", "cat.png", "dog.png")
        problem = assert_problem(say({"request_id": request_id, "verdict": "right"}), 422, "invalid-input")
        assert problem["errors"][0]["field"] == "id"
        assert "dog.png, cat.png, dog.png#2" in problem["detail"]
        for name in ("dog.png#2", "cat.png"):
            assert say({"request_id": request_id, "verdict": "right", "id": name}).status_code == 200
        assert [item for _, _, item, _ in verdicts()] == ["dog.png#2", "cat.png"]

    def test_the_second_of_two_pictures_with_the_longest_name_can_be_judged(self, say, classified):
        name = f"{'x' * 251}.png"
        request_id = classified(name, name)
        answer = say({"request_id": request_id, "verdict": "right", "id": f"{name}#2"})
        assert answer.status_code == 200, answer.content
        Feedback.objects.get().clean_fields()  # as PostgreSQL sees to it, and SQLite does not

    def test_what_the_answer_did_not_have_is_a_422_that_names_what_it_had(self, say, asked):
        answer = say({"request_id": asked, "verdict": "right", "id": "js-99"})
        assert "js-1" in assert_problem(answer, 422, "invalid-input")["errors"][0]["detail"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"verdict": "right"}, "request_id"),
            ({"request_id": "x" * 201, "verdict": "right"}, "request_id"),
            ({"request_id": "r"}, "verdict"),
            ({"request_id": "r", "verdict": "none"}, "verdict"),
            ({"request_id": "r", "verdict": "right", "id": ""}, "id"),
            ({"request_id": "r", "verdict": "right", "id": "x" * 301}, "id"),
        ],
    )
    def test_a_value_that_will_not_do_is_named(self, say, body, field):
        assert [each["field"] for each in assert_problem(say(body), 422, "invalid-input")["errors"]] == [field]

    def test_an_unknown_request_is_a_404(self, say, asked):
        assert_problem(say({"request_id": "no-such-request", "verdict": "right"}), 404, "not-found")

    def test_somebody_elses_request_is_a_404(self, say, asked, stranger):
        assert_problem(say({"request_id": asked, "verdict": "right"}, key=make_key(stranger)), 404, "not-found")

    def test_a_request_that_failed_is_a_404(self, say, asked):
        ScoringRecord.objects.update(outcome="scoring-timeout")
        assert_problem(say({"request_id": asked, "verdict": "right"}), 404, "not-found")

    def test_a_stranger_is_a_401(self, client, db):
        assert_problem(client.post(API, {}, content_type="application/json"), 401, "not-signed-in")

    def test_it_outlives_the_account_without_the_person(self, say, asked, owner):
        say({"request_id": asked, "verdict": "right"})
        owner.delete()
        assert Feedback.objects.get().user is None


class TestOnAPage:
    @pytest.fixture
    def matches(self, owner_client, pods):
        return owner_client.get("/faq/?q=copy").content.decode()

    @pytest.fixture
    def press(self, owner_client):
        """Presses the button with that value on the page; by script, unless told otherwise."""

        def press(page, value, **options):
            [token] = set(re.findall(r'name="token" value="([^"]+)"', page))
            how = options or {"headers": {"X-Requested-With": "fetch"}}
            return owner_client.post(PAGE, {"token": token, "verdict": value}, **how)

        return press

    def test_each_match_has_its_buttons(self, matches):
        assert re.findall(r'value="(right|wrong) (js-\d)" aria-pressed="false"', matches) == [
            (verdict, f"js-{number}") for number in range(1, 6) for verdict in ("right", "wrong")
        ]

    def test_a_button_that_was_pressed_looks_so_and_takes_back_what_it_said(self, matches, press):
        part = press(matches, "right js-1").content.decode()
        assert 'value="none js-1" aria-pressed="true"' in part
        assert 'value="wrong js-1" aria-pressed="false"' in part
        assert verdicts() == [("faq-javascript", "1", "js-1", True)]
        assert 'value="right js-1" aria-pressed="false"' in press(matches, "none js-1").content.decode()
        assert verdicts() == []

    def test_one_may_change_ones_mind(self, matches, press):
        press(matches, "right js-1")
        press(matches, "wrong js-1")
        assert verdicts() == [("faq-javascript", "1", "js-1", False)]

    def test_without_a_script_it_is_a_page_with_the_same_buttons(self, matches, press):
        page = press(matches, "wrong js-2", follow=True).content.decode()
        assert "Thank you" in page
        assert "none js-2" in press(page, "right js-2").content.decode()
        assert verdicts() == [("faq-javascript", "1", "js-2", True)]

    def test_a_picture_has_buttons_too(self, owner_client, pods, press):
        page = owner_client.post("/images/", {"files": picture(name='a "quoted".png')}).content.decode()
        assert 'value="right a &quot;quoted&quot;.png"' in page
        assert press(page, 'wrong a "quoted".png').status_code == 200
        assert verdicts() == [("resnet152", "1", 'a "quoted".png', False)]

    def test_a_picture_that_failed_has_none(self, owner_client, pods):
        from django.core.files.uploadedfile import SimpleUploadedFile

        page = owner_client.post("/images/", {"files": SimpleUploadedFile("notes.txt", b"text")}).content.decode()
        assert "verdict" not in page

    @pytest.mark.parametrize("value", ["right js-99", "right", "", "perhaps js-1"])
    def test_what_no_button_says_is_refused(self, matches, press, value):
        assert press(matches, value).status_code == 422
        assert verdicts() == []

    def test_a_token_of_somebody_else_opens_nothing(self, matches, press, owner_client, stranger):
        owner_client.force_login(stranger)
        assert press(matches, "right js-1").status_code == 422
        assert verdicts() == []

    @pytest.mark.parametrize("token", ["", "x", "x:y:z", "\0"])
    def test_a_token_that_is_none_is_refused(self, owner_client, token):
        answer = owner_client.post(PAGE, {"token": token, "verdict": "right js-1"})
        assert answer.status_code == 422
        assert "Ask again" in answer.content.decode()

    def test_nobody_signed_in_is_sent_to_sign_in(self, client, db):
        assert client.post(PAGE, {}).status_code == 302

    def test_reading_it_does_nothing(self, owner_client):
        assert owner_client.get(PAGE).status_code == 405
