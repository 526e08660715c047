"""The page of API keys: a key's whole life, without its secret being shown twice."""

import re

import httpx2 as httpx
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_accessibility import findings
from tests.product import Product

NEW_KEY = ".new-key .code code"


def status_of(product: Product, secret: str) -> int:
    return httpx.get(f"{product.url}/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code


def open_list(page: Page) -> None:
    """The page, once its scripts are there: before, its links lead to pages in place of dialogs."""
    page.goto("/keys/", wait_until="networkidle")


def create(page: Page, name: str, networks: str = "") -> str:
    """Makes a key in the dialog, and returns it as it is shown."""
    open_list(page)
    page.get_by_role("button", name="Create a key").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("Allowed networks").fill(networks)
    dialog.get_by_role("button", name="Create the key").click()
    return page.locator(NEW_KEY).first.inner_text()


def test_a_key_is_rotated_in_a_dialog_and_its_old_secret_ended(demo_page: Page, product: Product):
    old = create(demo_page, "Rotated in a browser")
    open_list(demo_page)
    demo_page.get_by_role("link", name="Rotate Rotated in a browser").click()
    dialog = demo_page.get_by_role("dialog", name="Give “Rotated in a browser” a new secret?")
    expect(dialog.get_by_text("works on for the time you choose")).to_be_visible()
    assert findings(demo_page) == []
    dialog.get_by_role("button", name="Make the new secret").click()
    new = demo_page.locator(NEW_KEY).first.inner_text()
    assert new != old
    assert [status_of(product, secret) for secret in (old, new)] == [200, 200]
    assert findings(demo_page) == []  # it also waits for the scripts

    demo_page.get_by_role("link", name="End it now for Rotated in a browser").click()
    demo_page.get_by_role("dialog").get_by_role("button", name="End it now").click()
    expect(demo_page.get_by_text("Only the newest secret of “Rotated in a browser” works")).to_be_visible()
    assert [status_of(product, secret) for secret in (old, new)] == [401, 200]
    assert new not in demo_page.content()


def test_a_key_limited_to_a_network_opens_nothing_from_here_until_it_is_changed(demo_page: Page, product: Product):
    secret = create(demo_page, "From elsewhere", "203.0.113.0/24")
    assert status_of(product, secret) == 401
    open_list(demo_page)
    row = demo_page.get_by_role("row").filter(has_text="From elsewhere")
    expect(row.get_by_text(re.compile("Refused .* from 127.0.0.1"))).to_be_visible()
    row.get_by_role("link", name="Edit From elsewhere").click()
    demo_page.get_by_role("dialog").get_by_label("Allowed networks").fill("127.0.0.0/8")
    demo_page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(row.get_by_text("from 127.0.0.0/8")).to_be_visible()
    assert status_of(product, secret) == 200


def test_without_scripts_a_key_is_made_rotated_and_revoked(
    browser: Browser, demo_state: dict[str, object], product: Product
):
    context = browser.new_context(base_url=product.url, storage_state=demo_state, java_script_enabled=False)
    page = context.new_page()
    page.goto("/keys/")
    page.get_by_label("Name").fill("Without scripts")
    page.get_by_role("button", name="Create the key").click()
    first = page.locator(NEW_KEY).first.inner_text()
    page.get_by_role("link", name="Rotate Without scripts").click()
    page.get_by_label("The old secret works for").select_option("Ends at once")
    page.get_by_role("button", name="Make the new secret").click()
    second = page.locator(NEW_KEY).first.inner_text()
    assert [status_of(product, secret) for secret in (first, second)] == [401, 200]
    page.get_by_role("link", name="Revoke Without scripts").click()
    page.get_by_role("button", name="Revoke the key").click()
    assert status_of(product, second) == 401
    context.close()
