"""An editor uploads a file of entries, looks over what it would change, mends how it is read, and imports it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import look_over

IMPORTS = "/faq/javascript/imports/"
DONE_WITHIN = 60_000  # ms, on a busy machine


@pytest.fixture
def unchanged(admin_page: Page) -> Iterator[None]:
    """Deletes what was imported: other tests count the entries."""
    yield
    for name in ("kiwi", "lime"):
        admin_page.goto(f"/faq/javascript/entries/?q={name}")
        tick = admin_page.get_by_role("checkbox", name=re.compile(f"Select Is a {name}"))
        if tick.count():
            tick.check()
            admin_page.get_by_role("button", name="Delete").click()
            admin_page.get_by_role("main").get_by_role("button", name="Delete").click()
            expect(admin_page.get_by_text("1 entry deleted")).to_be_visible()


@pytest.fixture
def table(tmp_path) -> Path:
    """As an office program saves it: semicolons, Windows-1252; one line changes an entry, one lacks its answer."""
    path = tmp_path / "fragen.csv"
    lines = [
        "Nr;Frage;Antwort",
        "kiwi;Is a kiwi a bird?;Größer als ein Spatz.",
        "js-001;;",
        "lime;Is a lime green?;Yes.",
    ]
    path.write_text("\r\n".join(lines) + "\r\n", encoding="cp1252")
    return path


@pytest.mark.usefixtures("unchanged")
def test_a_file_is_uploaded_looked_over_and_imported(admin_page: Page, table: Path):
    admin_page.goto("/faq/javascript/entries/")
    admin_page.get_by_role("link", name="Import and export").click()
    admin_page.get_by_label("Choose a file").set_input_files(table)
    lines = admin_page.get_by_role("table", name="Lines of the file")
    expect(lines).to_contain_text("Line 3, question: Write the question.", timeout=DONE_WITHIN)
    expect(admin_page.locator(".meta").first).to_contain_text("Windows-1252")
    look_over(admin_page)

    admin_page.get_by_role("link", name=re.compile("^New 2")).click()
    expect(lines).to_contain_text("Größer als ein Spatz.")
    admin_page.get_by_text("How it is read").click()
    admin_page.get_by_label("Who sees new entries").select_option("draft")
    admin_page.get_by_role("button", name="Look it over again").click()
    expect(lines).to_be_visible(timeout=DONE_WITHIN)
    expect(admin_page.get_by_label(re.compile("All or nothing"))).to_be_disabled()
    admin_page.get_by_label(re.compile("Good rows only")).check()
    admin_page.get_by_role("button", name="Import 2 entries").click()
    done = admin_page.get_by_role("status").filter(has_text="2 new and 0 changed entries imported")
    expect(done).to_be_visible(timeout=DONE_WITHIN)

    done.get_by_role("link", name="What it changed").click()
    expect(admin_page.get_by_role("table")).to_contain_text("Is a kiwi a bird?")
    admin_page.goto("/faq/javascript/entries/?q=kiwi")
    expect(admin_page.get_by_role("table")).to_contain_text("Draft")
    admin_page.goto(IMPORTS)
    with admin_page.expect_download() as download:
        admin_page.get_by_role("link", name="CSV", exact=True).click()
    assert "Größer als ein Spatz." in download.value.path().read_text(encoding="utf-8-sig")


def test_what_cannot_be_imported_is_said_at_the_upload(admin_page: Page, tmp_path: Path):
    admin_page.goto(IMPORTS)
    file = tmp_path / "faq.pdf"
    file.write_bytes(b"%PDF-1.7")
    admin_page.get_by_label("Choose a file").set_input_files(file)
    expect(admin_page.get_by_role("alert")).to_contain_text("This is a PDF")


def test_the_page_works_on_a_phone(admin_page: Page, table: Path):
    admin_page.set_viewport_size({"width": 360, "height": 740})
    admin_page.goto(IMPORTS)
    admin_page.get_by_label("Choose a file").set_input_files(table)
    expect(admin_page.get_by_role("table", name="Lines of the file")).to_be_visible(timeout=DONE_WITHIN)
    assert admin_page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
    admin_page.get_by_role("button", name="Discard").click()
    expect(admin_page.get_by_text("is discarded; nothing of it was imported")).to_be_visible()
