"""What must not be kept of a question: e-mail addresses and long numbers, by which people and accounts are known."""

import re

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
# Six digits in a row, or seven and more with blanks, dots or dashes between, as in phone, card and account numbers.
NUMBER = re.compile(r"(?<!\d)\+?\(?\d(?:[\s\-./()_\u2010-\u2015\u2212]{0,3}\d){6,}(?!\d)|(?<!\d)\d{6,}(?!\d)")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4}")


def masked(text: str) -> str:
    """The text with `[e-mail]` for each address and `[number]` for each long run of digits; dates stay."""
    return NUMBER.sub(_unless_a_date, EMAIL.sub("[e-mail]", text))


def _unless_a_date(found: re.Match[str]) -> str:
    return found[0] if DATE.fullmatch(found[0]) else "[number]"
