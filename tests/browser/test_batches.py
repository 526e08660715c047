"""Batches in a real browser against real pods: send, look over, start, watch, fetch; with the keyboard, on a phone."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import look_over
from tests.product import ROOT

DONE_WITHIN = 120_000  # ms, on a busy machine
DIGITS = ROOT / "frontend" / "img" / "samples" / "digits"
QUESTIONS = ["how do I copy an object", "what is a closure", "", "how do I wait for a promise"]


@pytest.fixture
def table(tmp_path) -> Path:
    """A table as an office program saves it: semicolons, Windows-1252, and a row without a question."""
    path = tmp_path / "tickets.csv"
    with path.open("w", newline="", encoding="cp1252") as file:
        lines = csv.writer(file, delimiter=";")
        lines.writerow(["Ticket", "Kunde", "Anliegen"])
        lines.writerows([f"T-{number}", "Müller", question] for number, question in enumerate(QUESTIONS))
    return path


def send(page: Page, *files: Path) -> None:
    """Sends the files and waits for the preview."""
    page.goto("/batches/")
    page.get_by_role("link", name="New batch").first.click()
    page.get_by_label("Choose files").set_input_files(files)
    expect(page.get_by_role("heading", name="Look it over, then start")).to_be_visible()


def start(page: Page) -> None:
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("region", name="Progress")).to_be_visible()


def done(page: Page) -> None:
    """Waits, without touching anything, until the page itself says that the batch has ended."""
    expect(page.get_by_role("region", name="Progress")).to_contain_text("Completed", timeout=DONE_WITHIN)


def test_a_table_is_sent_looked_over_started_watched_and_fetched(demo_page: Page, table: Path):
    send(demo_page, table)
    expect(demo_page.get_by_label("Characters")).to_have_value("cp1252")
    expect(demo_page.get_by_label("Cells end at")).to_have_value(";")
    expect(demo_page.get_by_role("radio", name="Anliegen")).to_be_checked()
    demo_page.get_by_label("Answers for each").fill("2")

    # Read otherwise, the rows follow; what was filled in stays.
    demo_page.get_by_label("First row", exact=True).select_option("no")
    expect(demo_page.get_by_role("radio", name="Column 3")).to_be_checked()
    expect(demo_page.get_by_label("Answers for each")).to_have_value("2")
    demo_page.get_by_label("First row", exact=True).select_option("yes")
    demo_page.get_by_role("radio", name="Kunde").check()
    expect(demo_page.get_by_role("cell", name="Müller").first).to_have_class("is-chosen")
    demo_page.get_by_role("radio", name="Anliegen").check()

    start(demo_page)
    done(demo_page)
    results = demo_page.get_by_role("table", name="Results, in the order of the file")
    expect(results.get_by_role("row")).to_have_count(1 + len(QUESTIONS))
    expect(results).to_contain_text("copy of an object")
    with demo_page.expect_download() as download:
        demo_page.get_by_role("link", name="CSV of the results").click()
    assert download.value.suggested_filename == "tickets-results.csv"
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        assert [row["question"] for row in csv.DictReader(file)] == QUESTIONS

    demo_page.get_by_role("link", name=re.compile("^Failed rows 1")).click()
    expect(demo_page.get_by_role("table", name="Rows that failed")).to_contain_text("Line 4 has no question.")
    demo_page.get_by_role("link", name="Overview").click()
    expect(demo_page.get_by_role("img", name=re.compile("How certain the best answers are"))).to_be_visible()

    demo_page.get_by_role("link", name="Excel of the results").click()
    demo_page.get_by_role("link", name="Download").wait_for(timeout=DONE_WITHIN)
    with demo_page.expect_download() as download:
        demo_page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "tickets-results.xlsx"

    demo_page.goto("/batches/")
    expect(
        demo_page.get_by_role("row", name=re.compile("tickets.csv Completed 3 answered, 1 failed")).first
    ).to_be_visible()


def test_pictures_become_a_grid_on_a_phone(demo_page: Page):
    demo_page.set_viewport_size({"width": 360, "height": 740})
    send(demo_page, DIGITS / "3.png", DIGITS / "7.png")
    start(demo_page)
    done(demo_page)
    cards = demo_page.get_by_role("list", name="Results, in the order of the file").get_by_role("listitem")
    expect(cards).to_have_count(2)
    expect(cards.nth(1)).to_contain_text("seven")
    expect(cards.nth(1).locator("img")).to_have_js_property("complete", value=True)
    assert demo_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"


def test_with_the_keyboard_alone_a_batch_is_cancelled_and_the_focus_stays_meanwhile(demo_page: Page, tmp_path: Path):
    many = tmp_path / "many.txt"
    many.write_text("".join(f"how do I copy an object number {number}\n" for number in range(60_000)))
    send(demo_page, many)
    demo_page.get_by_role("button", name="Start").press("Enter")
    cancel = demo_page.get_by_role("link", name="Cancel")
    overview = demo_page.get_by_role("link", name="Overview")
    overview.focus()
    for _ in range(2):
        with demo_page.expect_response(re.compile("/batches/")):
            pass
    expect(overview).to_be_focused()
    cancel.press("Enter")
    dialog = demo_page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel the batch")).to_be_focused()
    demo_page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(cancel).to_be_focused()
    cancel.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel the batch")).to_be_focused()
    demo_page.keyboard.press("Enter")
    expect(demo_page.get_by_role("region", name="Progress")).to_contain_text("Not scored", timeout=DONE_WITHIN)
    expect(demo_page.locator("#batch")).not_to_have_attribute("data-every", re.compile(".*"))


def test_what_cannot_be_sent_is_said_before_it_is_sent(demo_page: Page, table: Path):
    demo_page.goto("/batches/new")
    field = demo_page.get_by_label("Choose files")
    field.set_input_files([table, DIGITS / "3.png"])
    expect(demo_page.get_by_role("alert")).to_contain_text("tickets.csv is no picture")
    table.write_bytes(b"%PDF-1.7")
    field.set_input_files(table)
    expect(demo_page.get_by_role("alert")).to_contain_text("This is a PDF")
    expect(demo_page).to_have_url(re.compile("/batches/new$"))


def test_preview_and_batch_are_accessible(demo_page: Page, table: Path):
    send(demo_page, table)
    look_over(demo_page)
    start(demo_page)
    done(demo_page)
    for tab in ("Results", "Failed rows", "Overview", "Use by API"):
        demo_page.get_by_role("navigation", name="Parts of this batch").get_by_role("link", name=tab).click()
        look_over(demo_page)
