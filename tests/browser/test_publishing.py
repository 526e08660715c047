"""An editor writes an entry, publishes it, asks, adds how people ask it, publishes again, and it is found better."""

import re

from playwright.sync_api import Page, expect

WITHIN = 60_000  # milliseconds, for a training on a busy machine
QUESTION = "where do I hand back the keys of my flat"


def test_edit_publish_ask_better(admin_page: Page):
    admin_page.goto("/admin/faq/collection/add/")
    admin_page.get_by_label("Name").press_sequentially("Tenants")
    expect(admin_page.get_by_label("Slug")).to_have_value("tenants")
    admin_page.get_by_role("button", name="Save", exact=True).click()
    write(admin_page, "Moving out: what happens?", "Tell us a month before.")
    write(admin_page, "What does the laundry cost?", "Two coins a load.")

    publish(admin_page)
    before = asked(admin_page)

    admin_page.goto("/faq/tenants/entries/?q=moving")
    admin_page.get_by_role("link", name="Moving out").click()
    admin_page.get_by_label("Other ways to ask").fill("handing back keys\nreturn the keys of a flat")
    admin_page.get_by_role("button", name="Save").click()
    admin_page.get_by_role("link", name="Entries").click()
    admin_page.get_by_role("link", name="Publish", exact=True).click()
    expect(admin_page.get_by_role("heading", name="1 entry to publish")).to_be_visible()
    publish(admin_page)
    assert asked(admin_page) > before
    expect(admin_page.locator("#results h3").first).to_have_text("Moving out: what happens?")
    expect(admin_page.locator("#results .match-why mark").first).to_be_visible()

    admin_page.goto("/faq/tenants/threshold/")
    slider = admin_page.get_by_label("Threshold in percent")
    slider.focus()
    admin_page.keyboard.press("End")
    admin_page.get_by_role("button", name=re.compile("Use 98")).click()
    expect(admin_page.get_by_text("Saved. It counts from the next question on")).to_be_visible()


def write(page: Page, question: str, answer: str) -> None:
    page.goto("/faq/tenants/entries/new/")
    page.get_by_label("Question").fill(question)
    page.get_by_label("Answer").fill(answer)
    page.get_by_label("Who sees it").select_option("live")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()


def publish(page: Page) -> None:
    """Presses the button and watches the page until it is done, without loading it again."""
    page.goto("/faq/tenants/publish/")
    page.get_by_role("main").get_by_role("button", name="Publish").click()
    expect(page.get_by_role("heading", name="Publishing")).to_be_visible()
    expect(page.get_by_role("heading", name="Everything is published")).to_be_visible(timeout=WITHIN)


def asked(page: Page) -> float:
    """Asks the question as a visitor does; how probable the first match is, in percent."""
    page.goto("/faq/tenants/")
    page.get_by_role("searchbox").fill(QUESTION)
    first = page.locator("#results .probability-figure").first
    first.wait_for(state="attached")
    return float(re.sub(r"[^\d.]", "", first.text_content() or ""))
