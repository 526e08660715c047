"""What one asked shows on the usage page: by choosing, in the charts' figures, and in the file."""

import re

from playwright.sync_api import Page, expect

from tests.worker import wait_until


def asked(page: Page) -> int:
    page.goto("/usage/?days=7")
    figure = page.locator("dl.figures div").filter(has_text="Requests").locator("dd").inner_text()
    return int(figure.replace(",", ""))


def test_a_question_is_counted_shown_and_saved(demo_page: Page):
    before = asked(demo_page)
    demo_page.goto("/faq/?q=how+do+I+copy+an+object")
    wait_until(lambda: asked(demo_page) > before)  # a second behind
    demo_page.get_by_label("Model").select_option("faq-javascript")
    expect(demo_page).to_have_url(re.compile(r"model=faq-javascript"))
    demo_page.get_by_role("navigation", name="Grouped by").get_by_role("link", name="Version").click()
    expect(demo_page.locator("table.table tbody tr").first).to_contain_text("faq-javascript")
    demo_page.get_by_text("Figures of Asked by day").click()
    expect(demo_page.get_by_role("region", name="Figures of Asked by day").get_by_role("row")).to_have_count(8)
    with demo_page.expect_download() as saving:
        demo_page.get_by_role("link", name="Save as CSV").click()
    saved = saving.value.path().read_text()
    assert saved.startswith("day,key,source,model,version,requests,rows,errors,p50_ms,p95_ms")
    assert "faq-javascript" in saved


def test_on_a_phone_nothing_is_wider_than_the_screen(demo_page: Page):
    demo_page.set_viewport_size({"width": 360, "height": 740})
    demo_page.goto("/usage/?by=version")
    assert demo_page.evaluate("document.documentElement.scrollWidth <= innerWidth")
