"""Cells of CSV files that spreadsheets would take for formulas, and run."""

# How formulas begin, however they were typed.
BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def harmless(text: str) -> str:
    """The text, with an apostrophe before one that a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(BEGINNINGS) else text
