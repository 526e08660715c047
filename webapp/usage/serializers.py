from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from webapp.accounts.models import User
from webapp.errors import InvalidInput
from webapp.usage.feedback import NONE_OF_THESE
from webapp.usage.ledger import KEPT_FOR, PARTS, Wanted
from webapp.usage.models import LONGEST_ITEM, Use

VERDICTS = ["right", "wrong"]
NOTHING = "nothing"  # of a question: none of its matches is right


class FeedbackAskSerializer(serializers.Serializer[Any]):
    request_id = serializers.CharField(max_length=200, help_text="Of the answer that the verdict is about.")
    verdict = serializers.ChoiceField(
        [*VERDICTS, NOTHING], help_text="`nothing`: none of the matches of a question was right; `id` is not looked at."
    )
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
    id = serializers.CharField(
        source="item", help_text="The entry or picture that the verdict is about; empty: none of them."
    )
    verdict = serializers.SerializerMethodField()
    model = serializers.CharField()
    version = serializers.CharField(help_text="Which version had answered.")

    def get_verdict(self, feedback: Any) -> str:
        if feedback.item == NONE_OF_THESE:
            return NOTHING
        return "right" if feedback.right else "wrong"


USE_DAYS = 30  # by default


class UseAskSerializer(serializers.Serializer[Any]):
    since = serializers.DateField(required=False, help_text="The first day, in UTC. By default 29 days before `until`.")
    until = serializers.DateField(required=False, help_text="The last day. By default today.")
    group_by = serializers.RegexField(
        rf"^({'|'.join(PARTS)})(,({'|'.join(PARTS)}))*$",
        required=False,
        default="day",
        max_length=60,
        help_text=f"One or more of {', '.join(f'`{part}`' for part in PARTS)}, with commas between. `version` brings "
        "`model` along: versions of two models can have one name.",
    )
    key = serializers.CharField(required=False, max_length=8, help_text="Only of the key with this prefix.")
    model = serializers.CharField(required=False, max_length=128, help_text="Only of this model.")
    version = serializers.CharField(required=False, max_length=128, help_text="Only of this version.")
    source = serializers.ChoiceField(  # type: ignore[assignment]  # DRF takes fields out of the class
        Use.Source.values, required=False, help_text="Only what was asked this way."
    )
    all = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Everybody's. For those who look after the site, with the scope `admin:read`.",
    )

    @property
    def parts(self) -> list[str]:
        """What it is grouped by, each once; a version by its model, too."""
        parts = list(dict.fromkeys(self.validated_data["group_by"].split(",")))
        if "version" in parts and "model" not in parts:
            parts.insert(parts.index("version"), "model")
        return parts

    def wanted(self, user: User) -> Wanted:
        """The use asked for. Raises InvalidInput for days that make no sense."""
        ask = self.validated_data
        until = ask.get("until") or timezone.now().date()
        since = ask.get("since") or until - timedelta(days=min(USE_DAYS - 1, (until - until.min).days))
        if since > until:
            raise InvalidInput("`since` is after `until`. Swap them.", field="since")
        if until - since > KEPT_FOR:
            raise InvalidInput(f"Ask for at most {KEPT_FOR.days} days; older figures are not kept.", field="since")
        wishes = {name: ask.get(name, "") for name in ("key", "model", "version", "source")}
        return Wanted(None if ask["all"] else user, since, until, **wishes)


class FiguresSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    rows = serializers.IntegerField(help_text="Questions and pictures; a request may have several.")
    errors = serializers.IntegerField(  # type: ignore[assignment]  # same
        help_text="Rows without an answer, whoever was to blame."
    )
    p50_ms = serializers.FloatField(allow_null=True, help_text="Median time to answer; rows of batches are not in it.")
    p95_ms = serializers.FloatField(allow_null=True)


class UseLineSerializer(FiguresSerializer):
    day = serializers.DateField(required=False)
    user = serializers.CharField(required=False, help_text="Empty: of an account that is deleted.")
    key = serializers.CharField(required=False, help_text="Its prefix. Empty: no key, or one of a deleted account.")
    source = serializers.ChoiceField(Use.Source.values, required=False)  # type: ignore[assignment]  # same
    model = serializers.CharField(required=False)
    version = serializers.CharField(required=False, help_text="Empty: none has answered.")


class UseSerializer(serializers.Serializer[Any]):
    since = serializers.DateField()
    until = serializers.DateField()
    total = FiguresSerializer()
    data = UseLineSerializer(  # type: ignore[assignment]  # same
        many=True, help_text="By day, or those with the most rows first."
    )
