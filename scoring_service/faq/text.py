"""From a text as typed to the words that are compared.

Markup and code are stripped, Unicode is brought to one form (NFKC), case and accents are folded, and what is left is
cut into words. Scripts that put no spaces between words (Chinese, Japanese, Thai …) are cut into characters, whose
pairs the matcher counts as it counts pairs of words elsewhere.
"""

import functools
import html
import re
import unicodedata

MAX_CHARACTERS = 10_000
_LONGEST_WORD = 40

# Tags around prose say nothing about the question; any other tag may be what it is about ("<div> or <span>?").
_PROSE_TAG = re.compile(
    r"</?(?:a|abbr|b|blockquote|br|code|del|em|h[1-6]|hr|i|img|ins|kbd|li|ol|p|pre|s|small|strong|sub|sup|u|ul)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_OTHER_TAG = re.compile(r"</?([a-z][a-z0-9-]*)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_CODE_BLOCK = re.compile(r"<pre\b[^<>]*>.*?(?:</pre\s*>|\Z)|```.*?(?:```|\Z)", re.IGNORECASE | re.DOTALL)
_MARKDOWN_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_URL = re.compile(r"\bhttps?://\S+", re.IGNORECASE)
_CONTRACTION = re.compile(r"(?<=\w)['’ʼ](?=(?:t|s|re|ve|ll|m|d)\b)", re.IGNORECASE)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")

# Latin, Greek and Cyrillic accents, Hebrew points, Arabic vowel signs: left out in everyday typing. Marks of other
# scripts (Thai and Indic vowels, Japanese voicing) are letters to their readers and stay.
_ACCENT = re.compile("[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]")
_NO_DECOMPOSITION = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})

_UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # kana, Han
)
# `\w` knows no combining marks, which would cut Hindi or Thai words in the middle.
_MARKS = "".join(
    re.escape(character) for character in map(chr, range(0x300, 0xFFFF)) if unicodedata.category(character)[0] == "M"
)
_LETTERS = rf"(?:[^\W{_UNSPACED}][{_MARKS}]*)+"
_TERM = (
    rf"|{_LETTERS}(?:\+\+|\#(?!\w))?"  # a word; "C++", "C#", "i++"
    r"|[!<>=+*/&|^%~-]{2,}"  # operators: "===", "=>", "&&", "**"
    r"|(?<!\w)(?:\?\.|\?\?|\.\.\.)"  # "?.", "...": not as the end of a sentence
    r"|(?<!\S)[$%&|^~*+<>=/@](?!\S)"
    r"|[\u2190-\u2bff\U0001f000-\U0001faff]"  # arrows, dingbats, emoji
)
_UNSPACED_WORD = rf"[{_UNSPACED}][{_MARKS}]*"
_WORD = re.compile(_UNSPACED_WORD + _TERM)
_WORD_AS_TYPED = re.compile(rf"{_UNSPACED_WORD}|{_LETTERS}(?:['’ʼ]{_LETTERS})+{_TERM}")
_HAS_CONTENT = re.compile(r"[^\W_]|[\u2190-\u2bff\U0001f000-\U0001faff]")
_UNSPACED_CHARACTER = re.compile(rf"[{_UNSPACED}]")


def without_markup(text: str, *, keep_code: bool = False) -> str:
    """The text without HTML, links and, unless `keep_code`, code blocks; case, accents and punctuation as typed.

    A code block stays too when fewer than two words would be left without it: then the code is the question.
    """
    if "<" in text or "```" in text:
        prose = text if keep_code else _CODE_BLOCK.sub(" ", text)
        text = prose if len(words_as_typed(_without_tags(prose))) >= 2 else text
        text = _without_tags(text.replace("```", " "))
    if "&" in text:
        text = html.unescape(text)
    if "](" in text:
        text = _MARKDOWN_LINK.sub(r"\1", text)
    if "://" in text:
        prose = _URL.sub(" ", text)
        text = prose if has_content(prose) else text.replace("://", " ")
    return text


def folded(text: str) -> str:
    """The text in the form in which texts are compared: NFKC, without case, accents and invisible characters."""
    if text.isascii():
        return _CONTRACTION.sub("", text.lower()) if "'" in text else text.lower()
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold().translate(_NO_DECOMPOSITION)
    text = _ACCENT.sub("", unicodedata.normalize("NFD", text))
    return _CONTRACTION.sub("", unicodedata.normalize("NFC", text))


def words(text: str, *, keep_code: bool = False) -> list[str]:
    """The folded words of a text in their order, markup and (unless `keep_code`) code blocks left out.

    One character of a script without spaces counts as a word, as do operators ("===") and emoji. Longer words than any
    language writes are cut, so that what is remembered of a word stays small.
    """
    return words_of_prose(without_markup(text, keep_code=keep_code))


def words_of_prose(text: str) -> list[str]:
    """As `words`, for a text without markup."""
    found: list[str] = _WORD.findall(folded(text))
    if max(map(len, found), default=0) <= _LONGEST_WORD:
        return found
    return [word[at : at + _LONGEST_WORD] for word in found for at in range(0, len(word), _LONGEST_WORD)]


def words_as_typed(text: str) -> list[str]:
    """The words of a text exactly as they stand in it, apostrophes included; expects a text without markup."""
    return _WORD_AS_TYPED.findall(text)


@functools.lru_cache(maxsize=16_384)
def character_grams(word: str) -> tuple[str, ...]:
    """The runs of 2 to 5 characters of a word between spaces (scikit-learn's `char_wb`), each as often as it occurs."""
    padded = f" {word} "
    size = len(padded)
    grams = []
    for length in range(2, 6):
        grams += [padded[start : start + length] for start in range(size - length + 1)] or [padded]
    return tuple(grams)


def is_unspaced(word: str) -> bool:
    """Whether the word is a character of a script that puts no spaces between words."""
    return _UNSPACED_CHARACTER.match(word) is not None


def has_content(text: str) -> bool:
    """Whether the text holds a letter, digit or pictogram in any script: something one can compare."""
    return _HAS_CONTENT.search(text) is not None


def is_question(text: str) -> bool:
    """Whether there is something to compare once markup is left out."""
    return has_content(without_markup(text)) and bool(words(text))


def _without_tags(text: str) -> str:
    return _OTHER_TAG.sub(r" \1 ", _PROSE_TAG.sub(" ", text))
