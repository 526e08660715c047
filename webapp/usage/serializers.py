from typing import Any

from rest_framework import serializers

from webapp.usage.models import LONGEST_ITEM

VERDICTS = ["right", "wrong"]


class FeedbackAskSerializer(serializers.Serializer[Any]):
    request_id = serializers.CharField(max_length=200, help_text="Of the answer that the verdict is about.")
    verdict = serializers.ChoiceField(VERDICTS)
    id = serializers.CharField(
        max_length=LONGEST_ITEM,
        required=False,
        help_text=(
            "Of a question the entry's id, by default that of the best match. Of pictures the file name, needed when "
            "there were several; of two with one name the second is `dog.jpg#2`."
        ),
    )


class FeedbackSerializer(serializers.Serializer[Any]):
    request_id = serializers.CharField()
    id = serializers.CharField(source="item", help_text="The entry or picture that the verdict is about.")
    verdict = serializers.SerializerMethodField()
    model = serializers.CharField()
    version = serializers.CharField(help_text="Which version had answered.")

    def get_verdict(self, feedback: Any) -> str:
        return "right" if feedback.right else "wrong"
