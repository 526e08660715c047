"""What system tests do to the running site with nothing but HTTP."""

import re

import httpx2 as httpx

from tests.product import Product


def sign_in(client: httpx.Client, email: str, password: str) -> httpx.Response:
    client.get("/accounts/login/")
    form = {"login": email, "password": password, "csrfmiddlewaretoken": client.cookies["csrf"]}
    return client.post("/accounts/login/", data=form, follow_redirects=True)


def make_key(product: Product, name: str, *scopes: str, person: str = "demo") -> str:
    """A new key of the first user of that name, "demo" or "admin", made on the page as a person would."""
    with httpx.Client(base_url=product.url) as client:
        sign_in(client, f"{person}@example.com", product.secrets[f"{person.upper()}_PASSWORD"])
        form = {"name": name, "scopes": scopes, "csrfmiddlewaretoken": client.cookies["csrf"]}
        answer = client.post("/keys/", data=form)
    assert answer.status_code == 201, answer.text
    return re.search(r"sp_\w+_[\w-]+", answer.text).group()


def make_collection(product: Product, slug: str) -> None:
    """A FAQ besides the sample, without entries, made in the admin."""
    with httpx.Client(base_url=product.url, follow_redirects=True) as client:
        sign_in(client, "admin@example.com", product.secrets["ADMIN_PASSWORD"])
        form = {"name": slug.title(), "slug": slug, "language": "en", "visibility": "signed-in", "kept_days": "90"}
        answer = client.post("/admin/faq/collection/add/", data={**form, "csrfmiddlewaretoken": client.cookies["csrf"]})
        assert "was added successfully" in answer.text, answer.text
