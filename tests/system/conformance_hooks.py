"""What Schemathesis cannot know: ids of things that exist, an address that a webhook may have, and JSON lines.

Every other call about a thing goes to one that is there, the rest to ones that are not. KNOWN in the environment says
what is there: {"webhook_id": "…", …}, and what single calls need: {"DELETE webhook_id": "…"} for one that may go, or
{"cancel batch_id": "…"} by the last word of the address. Sequences of calls find their ids themselves, by links.
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
    is_sequence = case.meta is not None and case.meta.phase.name == "stateful"
    if called[case.operation.label] % 2 and not is_sequence:
        word = "DELETE" if case.method == "DELETE" else case.operation.path.rpartition("/")[2]
        for name, value in (case.path_parameters or {}).items():
            known = KNOWN.get(f"{word} {name}") or KNOWN.get(name)
            # What is no id where one belongs is meant to be refused.
            if known and (is_uuid(value) or not is_uuid(known)):
                case.path_parameters[name] = known
    if isinstance(case.body, dict) and case.body.get("url") == EXAMPLE:
        case.body["url"] = NOBODY_LISTENS


def is_uuid(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


@schemathesis.serializer("application/jsonl", "application/x-ndjson")
def as_json_lines(_context: Any, value: Any) -> bytes:
    """Every other text as it is, which is seldom JSON, else as a question, so that batches come about.

    What is no text has no form as lines of text: it becomes an empty body, which must be refused.
    """
    if not isinstance(value, str):
        return b""
    as_question = len(value) % 2 and not value.startswith("{")
    return (json.dumps({"question": value}) if as_question else value).encode("utf-8", "surrogatepass")
