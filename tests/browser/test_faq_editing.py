"""An editor writes, previews and ticks entries, and two of them meet in one."""

import re

from playwright.sync_api import BrowserContext, Page, expect

LIST = "/faq/javascript/entries/"


def test_an_entry_is_written_with_its_preview_beside_it_and_met_by_two_editors(
    admin_page: Page, context: BrowserContext
):
    admin_page.goto(LIST)
    admin_page.get_by_role("link", name="New entry").click()
    admin_page.get_by_label("Question").fill("Is xylophone one word?")
    answer = admin_page.get_by_label("Answer")
    answer.press_sequentially("Yes, **here**.")
    expect(admin_page.locator("#preview strong")).to_have_text("here")
    admin_page.keyboard.press("Enter")  # a line, not the form
    admin_page.get_by_role("button", name="Save").click()
    expect(admin_page.get_by_text("Saved as a draft")).to_be_visible()

    other = context.new_page()
    other.goto(admin_page.url)
    other.get_by_label("Answer").fill("Theirs.")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_text("Saved as a draft")).to_be_visible()
    answer.fill("Mine.")
    admin_page.get_by_role("button", name="Save").click()
    expect(admin_page.get_by_role("alert").filter(has_text="Changed meanwhile")).to_be_visible()
    expect(answer).to_have_value("Mine.")
    expect(admin_page.locator(".differences")).to_contain_text("Theirs")
    admin_page.get_by_role("button", name="Save mine").click()
    expect(admin_page.get_by_text("Saved as a draft")).to_be_visible()

    admin_page.goto(f"{LIST}?q=xylophone")
    tick = admin_page.get_by_role("checkbox", name="Select Is xylophone one word?")
    tick.focus()
    admin_page.keyboard.press("Space")
    expect(admin_page.get_by_role("status").filter(has_text="1 of 1 on this page selected")).to_be_visible()
    admin_page.get_by_role("button", name="Delete").click()
    expect(admin_page.get_by_role("heading", name="Delete 1 entry?")).to_be_visible()
    admin_page.get_by_role("main").get_by_role("button", name="Delete").click()
    expect(admin_page).to_have_url(re.compile(r"/entries/\?q=xylophone"))
    expect(admin_page.get_by_text("Nothing found")).to_be_visible()
