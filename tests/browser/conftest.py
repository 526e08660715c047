"""A real Chromium against the whole product."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.product import Product
from tests.sharing import the_product

# Chromium of Debian, without the connections it would make by itself.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with the_product(tmp_path_factory) as product:
        yield product


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Ends with the last test of this folder: while it runs, playwright keeps an event loop of its own running."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, product: Product) -> Iterator[BrowserContext]:
    """A browser without cookies. What the page's console calls an error fails the test."""
    context = browser.new_context(base_url=product.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    yield context
    context.close()
    expected = "Failed to load resource"  # an answer of 4xx or 5xx, which some tests ask for
    assert [complaint for complaint in complaints if expected not in complaint] == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def signed_in(browser: Browser, product: Product, name: str) -> dict[str, object]:
    """The cookies of the first user of that name, "demo" or "admin", signed in by the form."""
    context = browser.new_context(base_url=product.url)
    page = context.new_page()
    page.goto("/accounts/login/")
    page.get_by_label("Email").fill(f"{name}@example.com")
    page.get_by_label("Password", exact=True).fill(product.secrets[f"{name.upper()}_PASSWORD"])
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/faq/")
    state = context.storage_state()
    context.close()
    return dict(state)


@pytest.fixture(scope="package")
def demo_state(browser: Browser, product: Product) -> dict[str, object]:
    return signed_in(browser, product, "demo")


@pytest.fixture(scope="package")
def admin_state(browser: Browser, product: Product) -> dict[str, object]:
    return signed_in(browser, product, "admin")


@pytest.fixture
def demo_page(context: BrowserContext, demo_state: dict[str, list]) -> Page:
    context.add_cookies(demo_state["cookies"])
    return context.new_page()


@pytest.fixture
def admin_page(context: BrowserContext, admin_state: dict[str, list]) -> Page:
    context.add_cookies(admin_state["cookies"])
    return context.new_page()
