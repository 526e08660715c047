"""axe-core finds nothing serious on any page, light or dark, wide or narrow; no page scrolls sideways on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

API_PAGES = ["/api/docs", "/api/docs/calls", "/api/docs/errors", "/api/docs/reference"]
OPEN_PAGES = [
    "/",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/privacy/",
    *API_PAGES,
    "/no-such-page",
]
OWN_PAGES = [
    "/faq/",
    "/faq/?q=how+do+I+copy+an+object",
    "/faq/?q=best+pasta+recipe+for+tonight",
    "/faq/?q=%3F%3F%3F",
    "/images/",
    "/batches/",
    "/batches/new",
    "/keys/",
    "/webhooks/",
    "/history/",
    "/history/?kind=image",
    "/history/delete",
    "/account/",
    "/account/delete",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/logout/",
    "/status",
]
ADMIN_PAGES = [
    "/admin/",
    "/admin/accounts/user/",
    "/admin/keys/apikey/",
    "/admin/faq/entry/",
    "/faq/javascript/entries/",
    "/faq/javascript/report/",
    "/faq/javascript/kept/",
    "/faq/javascript/history/",
    "/faq/javascript/publish/",
    "/faq/javascript/threshold/?t=80",
    "/account/second-factor",
]
VIEWS = {"light, wide": ("light", 1280), "dark, narrow": ("dark", 360)}


def findings(page: Page) -> list[str]:
    """What axe calls serious or critical, one line each."""
    # The page settles first: a colour in the middle of its transition is nobody's final contrast.
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_load_state("networkidle")
    page.evaluate("Promise.allSettled(document.getAnimations().map(each => each.finished)).then(() => null)")
    violations = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes'][:3]]}"
        for each in violations
        if each["impact"] in {"serious", "critical"}
    ]


def look_over(page: Page) -> None:
    """What the page shows at the moment, in every view."""
    for view, (scheme, width) in VIEWS.items():
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # at once, so that no colour fades over
        page.set_viewport_size({"width": width, "height": 900})
        assert findings(page) == [], f"{page.url}, {view}"
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"{page.url} scrolls sideways, {view}"
        )


@pytest.mark.parametrize("path", OPEN_PAGES)
def test_a_page_open_to_all_is_accessible(page: Page, path: str):
    page.goto(path)
    look_over(page)


@pytest.mark.parametrize("path", OWN_PAGES)
def test_a_page_after_sign_in_is_accessible(demo_page: Page, path: str):
    demo_page.goto(path)
    look_over(demo_page)


def test_results_of_pictures_are_accessible(demo_page: Page):
    demo_page.goto("/images/")
    files = ["frontend/img/samples/digits/3.png", "README.md"]
    demo_page.locator("input[type=file][multiple]").first.set_input_files(files)
    demo_page.locator("article.card .predictions, article.card-failed").nth(1).wait_for()
    look_over(demo_page)


def test_the_dialog_and_the_new_key_are_accessible(demo_page: Page):
    demo_page.goto("/keys/")
    demo_page.get_by_role("button", name="Create a key").first.click()
    dialog = demo_page.get_by_role("dialog")
    look_over(demo_page)
    dialog.get_by_label("Name").fill("axe")
    dialog.get_by_role("button", name="Create the key").click()
    demo_page.locator(".new-key").wait_for()
    look_over(demo_page)


@pytest.mark.parametrize("path", ADMIN_PAGES)
def test_a_page_of_the_admin_is_accessible(admin_page: Page, path: str):
    admin_page.goto(path)
    look_over(admin_page)
