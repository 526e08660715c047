import re

import pytest
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage


def served(name: str) -> str:
    """The file as browsers get it, under the name with its hash."""
    return (settings.STATIC_ROOT / staticfiles_storage.stored_name(name)).read_text(encoding="utf-8")


def test_our_modules_import_each_other_by_names_with_hashes():
    """Else a browser would keep an old module beside a new one."""
    imported = re.findall(r"""import\(\s*["'](\.[^"']+)["']""", served("js/main.js"))
    assert len(imported) > 5
    for name in imported:
        assert re.search(r"\.[0-9a-f]{12}\.js$", name), name
        assert (settings.STATIC_ROOT / "js" / name).is_file()


@pytest.mark.django_db
def test_a_page_names_its_files_by_their_hashes(client):
    page = client.get("/").content.decode()
    names = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert names
    for name in names:
        assert re.search(r"\.[0-9a-f]{12}\.\w+(#[\w-]+)?$", name), name
