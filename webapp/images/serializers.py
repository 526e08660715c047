from typing import Any

from rest_framework import serializers


class ClassifyAskSerializer(serializers.Serializer[Any]):
    """What may come beside the pictures: as fields of the form, or in the address of a raw body."""

    model = serializers.CharField(
        max_length=128, required=False, help_text="The model that looks at them; by default the best there is."
    )
    version = serializers.CharField(
        max_length=128,
        required=False,
        help_text="The version that answers, needs the scope `models:pin`; by default the one that serves.",
    )
    top_k = serializers.IntegerField(min_value=1, max_value=50, default=5, help_text="Categories for each picture.")
    explain = serializers.BooleanField(
        default=False, help_text="Show where the first category was seen; not every model can."
    )


class ClassifyFormSerializer(ClassifyAskSerializer):
    """The form as the OpenAPI document shows it. The files' field may have any name."""

    files = serializers.ListField(child=serializers.FileField(), min_length=1, max_length=8)


class PredictionSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]  # declared fields do not stay attributes
    label_id = serializers.CharField(help_text="The category's stable id; for ImageNet the WordNet id.")
    probability = serializers.FloatField(min_value=0, max_value=1)


class FieldErrorSerializer(serializers.Serializer[Any]):
    field = serializers.CharField()
    detail = serializers.CharField()


class FileProblemSerializer(serializers.Serializer[Any]):
    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    request_id = serializers.CharField()
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]  # as above


class CardSerializer(serializers.Serializer[Any]):
    field = serializers.CharField(help_text="The name of the form field; `body` for a raw body.")
    filename = serializers.CharField()
    version = serializers.CharField(help_text="Which version answered or failed; may be empty beside an `error`.")
    predictions = PredictionSerializer(many=True, allow_null=True, help_text="Most probable first; null: see `error`.")
    error = FileProblemSerializer(allow_null=True, help_text="Why this file has no predictions.")
    heatmap = serializers.CharField(
        required=False,
        help_text=(
            "Only when `explain` was asked for: a PNG in base64 to lay over the picture, the deeper red and the more "
            "opaque the more that part spoke for the first category."
        ),
    )

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if instance.failure:
            shown["predictions"] = None
        if instance.heatmap is None:
            del shown["heatmap"]
        return shown


class ClassifyResultSerializer(serializers.Serializer[Any]):
    model = serializers.CharField()
    version = serializers.CharField()
    results = CardSerializer(many=True, help_text="One for each picture, in the order of the request.")
    duration_ms = serializers.FloatField(help_text="Time the site took for all of them, with the model's.")
    request_id = serializers.CharField()
