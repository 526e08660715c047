"""The images page, whole and in part."""

from base64 import b64encode

import httpx2 as httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.factories import picture
from tests.webapp.pods import Pods
from webapp.usage.models import ScoringRecord

URL = "/images/"
PART = {"X-Requested-With": "fetch"}
DIGITS = {"name": "digits", "kind": "image", "title": "Handwritten digits", "sample": True}


def gone(_request):
    raise httpx.ConnectError("refused")


def test_a_stranger_is_sent_to_sign_in(client, db):
    assert client.get(URL)["Location"].startswith("/accounts/login/")


def test_the_page_offers_models_and_sample_pictures(owner_client, scoring: Pods):
    page = owner_client.get(URL)
    assert page.status_code == 200
    assert page.context["model"].name == "resnet152"
    assert [sample["name"].rpartition(".")[2] for sample in page.context["samples"]] == ["jpg"] * len(
        page.context["samples"]
    )
    assert page.context["samples"]
    for sample in page.context["samples"]:
        assert sample["url"] in page.text


def test_a_real_model_is_offered_before_a_sample_and_a_ready_one_before_all(owner_client, scoring):
    scoring.models["gpu"] = [
        DIGITS,
        {"name": "resnet152", "state": "LOADING"},
        {**DIGITS, "name": "vit", "sample": False},
    ]
    models = owner_client.get(URL).context["models"]
    assert [model.name for model in models] == ["vit", "digits", "resnet152"]


def test_the_chosen_model_stays_in_the_address_and_brings_its_own_samples(owner_client, scoring):
    scoring.models["gpu"].append(DIGITS)
    page = owner_client.get(URL, {"model": "digits"})
    assert page.context["model"].name == "digits"
    assert all("samples/digits/" in sample["url"] for sample in page.context["samples"])


def test_a_picture_is_classified_in_the_page_without_a_script(owner_client, scoring):
    page = owner_client.post(URL, {"files": picture()})
    assert page.status_code == 200
    assert "<html" in page.text
    assert "Samoyed" in page.text
    assert "90" in page.text


def test_a_script_gets_a_card_for_each_file(owner_client, scoring):
    part = owner_client.post(URL, {"files": [picture(name="a.png"), picture(name="b.png")]}, headers=PART)
    assert "<html" not in part.text
    assert part.text.count("<article") == 2
    assert part.text.index("a.png") < part.text.index("b.png")


def test_without_a_script_the_picture_comes_back_under_where_its_category_was_seen(owner_client, scoring):
    assert 'name="explain"' in owner_client.get(URL).text
    sent = picture(form="JPEG")
    page = owner_client.post(URL, {"files": sent, "explain": "on"})
    assert f"data:image/png;base64,{b64encode(scoring.heatmap).decode()}" in page.text
    sent.seek(0)
    assert f"data:image/jpeg;base64,{b64encode(sent.read()).decode()}" in page.text
    assert ScoringRecord.objects.count() == 1


def test_a_script_that_asks_why_afterwards_gets_the_heat_alone_and_no_second_line_in_the_history(owner_client, scoring):
    part = owner_client.post(URL, {"files": picture()}, headers=PART)
    assert "data-explain" in part.text
    assert "data-heat" not in part.text
    part = owner_client.post(URL, {"files": picture(), "explain": "on", "again": "on"}, headers=PART)
    assert part.text.count("data:image/") == 1
    assert "Where it saw Samoyed" in part.text
    assert ScoringRecord.objects.count() == 1


def test_a_model_that_cannot_show_why_has_no_button_and_says_so(owner_client, scoring):
    [model] = scoring.models["gpu"]
    model["tensors"] = {"inputs": [], "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1, -1]}]}
    assert 'name="explain"' not in owner_client.get(URL).text
    assert "data-explain" not in owner_client.post(URL, {"files": picture()}, headers=PART).text
    page = owner_client.post(URL, {"files": picture(), "explain": "on"})
    assert page.status_code == 422
    assert "cannot show where it saw something" in page.text


def test_a_bad_file_says_why_in_its_card_and_spoils_no_other(owner_client, scoring):
    bad = SimpleUploadedFile("<i>notes</i>.txt", b"not a picture")
    page = owner_client.post(URL, {"files": [bad, picture()]}, headers=PART)
    assert page.status_code == 200
    assert "is not a picture we can read" in page.text
    assert "<i>notes" not in page.text
    assert "Samoyed" in page.text


@pytest.mark.parametrize("headers", [{}, PART], ids=["page", "part"])
def test_only_bad_files_have_the_status_of_their_problem(owner_client, scoring, headers):
    page = owner_client.post(URL, {"files": SimpleUploadedFile("notes.txt", b"text")}, headers=headers)
    assert page.status_code == 422
    assert "is not a picture we can read" in page.text


@pytest.mark.parametrize("headers", [{}, PART], ids=["page", "part"])
def test_pods_that_die_meanwhile_are_said_in_the_card(owner_client, scoring, headers):
    scoring.answers(httpx.ConnectError("refused"))
    page = owner_client.post(URL, {"files": picture()}, headers=headers)
    assert page.status_code == 503
    assert "Retry-After" in page
    assert "cannot be reached" in page.text
    assert ScoringRecord.objects.get().outcome == "scoring-unavailable"


@pytest.mark.parametrize("method", ["get", "post"])
def test_without_pods_the_page_explains_itself(owner_client, scoring, monkeypatch, method):
    monkeypatch.setattr(scoring, "behave", gone)
    page = getattr(owner_client, method)(URL, {"files": picture()} if method == "post" else {})
    assert page.status_code == 503
    assert "cannot be reached" in page.text


def test_a_form_without_a_file_is_explained(owner_client, scoring):
    page = owner_client.post(URL, {})
    assert page.status_code == 422
    assert "at least one picture" in page.text


def test_an_unknown_model_is_explained(owner_client, scoring):
    page = owner_client.get(URL, {"model": "alexnet"})
    assert page.status_code == 404
    assert "alexnet" in page.text


def test_too_many_pictures_are_refused_in_the_page(owner_client, scoring, settings):
    settings.RATE_LIMITS_PER_USER = {**settings.RATE_LIMITS_PER_USER, "images": 1}
    assert owner_client.post(URL, {"files": picture()}).status_code == 200
    page = owner_client.post(URL, {"files": picture()}, headers=PART)
    assert page.status_code == 429
    assert "used up" in page.text


def test_the_history_names_the_file_and_what_it_shows(owner_client, owner, scoring):
    owner_client.post(URL, {"files": picture()})
    record = ScoringRecord.objects.get(user=owner)
    assert (record.kind, record.source, record.subject, record.key) == ("image", "page", "dog.png", None)
    assert record.answer[0]["label"] == "Samoyed"
