"""What an editor says of a file of entries: how it is read, and which column holds what."""

from typing import Any

from django import forms

from webapp.errors import FilesError, InvalidInput
from webapp.faq.imports import files, reading
from webapp.faq.imports.columns import FIELDS, LABELS
from webapp.faq.imports.reading import Reading
from webapp.faq.models import Entry, Import
from webapp.tables.choices import DELIMITERS, ENCODINGS, SAME, DelimiterField

HEADERS = {"yes": "Names of the columns", "no": "The first entry"}
NEW_STATES = {Entry.State.LIVE: "Everybody: live", Entry.State.DRAFT: "Editors only: drafts"}
FORMATS = {"csv": "CSV", "tsv": "TSV", "xlsx": "Excel workbook", "jsonl": "JSON lines"}
OF_COMMANDS = {"stackexchange": "Stack Exchange dump", "reference": "Three TSV files of the reference"}
NOT_IN_IT = "– not in the file –"


class ReadingForm(forms.Form):
    """How the upload is read. What its format does not have is no field."""

    encoding = forms.ChoiceField(label="Characters", choices=list(ENCODINGS.items()))
    delimiter = DelimiterField(label="Cells end at", choices=list(DELIMITERS.items()), required=False)
    header = forms.ChoiceField(label="First row", choices=list(HEADERS.items()))
    new_state = forms.ChoiceField(label="Who sees new entries", choices=list(NEW_STATES.items()))

    def __init__(self, which: Import, data: Any = None) -> None:
        self.which = which
        self.reading = now = Reading.of(which.reading)
        initial = {
            "encoding": SAME.get(now.encoding, now.encoding),
            "delimiter": now.delimiter,
            "header": "yes" if now.header else "no",
            "new_state": which.new_state,
        }
        places = {name: str(number) for number, name in enumerate(now.columns)}
        initial |= {f"column_{name}": places.get(now.chosen.get(name, ""), "") for name in FIELDS}
        super().__init__(data, initial=initial)
        choices = [("", NOT_IN_IT), *((str(number), name) for number, name in enumerate(now.columns))]
        for name in FIELDS:
            self.fields[f"column_{name}"] = forms.ChoiceField(label=LABELS[name], choices=choices, required=False)
        unused = {"csv": set(), "tsv": set(), "xlsx": {"encoding", "delimiter"}}.get(
            now.format, {"delimiter", "header"}
        )
        for name in unused:
            del self.fields[name]

    @property
    def of_columns(self) -> list[forms.BoundField]:
        return [self[f"column_{name}"] for name in FIELDS]

    @property
    def of_the_file(self) -> list[forms.BoundField]:
        return [self[name] for name in ("encoding", "delimiter", "header", "new_state") if name in self.fields]

    @property
    def asked(self) -> Reading:
        """How it is to be read. Of a valid form. Where cells or names are others, columns are guessed anew.

        Raises InvalidInput.
        """
        values = self.cleaned_data
        if changed := {"encoding", "delimiter", "header"} & set(self.changed_data):
            otherwise: dict[str, Any] = {
                "encoding": values.get("encoding") if "encoding" in changed else self.reading.encoding or None,
                "delimiter": values.get("delimiter") if "delimiter" in self.fields else None,
                "header": values["header"] == "yes" if "header" in self.fields else None,
            }
            with files.disk_errors():
                return reading.detect(files.upload_of(self.which), self.which.name, **otherwise)
        chosen = {name: self.reading.columns[int(place)] for name in FIELDS if (place := values[f"column_{name}"])}
        how = Reading(**{**{each: getattr(self.reading, each) for each in Reading.__struct_fields__}, "chosen": chosen})
        reading.require_question(how)
        return how

    def save(self) -> Reading | None:
        """How it is to be read, or None where that cannot be; then the form says why. Of a valid form."""
        try:
            return self.asked
        except (InvalidInput, FilesError) as error:
            name = f"column_{error.field}"
            self.add_error(name if name in self.fields else None, error.detail)
            return None


def described(which: Import) -> str:
    """In words how it is read: "CSV, UTF-8, cells end at a comma"."""
    how = Reading.of(which.reading)
    said = [{**FORMATS, **OF_COMMANDS}[how.format]]
    if how.encoding:
        said.append(ENCODINGS.get(SAME.get(how.encoding, how.encoding), how.encoding))
    if how.format == "csv":
        said.append(
            f"{DELIMITERS.get(how.delimiter, how.delimiter).lower()} between cells" if how.delimiter else "one column"
        )
    if how.sheet:
        said.append(f"sheet “{how.sheet}”")
    if how.format != "jsonl" and not how.header:
        said.append("no header")
    return ", ".join(said)
