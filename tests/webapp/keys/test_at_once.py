"""What two people, or a double click, do at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection

from tests.factories import make_key
from webapp.errors import Conflict
from webapp.keys import services
from webapp.keys.models import ApiKey, KeySecret


@pytest.mark.django_db(transaction=True)
def test_of_rotations_at_the_same_moment_one_is_done_and_the_others_are_told(owner):
    key, together = make_key(owner).key, Barrier(4)
    seen = ApiKey.objects.get().current_secret.pk

    def rotate(_number: int) -> str:
        together.wait()
        try:
            services.rotate(key, seen=seen, overlap=timedelta(days=1), expires_at=None)
        except Conflict:
            return "told"
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(rotate, range(4))) == ["done", "told", "told", "told"]
    assert KeySecret.objects.count() == 2
    assert KeySecret.objects.filter(ends_at=None).count() == 1
