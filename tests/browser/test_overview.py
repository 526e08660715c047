"""The pages that keep themselves up to date: nothing is lost while they do, and what changes is told."""

from playwright.sync_api import Page, expect


def test_the_start_page_keeps_the_focus_while_it_renews_itself(admin_page: Page):
    admin_page.goto("/admin/")
    link = admin_page.locator("#overview").get_by_role("link", name="Handwritten digits (sample)").first
    link.focus()
    for _ in range(2):
        with admin_page.expect_response("**/admin/"):
            pass
    expect(link).to_be_focused()


def test_figures_opened_on_the_status_page_stay_open(demo_page: Page):
    demo_page.goto("/faq/?q=how+do+I+copy+an+object")  # a first request
    demo_page.goto("/status")
    figures = demo_page.get_by_text("Figures of Latency").first
    figures.click()
    with demo_page.expect_response("**/status"):
        pass
    expect(demo_page.get_by_role("region", name="Figures of Latency").first).to_be_visible()


def test_the_admin_is_reached_and_left_by_the_account_menu(admin_page: Page):
    admin_page.goto("/faq/")
    admin_page.get_by_role("button", name="Account of admin@example.com").click()
    admin_page.locator("#account-menu").get_by_role("link", name="Administration").click()
    expect(admin_page.get_by_role("heading", name="Overview")).to_be_visible()
    admin_page.get_by_role("button", name="Account of admin@example.com").click()
    admin_page.locator("#account-menu").get_by_role("link", name="To the site").click()
    admin_page.wait_for_url("**/faq/")


def test_the_theme_chosen_on_the_site_holds_in_djangos_own_lists(admin_page: Page):
    admin_page.goto("/admin/")
    admin_page.get_by_text("Dark", exact=True).click()
    admin_page.goto("/admin/accounts/user/")
    expect(admin_page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(admin_page.get_by_role("radio", name="Dark")).to_be_checked()
