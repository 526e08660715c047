"""What a browser sends to the pages of batches, and what these say."""

import html
import re

from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from webapp.batch.models import Job

LIST, NEW = "/batches/", "/batches/new"
NOBODYS = "6b1c6d0e-9f0f-4f53-9a55-8d0c9c1f1b8a"  # no batch has this id
PART = {"X-Requested-With": "fetch"}
TICKETS = "Ticket;Frage;question\n1;Wie?;How do I copy an array?\n2;Was?;What is a closure?\n3;;\n"


def sent(text: str = TICKETS, name: str = "tickets.csv", encoding: str = "utf-8") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode(encoding))


def page(job: Job, name: str = "batch") -> str:
    return reverse(f"batch:{name}", args=[job.pk])


def words(answer) -> str:
    """What the page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.content.decode())).split())


def options(**changed: object) -> dict[str, object]:
    """What the form of the preview sends."""
    read = {"format": "csv", "encoding": "utf-8", "delimiter": ";", "header": "yes"}
    return {
        **read,
        "name": "Tickets",
        "column": "2",
        "collection": "javascript",
        "version": "",
        "top_k": "3",
        **changed,
    }
