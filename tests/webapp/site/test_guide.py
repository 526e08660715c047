"""The guide at /api/docs: one source with docs/api.md, open to all, with the reader's own key in its examples."""

import re

import pytest

from tests.factories import make_key
from webapp import guide, problems

pytestmark = pytest.mark.django_db


def page_at(client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def test_each_section_of_the_file_is_on_exactly_one_page():
    shown = [heading for page in guide.PAGES for heading in page.headings]
    assert sorted(shown) == sorted(guide.texts())


@pytest.mark.parametrize("page", guide.PAGES, ids=lambda page: page.slug or "start")
def test_a_page_is_open_to_all_and_leads_to_all_others(client, page):
    shown = page_at(client, page.url)
    assert set(re.findall(r'href="(/api/docs[a-z/]*)"', shown)) >= {each.url for each in guide.PAGES}
    assert shown.count('aria-current="page"') == 1
    ids = re.findall(r'\sid="([^"]+)"', shown)
    assert len(ids) == len(set(ids))


def test_no_link_within_the_guide_leads_nowhere(client):
    pages = {page.url: page_at(client, page.url) for page in guide.PAGES}
    for url, shown in pages.items():
        for target, anchor in re.findall(r'href="(/api/docs[a-z/]*|)#([^"]+)"', shown):
            assert f'id="{anchor}"' in pages[target or url], f"{url} leads to {target}#{anchor}"
        assert "changelog.md" not in shown


def test_a_call_that_is_named_leads_to_the_reference(client):
    assert 'href="/api/docs/reference#faq_match"><code>POST /api/v1/faq/match</code>' in page_at(
        client, "/api/docs/calls"
    )


def test_every_error_has_cause_remedy_and_example(client):
    from webapp.templatetags.ui import code_words

    shown = page_at(client, "/api/docs/errors")
    for kind in problems.BY_SLUG.values():
        section = shown.split(f'id="{kind.slug}"', 1)[1].split("</section>", 1)[0]
        assert code_words(kind.cause) in section
        assert code_words(kind.remedy) in section
        assert f"&quot;type&quot;: &quot;/problems/{kind.slug}&quot;" in section


def test_the_changes_tell_of_deprecation_and_of_what_is_new(client):
    shown = page_at(client, "/api/docs/changes")
    assert "<code>Deprecation: @" in shown
    assert "<code>Sunset</code>" in shown
    assert "Unreleased" in shown


@pytest.mark.parametrize("path", ["/api/docs", "/api/docs/batches", "/api/docs/reference"])
def test_examples_name_the_readers_own_key_and_never_a_secret(client, owner, path):
    new = make_key(owner)
    note = f"SCOREPOD_KEY: your key sp_{new.key.prefix}_…"
    assert note not in page_at(client, path)
    client.force_login(owner)
    shown = page_at(client, path)
    assert note in shown
    assert new.secret not in shown


def test_a_key_is_named_only_where_its_scope_is_enough(owner_client, owner):
    make_key(owner, "images:read")
    shown = page_at(owner_client, "/api/docs/reference")
    assert "your key" in shown.split('id="images_classify"', 1)[1].split("</section>", 1)[0]
    assert "your key" not in shown.split('id="faq_match"', 1)[1].split("</section>", 1)[0]
