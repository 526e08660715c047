"""An administrator changes which version serves, in a real browser against real pods: register, check, promote, roll
back. It waits for nothing but what the pages show.
"""

import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.test_accessibility import look_over
from tests.product import Product

MODEL = "/admin/models/faq-javascript/"
CHECKED_WITHIN = 180_000  # ms; the evaluation asks the pods for each input twice
SWITCHED_WITHIN = 30_000  # ms
LOOKS_AGAIN_WITHIN = 15_000  # ms; where nothing moves the page looks every ten seconds


@pytest.fixture
def admin_page(context: BrowserContext, product: Product) -> Page:
    return sign_in(context.new_page(), product)


def sign_in(page: Page, product: Product) -> Page:
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill("admin@example.com")
    page.get_by_label("Password", exact=True).fill(product.secrets["ADMIN_PASSWORD"])
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/faq/")
    return page


def test_register_check_promote_and_roll_back(admin_page: Page, product: Product, tmp_path: Path):
    page = admin_page
    champion = version_in_service(page)
    number = register(page, packed(product, champion, tmp_path))
    wait_for_the_check(page, champion)
    promote(page, number, replaces=champion)
    assert version_in_service(page) == number
    roll_back(page, to=champion)
    assert version_in_service(page) == champion
    expect_it_all_in_the_history(page, number)


def test_the_pages_of_models_are_accessible(admin_page: Page):
    page = admin_page
    champion = version_in_service(page)
    paths = ["/admin/models/", MODEL, f"{MODEL}versions/{champion}/", f"{MODEL}upload", f"{MODEL}settings"]
    for path in [*paths, f"{MODEL}evaluation-set", "/admin/models/digits/"]:
        page.goto(path)
        look_over(page)


def test_the_page_keeps_the_focus_while_it_is_refreshed_and_says_when_its_figures_are_old(
    browser: Browser, product: Product
):
    # A browser of its own: htmx complains on the console of answers that do not come, as they do here on purpose.
    context = browser.new_context(base_url=product.url)
    page = sign_in(context.new_page(), product)
    champion = version_in_service(page)
    link = page.locator(f"#lane-{champion}")
    link.focus()
    link.evaluate("link => { link.isOld = true; }")
    # Without the digest of what the page shows, the answer is the whole part.
    page.route("**/live?*", lambda route: route.continue_(url=route.request.url.partition("?")[0]))
    page.wait_for_function(f"() => !document.getElementById('lane-{champion}').isOld")
    expect(link).to_be_focused()
    page.unroute("**/live?*")
    page.route("**/live?*", lambda route: route.abort())
    warning = page.get_by_text("The site does not answer; this is as of")
    expect(warning).to_be_visible(timeout=LOOKS_AGAIN_WITHIN)
    page.unroute("**/live?*")
    expect(warning).to_have_count(0, timeout=LOOKS_AGAIN_WITHIN)
    context.close()


def test_an_upload_tells_how_far_it_is_and_what_is_wrong_with_it(admin_page: Page, tmp_path: Path):
    page = admin_page
    archive = tmp_path / "with a pickle.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("manifest.json", json.dumps({"kind": "faq", "runtime": "faq", "pool": "cpu", "title": "Ours"}))
        packed.writestr("weights.bin", os.urandom(40_000_000))
        packed.writestr("model.pkl", pickle.dumps([1]))
    page.goto(f"{MODEL}upload")
    page.get_by_label("Notes").fill("With a pickle.")
    page.get_by_label("Artifact").set_input_files(archive)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("Loading a pickle can run any code")
    expect(page.get_by_label("Artifact")).to_be_focused()
    expect(page.get_by_label("Notes")).to_have_value("With a pickle.")


def test_without_scripts_everything_is_a_page_of_its_own(browser: Browser, product: Product):
    context = browser.new_context(base_url=product.url, java_script_enabled=False)
    page = sign_in(context.new_page(), product)
    champion = version_in_service(page)
    page.goto(f"{MODEL}roll-back")  # there may be nothing to roll back to: then the model's page says so
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto(f"{MODEL}upload")
    page.get_by_label("Artifact").set_input_files(__file__)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("It is not a zip file")).to_be_visible()
    page.goto(MODEL)
    page.get_by_label("What happened").select_option("Found in the store")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("region", name="History")).to_contain_text(f"version {champion}")
    page.get_by_label("Date and time, UTC").fill("2020-01-01T00:00:00")
    page.get_by_role("button", name="Look it up").click()
    expect(page.get_by_text("history begins later")).to_be_visible()
    context.close()


def packed(product: Product, version: str, folder: Path) -> Path:
    """A zip of what the store holds of that version, as somebody brings it along."""
    source = product.var / "models" / "faq-javascript" / version
    archive = folder / "faq-javascript.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in source.rglob("*"):
            packed.write(path, path.relative_to(source))
    return archive


def in_service(page: Page) -> Locator:
    """The table of what serves."""
    return page.get_by_role("table", name="Versions in service")


def version_in_service(page: Page) -> str:
    page.goto(MODEL)
    row = in_service(page).get_by_role("row").filter(has_text="Champion")
    return row.get_by_role("link", name=re.compile(r"^Version \d+$")).inner_text().removeprefix("Version ")


def register(page: Page, archive: Path) -> str:
    """Uploads the zip; the new version's name."""
    page.get_by_role("link", name="Upload a version").click()
    page.get_by_label("Notes").fill("The same again, to see it change.")
    page.get_by_label("Artifact").set_input_files(archive)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile(r"/versions/\d+/$"))
    expect(page.get_by_text("is registered, and its check has started")).to_be_visible()
    return page.get_by_role("heading", level=1).inner_text().removeprefix("Version ")


def wait_for_the_check(page: Page, champion: str) -> None:
    """The page tells how far it is, and of itself shows the report when it is done."""
    expect(page.get_by_role("heading", name="Check passed")).to_be_visible(timeout=CHECKED_WITHIN)
    expect(page.get_by_role("heading", name=f"Beside version {champion}")).to_be_visible()
    expect(page.get_by_role("region", name="History of this version")).to_contain_text("Check passed")
    expect(page.get_by_role("row", name=re.compile("^Accuracy@1"))).to_contain_text("±0.0 points")
    expect(page.get_by_role("img", name=re.compile("^Reliability"))).to_be_visible()


def promote(page: Page, number: str, *, replaces: str) -> None:
    page.get_by_role("link", name="Promote").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text(f"Promote version {number} of JavaScript FAQ (sample)?")
    expect(dialog).to_contain_text(f"Version {replaces} stays loaded as the standby")
    dialog.get_by_label("Reason").fill("To see that it works.")
    dialog.get_by_role("button", name=f"Promote version {number}").click()
    page.wait_for_url(f"**{MODEL}")
    expect(page.get_by_role("heading", name=f"Version {number} is in service")).to_be_visible(timeout=SWITCHED_WITHIN)
    expect(in_service(page).get_by_role("row").filter(has_text="Standby")).to_contain_text(f"Version {replaces}")
    newest = page.get_by_role("region", name="History").get_by_role("listitem").first
    expect(newest).to_contain_text(f"All pods switched version {number}")


def roll_back(page: Page, *, to: str) -> None:
    page.get_by_role("link", name="Roll back").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Version {to} answers all requests again.")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("link", name="Roll back")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name=f"Roll back to version {to}").click()
    expect(page.get_by_role("heading", name=f"Rolled back to version {to}")).to_be_visible(timeout=SWITCHED_WITHIN)


def expect_it_all_in_the_history(page: Page, number: str) -> None:
    history = page.get_by_role("region", name="History")
    history.get_by_label("Version").select_option(number)
    expect(history.get_by_role("listitem").first).to_contain_text("All pods switched")
    for event in ("Registered", "Check started", "Check passed", "Promotion started", "Promoted", "All pods switched"):
        expect(history.get_by_role("listitem").filter(has_text=event).first).to_contain_text(f"version {number}")
    expect(history).to_contain_text("To see that it works.")
    expect(page).to_have_url(re.compile(f"version={number}"))
