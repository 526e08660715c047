"""An editor imports a list, publishes it and asks; what is not found well is reviewed, published, and found better."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

WITHIN = 60_000  # milliseconds, for a training on a busy machine
QUESTION = "where do I hand back the keys of my flat"
ANSWERED_BY = "Moving out: what happens?"
ENTRIES = """question,answer
Moving out: what happens?,Tell us a month before and bring everything you got from us.
What does the laundry cost?,Two coins a load.
Who repairs the heating?,Call the caretaker; at night the number at the door.
"""


def test_import_publish_ask_feedback_review_publish_better(admin_page: Page, tmp_path: Path):
    admin_page.goto("/admin/faq/collection/add/")
    admin_page.get_by_label("Name").press_sequentially("Tenants")
    expect(admin_page.get_by_label("Slug")).to_have_value("tenants")
    admin_page.get_by_role("button", name="Save", exact=True).click()
    import_entries(admin_page, tmp_path / "entries.csv")
    publish(admin_page)
    before = asked(admin_page)
    admin_page.get_by_role("button", name="None of these").click()
    expect(admin_page.get_by_role("button", name="None of these", pressed=True)).to_be_visible()

    review(admin_page)
    admin_page.goto("/faq/tenants/publish/")
    expect(admin_page.get_by_role("heading", name="1 entry to publish")).to_be_visible()
    publish(admin_page)
    assert asked(admin_page) > before
    expect(admin_page.locator("#results h3").first).to_have_text(ANSWERED_BY)
    expect(admin_page.locator("#results .match-why mark").first).to_be_visible()

    admin_page.goto("/faq/tenants/threshold/")
    slider = admin_page.get_by_label("Threshold in percent")
    slider.focus()
    admin_page.keyboard.press("End")
    admin_page.get_by_role("button", name=re.compile("Use 98")).click()
    expect(admin_page.get_by_text("Saved. It counts from the next question on")).to_be_visible()


def import_entries(page: Page, table: Path) -> None:
    table.write_text(ENTRIES)
    page.goto("/faq/tenants/imports/")
    page.get_by_label("Choose a file").set_input_files(table)
    expect(page.get_by_role("table", name="Lines of the file")).to_be_visible(timeout=WITHIN)
    page.get_by_role("button", name="Import 3 entries").click()
    expect(page.get_by_role("status").filter(has_text="3 new and 0 changed entries")).to_be_visible(timeout=WITHIN)


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
    page.get_by_role("searchbox").press("Enter")
    page.wait_for_url("**/?q=*")
    first = page.locator("#results .probability-figure").first
    first.wait_for(state="attached")
    return float(re.sub(r"[^\d.]", "", first.text_content() or ""))


def review(page: Page) -> None:
    """Accepts the question, which waits in the queue, as a phrasing of the entry that answers it."""
    page.goto("/faq/tenants/review/")
    group = page.locator(".review-item", has_text=QUESTION).filter(has_text="Called wrong")
    for _ in range(20):  # the process that was asked writes a moment later, and it may be another one
        if group.count():
            break
        page.wait_for_timeout(300)
        page.reload()
    group.get_by_role("link", name="Other entry").click()
    page.get_by_label("Words of the entry that answers it").fill("moving")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Found", exact=True)).to_be_visible()
    page.get_by_label(ANSWERED_BY).check()
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_text("Accepted: 1 new phrasing")).to_be_visible()
