"""The console of the API's reference: real requests, by the session or a pasted key, from the keyboard too."""

import json
import subprocess

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.product import Product
from tests.system.site_client import make_key


def opened(page: Page, operation: str) -> Locator:
    """The console of the operation with that id, opened with the keyboard."""
    page.goto(f"/api/docs/reference#{operation}")
    console = page.locator(f"#{operation} .console")
    console.locator("summary").focus()
    page.keyboard.press("Enter")
    return console


def answer_of(console: Locator, status: str) -> str:
    """The body of the answer that comes with that status."""
    expect(console.get_by_role("status")).to_contain_text(status)
    return console.locator("[data-body]").inner_text()


def test_the_example_is_sent_with_the_session_and_answered(demo_page: Page):
    console = opened(demo_page, "faq_match")
    console.get_by_role("button", name="Send POST").press("Enter")
    body = json.loads(answer_of(console, "200 OK in "))
    assert body["matches"][0]["probability"] > 0
    expect(console.locator("[data-headers]")).to_contain_text("X-Request-ID")


def test_a_body_that_is_no_json_is_not_sent(demo_page: Page):
    console = opened(demo_page, "faq_match")
    field = console.get_by_label("Body")
    field.fill('{"question": ')
    console.get_by_role("button", name="Send POST").click()
    expect(console.get_by_role("alert")).to_contain_text("This is no JSON")
    expect(field).to_be_focused()
    expect(console.locator("[data-answer]")).to_be_hidden()


def test_a_problem_is_an_answer_too(demo_page: Page):
    console = opened(demo_page, "faq_match")
    console.get_by_label("Body").fill('{"question": ""}')
    console.get_by_role("button", name="Send POST").click()
    assert json.loads(answer_of(console, "422"))["type"] == "/problems/invalid-input"


def test_a_file_is_sent_in_a_form(demo_page: Page):
    console = opened(demo_page, "images_classify")
    console.get_by_label("files").set_input_files("frontend/img/samples/digits/7.png")
    console.get_by_role("button", name="Send POST").click()
    assert json.loads(answer_of(console, "200"))["results"][0]["predictions"][0]["label"] == "seven"
    expect(console.locator("[data-curl]")).to_contain_text("""-F 'files=@"7.png"'""")


def test_a_stranger_uses_a_key_that_no_command_and_no_storage_ever_holds(page: Page, product: Product):
    key = make_key(product, "console", "faq:read")
    console = opened(page, "me")
    console.get_by_label("API key").fill(key)
    console.get_by_role("button", name="Send GET").click()
    assert json.loads(answer_of(console, "200"))["scopes"] == ["faq:read"]
    command = console.locator("[data-curl]").inner_text()
    assert key not in command
    printed = subprocess.run(["bash", "-c", command], env={"SCOREPOD_KEY": key}, capture_output=True, check=True).stdout
    assert json.loads(printed)["scopes"] == ["faq:read"]
    assert key not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, history.state])")
    other = page.locator("#faq_match .console")
    other.locator("summary").click()
    expect(other.get_by_label("API key")).to_have_value(key)
    page.reload()
    expect(console.locator("[data-key]")).to_have_value("")


@pytest.mark.parametrize(("press", "status"), [("Keep it", ""), ("Delete", "404")])
def test_a_delete_is_asked_about_first(demo_page: Page, press: str, status: str):
    console = opened(demo_page, "delete_webhook")
    console.get_by_role("button", name="Send DELETE").click()
    dialog = demo_page.get_by_role("dialog", name="Send this DELETE?")
    expect(dialog).to_contain_text("/api/v1/webhooks/")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    dialog.get_by_role("button", name=press).click()
    expect(dialog).to_be_hidden()
    expect(console.get_by_role("status")).to_contain_text(status)
    expect(console.locator("[data-answer]")).to_be_visible(visible=bool(status))
