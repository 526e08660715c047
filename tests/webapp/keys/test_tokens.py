"""What a key looks like, to us and to secret scanners."""

import re
import zlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from webapp.keys import tokens

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text(encoding="utf-8")


def test_a_new_key_ends_with_the_checksum_of_the_rest():
    for _ in range(50):
        text = str(tokens.new_token(tokens.new_prefix()))
        number = 0
        for digit in text[-6:]:
            number = number * 62 + DIGITS.index(digit)
        assert number == zlib.crc32(text[:-6].encode())


@given(st.integers(0, 60), st.sampled_from(DIGITS))
def test_no_key_with_one_character_wrong_is_taken_for_one(place, letter):
    text = str(tokens.new_token("k3v9x2ma"))
    place %= len(text)
    wrong = text[:place] + letter + text[place + 1 :]
    assert (tokens.read(wrong) is None) == (wrong != text)


def test_the_page_gives_scanners_the_pattern_that_finds_every_new_key():
    assert tokens.FOR_SCANNERS in PAGE
    key = str(tokens.new_token(tokens.new_prefix()))
    assert re.findall(tokens.FOR_SCANNERS, f'token = "{key}"; other = "sp_no"') == [key]


def test_the_example_of_the_page_is_no_live_key_but_a_whole_one():
    [example, *_] = re.findall(tokens.FOR_SCANNERS, PAGE)
    assert tokens.read(example) is not None
    assert str(tokens.read(example)) == example
