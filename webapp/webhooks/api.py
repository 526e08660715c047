"""Webhooks by API, for a key with the scope `webhooks`."""

from typing import Any
from uuid import UUID

from django.utils.functional import cached_property
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.response import Response

from webapp.errors import AppError, Conflict, InvalidInput, NotFound
from webapp.keys.api import (
    ApiRequest,
    ApiView,
    PageAskSerializer,
    answer_example,
    in_path,
    list_example,
    page_answer,
    parse,
)
from webapp.keys.models import Scope
from webapp.paging import page_of
from webapp.webhooks import queries, services, targets
from webapp.webhooks.models import Endpoint
from webapp.webhooks.serializers import (
    DeliveriesSerializer,
    DeliveryAskSerializer,
    DeliverySerializer,
    NewSecretSerializer,
    NewWebhookSerializer,
    WebhookAskSerializer,
    WebhookChangeSerializer,
    WebhookSerializer,
    WebhooksSerializer,
    WholeDeliverySerializer,
)

WEBHOOK_ID, DELIVERY_ID = "6f1c2f5e-8a55-4c0e-9d3b-0a4b7c1d2e3f", "b0d9b5a2-3f6e-4d1c-8a7b-5c4d3e2f1a0b"
OF_WEBHOOK = in_path("webhook_id", UUID, "Of the webhook.", WEBHOOK_ID)
OF_DELIVERY = in_path("delivery_id", UUID, "Of the delivery.", DELIVERY_ID)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # that of the specification
ASKED = {"url": "https://example.com/hooks", "event_types": ["batch.completed"], "description": "Nightly import"}
WEBHOOK = {
    "id": WEBHOOK_ID,
    **ASKED,
    "enabled": True,
    "disabled": "",
    "disabled_at": None,
    "failing_since": None,
    "created_at": "2026-11-27T08:00:00Z",
}
DELIVERY = {
    "id": DELIVERY_ID,
    "message_id": "msg_2f0c9d1e7b5a4c3d8e6f1a2b3c4d5e6f",
    "type": "batch.completed",
    "state": "delivered",
    "attempts": 1,
    "status": 200,
    "duration_ms": 48.2,
    "error": "",
    "created_at": "2026-11-27T08:05:00Z",
    "next_attempt_at": None,
    "ended_at": "2026-11-27T08:05:01Z",
}
PENDING = {
    **DELIVERY,
    "state": "pending",
    "attempts": 0,
    "status": None,
    "duration_ms": None,
    "ended_at": None,
    "next_attempt_at": "2026-11-27T08:05:00Z",
}
EVENT = {"type": "batch.completed", "timestamp": "2026-11-27T08:05:00.000Z", "data": {"id": WEBHOOK_ID}}
TRY = {"at": "2026-11-27T08:05:01Z", "status": 200, "duration_ms": 48.2, "error": "", "response": "ok"}


class WebhooksApi(ApiView):
    """A view about webhooks, or about the one that the address names."""

    required_scope = Scope.WEBHOOKS.value
    also_raises: tuple[type[AppError], ...] = (NotFound,)

    def webhook(self, webhook_id: UUID) -> Endpoint:
        return queries.endpoint_of(self.request.auth_principal.user, webhook_id)


class WebhooksView(WebhooksApi):
    also_raises = (InvalidInput, Conflict)
    idempotent = True

    @extend_schema(
        operation_id="webhooks",
        tags=["Webhooks"],
        summary="List webhooks",
        description="All of yours, newest first. One can have ten.",
        parameters=[PageAskSerializer],
        responses={200: WebhooksSerializer},
        examples=[list_example("One webhook", WEBHOOK)],
    )
    def get(self, request: ApiRequest) -> Response:
        page = page_of(queries.endpoints_of(request.auth_principal.user), **self.wishes(PageAskSerializer))
        return page_answer(request, page, WebhooksSerializer)

    def prepare(self) -> None:
        _ = self._wanted  # to look the name up may take seconds

    @cached_property
    def _wanted(self) -> dict[str, Any]:
        ask: dict[str, Any] = parse(WebhookAskSerializer, self.request.data).validated_data
        return {**ask, "url": targets.checked(ask["url"])}

    @extend_schema(
        operation_id="create_webhook",
        tags=["Webhooks"],
        summary="Make a webhook",
        description=(
            "From then on each event of the wanted types is posted to the address, signed with the `secret` that this "
            "answer alone tells. Addresses that are not on the internet are refused."
        ),
        request=WebhookAskSerializer,
        responses={201: NewWebhookSerializer},
        examples=[
            OpenApiExample("For batches that are complete", value=ASKED, request_only=True),
            answer_example("Made", {**WEBHOOK, "secret": SECRET}, "201"),
        ],
    )
    def post(self, request: ApiRequest) -> Response:
        new = services.create(request.auth_principal.user, **self._wanted)
        told = {**WebhookSerializer(new.endpoint).data, "secret": new.secret}
        return Response(told, 201, headers={"Location": f"{request.path}/{new.endpoint.pk}"})


class WebhookView(WebhooksApi):
    @extend_schema(
        operation_id="webhook",
        tags=["Webhooks"],
        summary="Read a webhook",
        description="One of yours, without its secret.",
        parameters=[OF_WEBHOOK],
        responses={200: WebhookSerializer},
        examples=[answer_example("A webhook", WEBHOOK)],
    )
    def get(self, _request: ApiRequest, webhook_id: UUID) -> Response:
        return Response(WebhookSerializer(self.webhook(webhook_id)).data)

    @extend_schema(
        operation_id="change_webhook",
        tags=["Webhooks"],
        summary="Change a webhook",
        description=(
            "Its address, events or description; or disable and enable it. What is on its way when it is disabled is "
            "not tried any more, and what happens meanwhile is not kept for it."
        ),
        parameters=[OF_WEBHOOK],
        request=WebhookChangeSerializer,
        responses={200: WebhookSerializer},
        examples=[
            OpenApiExample("Disable it", value={"enabled": False}, request_only=True),
            answer_example(
                "Changed", {**WEBHOOK, "enabled": False, "disabled": "owner", "disabled_at": "2026-11-27T09:00:00Z"}
            ),
        ],
    )
    def patch(self, request: ApiRequest, webhook_id: UUID) -> Response:
        endpoint = self.webhook(webhook_id)
        ask = parse(WebhookChangeSerializer, request.data).validated_data
        enabled = ask.pop("enabled", None)
        services.change(endpoint, **ask)
        if enabled is not None:
            (services.enable if enabled else services.disable)(endpoint)
        return Response(WebhookSerializer(self.webhook(webhook_id)).data)

    @extend_schema(
        operation_id="delete_webhook",
        tags=["Webhooks"],
        summary="Delete a webhook",
        description="With its secrets and its log. What is on its way is not tried any more.",
        parameters=[OF_WEBHOOK],
        responses={204: None},
    )
    def delete(self, _request: ApiRequest, webhook_id: UUID) -> Response:
        services.delete(self.webhook(webhook_id))
        return Response(status=204)


class RotateView(WebhooksApi):
    also_raises = (NotFound, Conflict)
    idempotent = True

    @extend_schema(
        operation_id="rotate_webhook",
        tags=["Webhooks"],
        summary="Rotate the secret of a webhook",
        description=(
            "Events are signed with the new secret at once, and with the one before for 24 hours more: each has one "
            "signature for each, with a space between."
        ),
        parameters=[OF_WEBHOOK],
        request=None,
        responses={200: NewSecretSerializer},
        examples=[answer_example("The new secret", {"secret": SECRET, "before_until": "2026-11-28T08:00:00Z"})],
    )
    def post(self, _request: ApiRequest, webhook_id: UUID) -> Response:
        return Response(NewSecretSerializer(services.rotate(self.webhook(webhook_id))).data)


class TestView(WebhooksApi):
    also_raises = (NotFound, Conflict)

    @extend_schema(
        operation_id="test_webhook",
        tags=["Webhooks"],
        summary="Send a test event",
        description="Of the type `webhook.test`, once, whatever the webhook's event types. The log says how it went.",
        parameters=[OF_WEBHOOK],
        request=None,
        responses={202: DeliverySerializer},
        examples=[answer_example("On its way", {**PENDING, "type": "webhook.test"}, "202")],
    )
    def post(self, _request: ApiRequest, webhook_id: UUID) -> Response:
        return Response(DeliverySerializer(services.test(self.webhook(webhook_id))).data, 202)


class DeliveriesView(WebhooksApi):
    also_raises = (NotFound, InvalidInput)
    etagged = True

    @extend_schema(
        operation_id="webhook_deliveries",
        tags=["Webhooks"],
        summary="List the deliveries of a webhook",
        description="What was sent to it in the last 30 days, newest first, and how the last attempt went.",
        parameters=[OF_WEBHOOK, DeliveryAskSerializer],
        responses={200: DeliveriesSerializer},
        examples=[list_example("One delivery", DELIVERY)],
    )
    def get(self, request: ApiRequest, webhook_id: UUID) -> Response:
        page = queries.deliveries_of(self.webhook(webhook_id), **self.wishes(DeliveryAskSerializer))
        return page_answer(request, page, DeliveriesSerializer)


class DeliveryView(WebhooksApi):
    etagged = True

    @extend_schema(
        operation_id="webhook_delivery",
        tags=["Webhooks"],
        summary="Read a delivery",
        description="With the event as it is sent, and the last 50 attempts with what was answered.",
        parameters=[OF_WEBHOOK, OF_DELIVERY],
        responses={200: WholeDeliverySerializer},
        examples=[answer_example("A delivery", {**DELIVERY, "event": EVENT, "tries": [TRY]})],
    )
    def get(self, request: ApiRequest, webhook_id: UUID, delivery_id: UUID) -> Response:
        delivery = queries.delivery_of(request.auth_principal.user, webhook_id, delivery_id)
        return Response(WholeDeliverySerializer(delivery).data)


class RedeliverView(WebhooksApi):
    also_raises = (NotFound, Conflict)

    @extend_schema(
        operation_id="redeliver",
        tags=["Webhooks"],
        summary="Send a delivery again",
        description="At once, under the same `webhook-id`, whether or not it had arrived; what fails is tried again.",
        parameters=[OF_WEBHOOK, OF_DELIVERY],
        request=None,
        responses={202: DeliverySerializer},
        examples=[answer_example("On its way", PENDING, "202")],
    )
    def post(self, request: ApiRequest, webhook_id: UUID, delivery_id: UUID) -> Response:
        delivery = queries.delivery_of(request.auth_principal.user, webhook_id, delivery_id)
        services.send_again(delivery)
        return Response(DeliverySerializer(delivery).data, 202)
