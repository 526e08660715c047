"""Cells of CSV files that spreadsheets would take for formulas, and run."""

# How formulas begin, however they were typed.
BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def harmless(text: str) -> str:
    """The text, with an apostrophe before one that a spreadsheet would take for a formula.

    One that has apostrophes before such a text gets one more, so that `as_it_was` can tell the two apart.
    """
    return f"'{text}" if text.lstrip("'").startswith(BEGINNINGS) else text


def as_it_was(text: str) -> str:
    """The text that `harmless` was given."""
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(BEGINNINGS) else text
