"""The examples of docs/api.md, as code to run."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def example(section: str, language: str) -> str:
    """The first block of code in that language below the heading "## section"."""
    below = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = re.search(rf"^```{language}\n(.*?)^```$", below, re.DOTALL | re.MULTILINE)
    assert found, f"no {language} in {section}"
    return found[1]
