"""From a question without an answer to a phrasing: asked, marked, reviewed by keyboard, accepted."""

import re

from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import look_over

QUEUE = "/faq/javascript/review/"
QUESTION = "zebra crossing paint thickness"


def test_a_question_is_asked_marked_reviewed_and_accepted_by_keyboard(admin_page: Page):
    admin_page.goto(f"/faq/javascript/?q={QUESTION.replace(' ', '+')}")
    expect(admin_page.locator(f'[data-question="{QUESTION}"]')).to_be_visible()
    none = admin_page.get_by_role("button", name="None of these")
    none.click()
    expect(admin_page.get_by_role("button", name="None of these", pressed=True)).to_be_visible()

    group = admin_page.locator(".review-item", has_text=QUESTION).filter(has_text="Called wrong")
    admin_page.goto(QUEUE)
    for _ in range(20):  # the process that was asked writes a moment later, and it may be another one
        if group.count():
            break
        admin_page.wait_for_timeout(300)
        admin_page.reload()
    expect(group).to_be_visible()
    look_over(admin_page)
    for _ in range(100):  # until the page listens to keys, and then to the group
        admin_page.keyboard.press("j")
        if group.evaluate("item => item === document.activeElement"):
            break
        admin_page.wait_for_timeout(50)
    expect(group).to_be_focused()

    open_groups = admin_page.get_by_role("navigation", name="State").get_by_role("link", name=re.compile("^Open"))
    count = int(re.sub(r"\D", "", open_groups.inner_text()))
    admin_page.keyboard.press("d")
    expect(group).to_have_count(0)
    expect(open_groups).to_have_text(f"Open {count - 1}")
    expect(admin_page.get_by_role("status").filter(has_text="Dismissed")).to_be_visible()

    admin_page.keyboard.press("u")
    expect(group).to_be_focused()
    expect(open_groups).to_have_text(f"Open {count}")
    admin_page.keyboard.press("o")
    admin_page.get_by_label("Words of the entry that answers it").fill("closure")
    admin_page.keyboard.press("Enter")
    expect(admin_page.get_by_text("Found", exact=True)).to_be_visible()
    entry = admin_page.locator(".review-choice .review-entry").first.locator("[lang]").inner_text()
    admin_page.get_by_role("button", name="Accept").click()
    expect(admin_page.get_by_text("Accepted: 1 new phrasing")).to_be_visible()

    admin_page.goto(f"{QUEUE}?state=accepted")
    group.get_by_role("link", name=entry).click()
    expect(admin_page.get_by_label("Other ways to ask")).to_have_value(re.compile(QUESTION))
