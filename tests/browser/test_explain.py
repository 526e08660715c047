"""Why a picture was called what it was: by button, from the keyboard, and without scripts."""

from playwright.sync_api import Browser, Page, expect

from tests.product import Product

SEVEN = "frontend/img/samples/digits/7.png"


def test_show_why_lays_heat_over_the_picture_and_takes_it_away(demo_page: Page):
    demo_page.goto("/images/")
    demo_page.locator("input[type=file][multiple]").first.set_input_files(SEVEN)
    card = demo_page.locator("article.card").first
    why = card.get_by_role("button", name="Show why")
    why.focus()
    demo_page.keyboard.press("Enter")
    heat = card.get_by_role("img", name="Where it saw seven")
    expect(heat).to_be_visible()
    expect(why).to_have_attribute("aria-pressed", "true")
    expect(why).to_be_focused()
    assert heat.evaluate("image => image.complete && image.naturalWidth") == 320
    over = card.locator("[data-picture] img").first
    assert heat.bounding_box() == over.bounding_box()
    strength = card.get_by_label("Strength of the colours")
    strength.focus()
    demo_page.keyboard.press("Home")
    expect(heat).to_have_css("opacity", "0.1")
    why.press("Enter")
    expect(heat).to_be_hidden()
    expect(strength).to_be_hidden()
    expect(why).to_have_attribute("aria-pressed", "false")
    why.press("Enter")
    expect(heat).to_be_visible()


def test_without_scripts_a_box_asks_for_it(browser: Browser, product: Product, demo_state: dict[str, list]):
    context = browser.new_context(base_url=product.url, java_script_enabled=False, storage_state=demo_state)
    page = context.new_page()
    page.goto("/images/?model=digits")
    page.get_by_role("button", name="Pictures", exact=True).set_input_files(SEVEN)
    page.get_by_label("Show why").check()
    page.get_by_role("button", name="Classify").click()
    card = page.locator("article.card")
    expect(card.get_by_role("heading")).to_contain_text("seven")
    expect(card.get_by_role("img", name="Where it saw seven")).to_be_visible()
    assert card.locator("[data-picture] img").count() == 2
    context.close()
