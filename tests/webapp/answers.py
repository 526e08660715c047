"""What tests expect of answers."""

from typing import Any

from django.http import HttpResponse


def assert_problem(answer: HttpResponse, status: int, slug: str) -> dict[str, Any]:
    """The answer is that problem, complete, in the one shape all problems have. Returns it."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "request_id"}
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer["X-Request-ID"]
    for error in problem.get("errors", []):
        assert set(error) == {"field", "detail"}
    return problem
