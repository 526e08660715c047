"""What a file must be before it travels to a pod: any bytes at all end in a verdict."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import picture
from webapp.errors import InvalidInput, TooLarge
from webapp.images.checks import FORMATS, Upload, check_picture

GOOD = {form: picture(form=form).read() for form in FORMATS}
CHANGES = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), max_size=6)


@given(st.sampled_from(FORMATS), CHANGES, st.integers(0, 400))
def test_a_damaged_picture_passes_or_is_refused(form, changes, length):
    data = bytearray(GOOD[form])
    for at, value in changes:
        data[at % len(data)] = value
    # Nothing but a refusal may come out; any other exception fails the test.
    with suppress(InvalidInput, TooLarge):
        check_picture(Upload("files", "dog", bytes(data[:length])))


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_picture_passes(form):
    check_picture(Upload("files", "dog", GOOD[form]))
