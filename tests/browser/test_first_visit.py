"""What a new person does in the first five minutes, in a real browser against real pods."""

import json
import re
import subprocess

from playwright.sync_api import Page, expect

PASSWORD = "correct horse battery staple 42"
DIGITS = "frontend/img/samples/digits"


def test_sign_up_ask_classify_make_a_key_and_call_the_api_with_it(page: Page):
    sign_up(page, "newcomer@example.com")
    ask(page, "how do I copy an object without changing the original")
    classify(page, f"{DIGITS}/7.png", label="seven")
    make_a_key_and_run_the_call_it_shows(page)
    expect_both_requests_in_the_history(page)


def sign_up(page: Page, email: str) -> None:
    page.goto("/")
    page.get_by_role("link", name=re.compile("sign up|create an account", re.IGNORECASE)).first.click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    again = page.get_by_label(re.compile("Password \\(again\\)"))
    if again.count():
        again.fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name=re.compile("sign up|create", re.IGNORECASE)).click()
    page.wait_for_url("**/faq/")


def ask(page: Page, question: str) -> None:
    page.goto("/faq/")
    page.get_by_label("Your question").press_sequentially(question, delay=10)
    best = page.locator(".matches > .match").first
    expect(best.get_by_role("heading")).to_contain_text("copy of an object")
    expect(best.locator(".prose")).to_contain_text("structuredClone")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/faq/\?q=how"))


def classify(page: Page, file: str, *, label: str) -> None:
    page.goto("/images/")
    page.locator("input[type=file][multiple]").first.set_input_files(file)
    card = page.locator("article.card").first
    expect(card.get_by_role("heading")).to_contain_text(label)
    expect(card.locator(".predictions li")).to_have_count(5)


def make_a_key_and_run_the_call_it_shows(page: Page) -> None:
    page.goto("/keys/")
    page.get_by_role("button", name="Create a key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("laptop")
    dialog.get_by_role("button", name="Create the key").click()
    shown = page.locator(".new-key")
    expect(shown).to_contain_text("sp_")
    command = shown.locator("pre", has_text="curl").first.inner_text()
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(answer)["matches"][0]["probability"] > 0
    page.reload()
    secret = re.search(r"sp_\w+_[\w-]+", command).group()
    assert secret not in page.content(), "the secret is shown once"


def expect_both_requests_in_the_history(page: Page) -> None:
    page.goto("/history/")
    expect(page.get_by_role("main")).to_contain_text("how do I copy an object without changing the original")
    expect(page.get_by_role("main")).to_contain_text("7.png")
    typed = page.get_by_text(re.compile("^how do I copy an object")).count()
    assert typed == 1, "a question typed letter by letter is one line of history"
