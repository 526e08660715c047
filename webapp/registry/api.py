from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response

from webapp.accounts.roles import may_see_history
from webapp.errors import InvalidInput, NotAllowed, NotFound, ScoringUnavailable
from webapp.keys.api import ApiRequest, ApiView, in_path, page_answer
from webapp.keys.models import Scope
from webapp.registry import discretion, queries
from webapp.registry.models import ScoringModel
from webapp.registry.serializers import HistoryAskSerializer, HistorySerializer, ModelsSerializer
from webapp.scoring.client import scoring_client

MODELS_EXAMPLE = OpenApiExample(
    "One model",
    value={
        "models": [
            {
                "name": "faq-javascript",
                "kind": "faq",
                "title": "JavaScript FAQ",
                "description": "Questions developers ask about JavaScript.",
                "sample": True,
                "version": "2",
                "ready": True,
                "reason": "",
                "metrics": {"accuracy_at_1": 0.9},
                "versions": [
                    {
                        "version": "2",
                        "state": "serving",
                        "role": "champion",
                        "percent": 0,
                        "registered_at": "2026-11-23T07:00:00Z",
                        "ready_at": "2026-11-23T07:01:00Z",
                        "metrics": {"accuracy_at_1": 0.91, "p95_ms": 3.2},
                    }
                ],
            }
        ],
        "unreachable": [],
    },
    response_only=True,
)
SERVING = {"champion": "2", "canary": {"version": "3", "percent": 10}, "shadow": None, "standby": "1"}
HISTORY_EXAMPLE = OpenApiExample(
    "What served at a moment",
    value={
        "model": "faq-javascript",
        "served": {
            **SERVING,
            "since": "2026-11-23T07:30:00Z",
            "switching_from": None,
            "converged_at": "2026-11-23T07:05:02Z",
        },
        "data": [
            {
                "id": 12,
                "at": "2026-11-23T07:30:00Z",
                "kind": "canary_started",
                "version": "3",
                "actor": "ada@example.com",
                "from_state": "ready",
                "to_state": "serving",
                "reason": "Knows the new entries.",
                "metrics": {"accuracy_at_1": 0.92},
                "details": {"percent": 10},
                "serving": SERVING,
            }
        ],
        "has_more": True,
        "next_cursor": "WyIyMDI2LTExLTIzVDA3OjMwOjAwKzAwOjAwIiwxMl0:x9…",
    },
    response_only=True,
)


class ModelsView(ApiView):
    etagged = True
    also_raises = (ScoringUnavailable,)

    @extend_schema(
        operation_id="models",
        tags=["Models"],
        summary="List the models",
        description=(
            "The models with their versions: which one answers, and the state of each. Those of FAQ collections that "
            "you may not see are left out."
        ),
        responses={200: ModelsSerializer},
        examples=[MODELS_EXAMPLE],
    )
    def get(self, request: ApiRequest) -> Response:
        found = scoring_client().models()
        if found.unreachable and not found.models:
            raise ScoringUnavailable(" ".join(found.unreachable), retry_after=2)
        hidden = discretion.hidden_from(request.auth_principal.user)
        rows = {
            model.name: model for model in ScoringModel.objects.exclude(name__in=hidden).prefetch_related("versions")
        }
        told = [
            {**vars(model), "versions": _versions(rows.pop(model.name, None))}
            for model in found.models
            if model.name not in hidden
        ]
        untold = [_not_loaded(model) for model in rows.values()]
        return Response(ModelsSerializer({"models": told + untold, "unreachable": found.unreachable}).data)


def _versions(model: ScoringModel | None) -> list[Any]:
    return list(model.versions.all()) if model else []


def _not_loaded(model: ScoringModel) -> dict[str, Any]:
    """A model that no pod has told of."""
    champion = next((version for version in model.versions.all() if version.role == "champion"), None)
    return {
        "name": model.name,
        "kind": model.kind,
        "title": model.label,
        "description": champion.manifest.get("description", "") if champion else "",
        "sample": bool(champion and champion.manifest.get("sample")),
        "version": champion.name if champion else "",
        "ready": False,
        "reason": "No pod has loaded it." if champion else "No version of it serves yet.",
        "metrics": champion.manifest.get("metrics", {}) if champion else {},
        "versions": _versions(model),
    }


class HistoryView(ApiView):
    required_scope = Scope.ADMIN.value
    also_raises = (NotFound, InvalidInput)

    @extend_schema(
        operation_id="model_history",
        tags=["Models"],
        summary="Read the history of a model",
        description=(
            "Who changed what serves, when and why; and with `at`, what served at that moment. Needs a key whose owner "
            "may see the history in the admin."
        ),
        parameters=[
            in_path("name", str, "Of the model.", "faq-javascript"),
            HistoryAskSerializer,
        ],
        responses={200: HistorySerializer},
        examples=[HISTORY_EXAMPLE],
    )
    def get(self, request: ApiRequest, name: str) -> Response:
        if not may_see_history(request.auth_principal.user):
            raise NotAllowed("You may not see the history of models. Ask an administrator for the group viewer.")
        # PostgreSQL would refuse a NUL with an error of its own.
        model = ScoringModel.objects.filter(name=name).first() if "\0" not in name else None
        if model is None:
            raise NotFound(f"There is no model named {name!r}. `GET /api/v1/models` lists those there are.")
        ask = self.wishes(HistoryAskSerializer)
        page = queries.history(model, before=ask.get("cursor"), size=ask["limit"], until=ask.get("at"))
        served = queries.served_at(model, ask["at"]) if "at" in ask else None
        return page_answer(request, page, HistorySerializer, model=model.name, served=served)
