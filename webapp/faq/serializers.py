from typing import Any

from rest_framework import serializers

from webapp.accounts.models import User
from webapp.errors import InvalidInput
from webapp.faq import editing
from webapp.faq.editing import Content
from webapp.faq.models import Collection, Entry
from webapp.faq.queries import collection_called
from webapp.faq.services import MAX_QUESTION, MatchAsk
from webapp.keys.api import PageAskSerializer, PageSerializer


class TextField(serializers.CharField):
    """Text. Numbers are none, though DRF would take them for it."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class QuestionField(TextField):
    """Text of 1 to 10,000 characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": MAX_QUESTION, **options})


class MatchAskSerializer(serializers.Serializer[Any]):
    question = QuestionField()
    top_k = serializers.IntegerField(min_value=1, max_value=50, default=5, help_text="How many entries at most.")
    min_probability = serializers.FloatField(
        min_value=0, max_value=1, default=0, help_text="Leave out entries that are less probable."
    )
    explain = serializers.BooleanField(default=False, help_text="Name the words that made each match.")
    collection = serializers.SlugField(
        max_length=60, required=False, help_text="The collection to search; by default the site's own."
    )
    version = serializers.CharField(
        max_length=128,
        required=False,
        help_text="The version that answers, needs the scope `models:pin`; by default the one that serves.",
    )

    def ask(self, person: User) -> MatchAsk:
        """The valid data as a value. Raises NotFound for a collection that does not exist, or not for the person."""
        values = dict(self.validated_data)
        return MatchAsk(collection=collection_called(values.pop("collection", None), person), **values)


class TermsSerializer(serializers.Serializer[Any]):
    question = serializers.ListField(child=serializers.CharField(), help_text="Words of the question that matched.")
    entry = serializers.ListField(child=serializers.CharField(), help_text="Words of the entry that matched.")


class MatchSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    answer_id = serializers.CharField()
    question = serializers.CharField(help_text="The entry's own question.")
    answer = serializers.CharField(help_text="Markdown.")
    tags = serializers.ListField(child=serializers.CharField())
    probability = serializers.FloatField(min_value=0, max_value=1, help_text="That the entry answers the question.")
    terms = TermsSerializer(required=False, help_text="Only when `explain` was asked for.")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if shown["terms"] is None:
            del shown["terms"]
        return shown


class MatchResultSerializer(serializers.Serializer[Any]):
    question = serializers.CharField()
    collection = serializers.SlugField(source="collection.slug")
    model = serializers.CharField()
    version = serializers.CharField()
    threshold = serializers.FloatField(help_text="Below this probability an entry is no good match.")
    answered = serializers.BooleanField(help_text="Whether any entry reaches the threshold.")
    ambiguous = serializers.BooleanField(
        help_text="Whether the first two reach it and are so close that either may be meant: ask which."
    )
    matches = MatchSerializer(many=True, source="scored", help_text="Most probable first.")
    duration_ms = serializers.FloatField(help_text="Time the site took, with the model's.")
    request_id = serializers.CharField()


class CollectionSerializer(serializers.Serializer[Any]):
    slug = serializers.SlugField(help_text="What `collection` takes.")
    name = serializers.CharField()
    description = serializers.CharField()
    language = serializers.CharField(help_text="Of its entries, as a tag such as `en` or `pt-BR`.")
    visibility = serializers.ChoiceField(choices=Collection.Visibility.choices, help_text="Who may ask.")
    is_default = serializers.BooleanField(help_text="Whether it is searched when a request names none.")
    model = serializers.CharField(source="model_name", help_text="The model that matches it.")
    threshold = serializers.FloatField(
        allow_null=True, help_text="From which probability on an entry is a good match; null: as each version says."
    )
    has_model = serializers.BooleanField(help_text="Whether a version of it serves; without, nothing can answer yet.")
    entries = serializers.IntegerField(source="entry_count", help_text="How many live ones it has.")


class CollectionsSerializer(PageSerializer):
    data = CollectionSerializer(many=True)  # type: ignore[assignment]  # DRF has an attribute of that name


class EntryFieldsSerializer(serializers.Serializer[Any]):
    """What somebody writes of an entry."""

    question = QuestionField()
    answer = TextField(max_length=editing.LONGEST_ANSWER, help_text="Markdown.")
    tags = serializers.ListField(
        child=TextField(max_length=editing.LONGEST_TAG), max_length=editing.MOST_TAGS, required=False
    )
    phrasings = serializers.ListField(
        child=QuestionField(),
        required=False,
        help_text="Other ways to ask the same; the model is trained on them.",
    )
    test_phrasings = serializers.ListField(
        child=QuestionField(),
        required=False,
        help_text="Others that it is not trained on, but measured with.",
    )
    state = serializers.ChoiceField(
        choices=Entry.State.choices,
        required=False,
        help_text="`live`, unless a new one says otherwise; a `draft` is seen by editors alone.",
    )


class NewEntrySerializer(EntryFieldsSerializer):
    id = serializers.RegexField(
        r"^[^/\s]+\Z", max_length=120, required=False, help_text="What matches name it by; made up where left out."
    )
    answer_id = TextField(max_length=120, required=False, help_text="By default the same.")

    def content(self) -> Content:
        """Raises InvalidInput."""
        return Content.checked(self.validated_data)


class EntryChangeSerializer(EntryFieldsSerializer):
    """What is left out stays as it is."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "partial": True})

    def content(self, before: Content) -> Content:
        """Raises InvalidInput, also for a change of nothing."""
        if not self.validated_data:
            raise InvalidInput("Name at least one field that is to be changed.", field="body")
        return Content.checked({**before.as_json(), **self.validated_data})


class EntrySerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="external_id")
    answer_id = serializers.CharField()
    question = serializers.CharField()
    answer = serializers.CharField(help_text="Markdown.")
    tags = serializers.ListField(child=serializers.CharField())
    phrasings = serializers.SerializerMethodField(help_text="Other ways to ask the same.")
    test_phrasings = serializers.SerializerMethodField(help_text="Those that no model is trained on.")
    state = serializers.ChoiceField(choices=Entry.State.choices)
    version = serializers.IntegerField(help_text="One more with each change. Its `ETag` is the same in quotes.")
    created_at = serializers.DateTimeField()
    changed_at = serializers.DateTimeField()

    def get_phrasings(self, entry: Entry) -> list[str]:
        return list(Content.of(entry).phrasings)

    def get_test_phrasings(self, entry: Entry) -> list[str]:
        return list(Content.of(entry).test_phrasings)


class EntriesSerializer(PageSerializer):
    data = EntrySerializer(many=True)  # type: ignore[assignment]  # DRF has an attribute of that name


class EntryWishesSerializer(PageAskSerializer):
    q = serializers.CharField(required=False, max_length=200, help_text="Words that all are in it.")
    state = serializers.ChoiceField(
        choices=Entry.State.choices, required=False, help_text="Drafts are for editors with the scope `faq:write`."
    )
    tag = serializers.CharField(required=False, max_length=editing.LONGEST_TAG)
