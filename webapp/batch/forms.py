"""What a person says of an upload before it is started: how to read it, and what to do with its rows."""

from typing import Any

from django import forms

from webapp.batch.models import Job
from webapp.batch.reading import Reading
from webapp.batch.services import LONGEST_NAME, MOST_TOP_K, Options
from webapp.errors import ScoringUnavailable
from webapp.faq.queries import visible_to
from webapp.images.queries import image_models
from webapp.registry.models import ScoringModel
from webapp.registry.queries import pinnable
from webapp.tables.choices import DELIMITERS, ENCODINGS, SAME, DelimiterField

FORMATS = {"csv": "Table", "txt": "Text, a question a line", "jsonl": "JSON lines"}
HEADERS = {"yes": "Names of the columns", "no": "The first question"}
NO_MODEL = "There is no model for pictures right now. Its pods are starting or gone; try again in a moment."


class ReadingForm(forms.Form):
    """How the upload is read. What its format does not have is no field."""

    format = forms.ChoiceField(label="What it is", choices=list(FORMATS.items()))
    encoding = forms.ChoiceField(label="Characters", choices=list(ENCODINGS.items()))
    delimiter = DelimiterField(label="Cells end at", choices=list(DELIMITERS.items()), required=False)
    header = forms.ChoiceField(label="First row", choices=list(HEADERS.items()))

    def __init__(self, reading: Reading, data: Any = None) -> None:
        self.reading = reading
        now = {
            "format": "csv" if reading.format == "tsv" else reading.format,
            "encoding": SAME.get(reading.encoding, reading.encoding),
            "delimiter": reading.delimiter,
            "header": "yes" if reading.header else "no",
        }
        super().__init__(data, initial=now)
        for name in self.fields.keys() - _changeable(reading.format):
            del self.fields[name]

    @property
    def again(self) -> dict[str, Any]:
        """What is to be read otherwise than now, as services.read_again takes it; {} for nothing. Of a valid form."""
        changed = {name: self.cleaned_data[name] for name in self.changed_data}
        if "format" in changed:  # of another format nobody has said yet where cells end
            return {name: changed[name] for name in ("format", "encoding") if name in changed}
        if "header" in changed:
            changed["header"] = changed["header"] == "yes"
        return changed


def _changeable(file_format: str) -> set[str]:
    if file_format in {"csv", "tsv"}:
        return {"format", "encoding", "delimiter", "header"}
    return {"xlsx": {"header"}, "zip": set()}.get(file_format, {"format", "encoding"})


class OptionsForm(forms.Form):
    """What to do with the rows. A field with one choice only is not asked."""

    name = forms.CharField(
        label="Name", max_length=LONGEST_NAME, help_text="For you, in the list of batches.", required=False
    )
    column = forms.ChoiceField(
        label="Column of the questions", error_messages={"required": "Choose the column that holds the questions."}
    )
    collection = forms.ChoiceField(error_messages={"required": "There is no FAQ collection on this site yet."})
    model = forms.ChoiceField(error_messages={"required": NO_MODEL})
    version = forms.ChoiceField(required=False)
    top_k = forms.IntegerField(
        label="Answers for each",
        min_value=1,
        max_value=MOST_TOP_K,
        help_text=f"The most probable first; 1 to {MOST_TOP_K}.",
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )

    def __init__(self, job: Job, reading: Reading, data: Any = None) -> None:
        """data: what was sent; a column or version that is no longer offered is as if nobody had chosen."""
        self.reading = reading
        super().__init__(data.copy() if data else None, initial={"name": job.name, "top_k": 5})
        columns = [(str(number), name) for number, name in enumerate(reading.columns)]
        if columns:
            self._offer("column", columns, chosen=next((n for n, name in columns if name == reading.question), ""))
        else:
            del self.fields["column"]
        if job.kind == Job.Kind.FAQ:
            del self.fields["model"]
            found = visible_to(job.owner)
            models = {each.slug: each.model_name for each in found}
            slug = self._offer("collection", [(each.slug, each.name) for each in found], chosen=next(iter(models), ""))
            model = models.get(slug, "")
        else:
            del self.fields["collection"]
            offered = image_choices()
            model = self._offer("model", offered, chosen=offered[0][0] if offered else "")
        versions = pinnable(model)
        serving = f"Whichever serves (now {versions[0]})" if versions else "Whichever serves"
        pinned = [(name, f"Version {name}") for name in versions]
        self._offer("version", [("", serving), *pinned], chosen="")

    def _offer(self, name: str, choices: list[tuple[str, str]], *, chosen: str) -> str:
        """Gives a field its choices; the value that it has."""
        field: Any = self.fields[name]
        field.choices = choices
        self.initial[name] = chosen
        if not self.is_bound:
            return chosen
        sent: Any = self.data  # a copy that may be changed
        if sent.get(name) not in dict(choices):
            sent[name] = chosen
        return str(sent[name])

    @property
    def chosen_column(self) -> int | None:
        """The place of the column that holds the questions, from 0; None where there are no columns."""
        value = self["column"].value() if "column" in self.fields else None
        return int(value) if value else None

    def options(self) -> Options:
        """Of a valid form."""
        values = self.cleaned_data
        return Options(
            collection=values.get("collection", ""),
            model=values.get("model", ""),
            version=values["version"],
            top_k=values["top_k"],
            column=self.reading.columns[int(values["column"])] if "column" in values else "",
        )


def image_choices() -> list[tuple[str, str]]:
    """Name and title of the models for pictures, the one to offer first at the front.

    While no pod answers they are those that have served before.
    """
    try:
        return [(model.name, model.title) for model in image_models()]
    except ScoringUnavailable:
        known = ScoringModel.objects.filter(kind=ScoringModel.Kind.IMAGE, versions__role="champion")
        return [(model.name, model.label) for model in known.order_by("name").distinct()]
