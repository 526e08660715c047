"""What Schemathesis cannot know: ids of things that exist, and an address that a webhook may have on this machine.

Every other call about a thing goes to one that is there, the rest to ones that are not. KNOWN in the environment says
what is there: {"webhook_id": "…", …}, and what a DELETE may take away: {"DELETE webhook_id": "…"}.
"""

import json
import os
from collections import Counter
from typing import Any
from uuid import UUID

import schemathesis

KNOWN: dict[str, str] = json.loads(os.environ["KNOWN"])
EXAMPLE, NOBODY_LISTENS = "https://example.com/hooks", "http://127.0.0.1:9/hooks"
called = Counter[str]()


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    called[case.operation.label] += 1
    if called[case.operation.label] % 2:
        for name, value in (case.path_parameters or {}).items():
            known = KNOWN.get(f"DELETE {name}" if case.method == "DELETE" else name)
            if known and is_uuid(value):  # what is none is meant to be refused
                case.path_parameters[name] = known
    if isinstance(case.body, dict) and case.body.get("url") == EXAMPLE:
        case.body["url"] = NOBODY_LISTENS


def is_uuid(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True
