"""Right and wrong, said with the keyboard and with the mouse."""

import re

from playwright.sync_api import Locator, Page, Route, expect


def button(where: Locator, name: str, *, pressed: bool) -> Locator:
    found = where.get_by_role("button", name=name, pressed=pressed)
    expect(found).to_be_visible()
    return found


def test_what_is_said_of_a_match_shows_and_the_focus_stays(demo_page: Page):
    demo_page.goto("/faq/?q=how+do+I+copy+an+object")
    best = demo_page.locator(".match").first
    button(best, "Right", pressed=False).focus()
    demo_page.keyboard.press("Enter")
    expect(button(best, "Right", pressed=True)).to_be_focused()
    expect(demo_page.get_by_role("status").filter(has_text="Noted as right")).to_be_visible()
    demo_page.keyboard.press("Enter")
    expect(button(best, "Right", pressed=False)).to_be_focused()
    expect(demo_page).to_have_url(re.compile(r"/faq/\?q="))


def test_matches_that_came_while_typing_can_be_judged_each_on_its_own(demo_page: Page):
    demo_page.goto("/faq/")
    demo_page.get_by_label("Your question").press_sequentially("how do I copy an object", delay=10)
    # What came for the first letters gives way once more to what comes for the whole question.
    expect(demo_page.locator('[data-question="how do I copy an object"]')).to_be_visible()
    first, second = demo_page.locator(".match").nth(0), demo_page.locator(".match").nth(1)
    second.locator("summary").click()
    button(second, "Wrong", pressed=False).click()
    button(second, "Wrong", pressed=True)
    button(second, "Right", pressed=False).click()
    button(second, "Right", pressed=True)
    button(second, "Wrong", pressed=False)
    button(first, "Right", pressed=False)


def test_a_picture_can_be_judged_when_its_card_is_there(demo_page: Page):
    demo_page.goto("/images/")
    demo_page.locator("input[type=file][multiple]").first.set_input_files("frontend/img/samples/digits/7.png")
    card = demo_page.locator("article.card").first
    button(card, "Wrong", pressed=False).click()
    button(card, "Wrong", pressed=True)


def test_a_press_before_the_behaviour_is_loaded_counts_as_soon_as_it_is(demo_page: Page):
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    demo_page.route("**/modules/feedback*.js", hold)
    demo_page.goto("/faq/?q=how+do+I+copy+an+object", wait_until="commit")
    best = demo_page.locator(".match").first
    button(best, "Right", pressed=False).click()
    button(best, "Right", pressed=False)
    for route in held:
        route.continue_()
    button(best, "Right", pressed=True)
    expect(demo_page).to_have_url(re.compile(r"/faq/\?q="))


def test_a_site_that_cannot_be_reached_is_said_and_nothing_pretended(demo_page: Page):
    demo_page.goto("/faq/?q=how+do+I+copy+an+object")
    best = demo_page.locator(".match").first
    demo_page.route("**/feedback", lambda route: route.abort())
    button(best, "Right", pressed=False).click()
    expect(demo_page.get_by_role("status").filter(has_text="cannot be reached")).to_be_visible()
    button(best, "Right", pressed=False)
