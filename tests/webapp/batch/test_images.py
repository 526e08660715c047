"""Jobs of pictures: what travels to the pods, and what becomes of files that are no pictures."""

import io
import zipfile
from collections.abc import Mapping

import pytest
from PIL import Image

from tests.factories import picture
from tests.webapp.batch.conftest import after, principal, results
from webapp.batch import files, scoring, services, tasks, uploads
from webapp.batch.models import Chunk, Job
from webapp.batch.rows import Answer
from webapp.batch.services import Options
from webapp.errors import InvalidInput


def picture_of(width: int) -> bytes:
    return picture(width, 8).read()


@pytest.fixture
def create_of(owner):
    """Call it with files by their names; it returns the job of a zip of them, which waits to be validated."""

    def make(pictures: Mapping[str, bytes], **options: object) -> Job:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in pictures.items():
                archive.writestr(name, data)
        upload = uploads.store_stream([packed.getvalue()], "pictures.zip")
        return services.create(principal(owner), upload=upload, options=Options(**options))

    return make


def test_every_picture_is_classified_once_and_in_order(answering, create_of, work):
    pictures = {f"dogs/{number}.png": picture_of(number + 1) for number in range(70)}
    job = create_of(pictures, top_k=1)
    work()
    job = after(job)
    assert (job.state, job.kind, job.model, job.completed) == ("completed", "image", "resnet152", 70)
    found = results(job)
    assert [(row.row, row.name) for row in found] == list(enumerate(pictures))
    assert found[0].answers == [Answer("n02111889", "Samoyed", 0.9)]
    sent = [data for request in answering.inferences() for data in request.inputs[0].data]
    assert sorted(sent) == sorted(pictures.values())
    assert Chunk.objects.count() == 3


def test_few_pictures_are_in_memory_at_once(answering, create_of, work, monkeypatch):
    monkeypatch.setattr(scoring, "GROUP_BYTES", 200)
    create_of({f"{number}.png": picture_of(9) for number in range(8)})
    work()
    assert [len(request.inputs[0].data) for request in answering.inferences()] == [2] * 4


def test_of_the_first_pictures_small_copies_are_kept(answering, create_of, work):
    job = create_of({"dog.png": picture_of(300), "bad.png": b"\x89PNG\r\n\x1a\nbroken"})
    work()
    assert files.thumbnail(job, 0).is_file()
    assert not files.thumbnail(job, 1).exists()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_picture_of_which_no_small_copy_can_be_made_is_scored(answering, create_of, work, form):
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, form, exif=b"II*\0")  # it breaks off there
    job = create_of({"dog": data.getvalue()})
    work()
    assert (after(job).state, after(job).completed) == ("completed", 1)


def test_what_is_no_picture_fails_alone_and_never_reaches_a_pod(answering, create_of, work):
    job = create_of({"a.png": picture_of(8), "b.png": b"GIF8 is not a picture at all", "c.png": picture_of(9)})
    work()
    job = after(job)
    assert (job.state, job.completed, job.failed) == ("completed", 2, 1)
    assert [row.error.split(".")[0] for row in results(job)] == ["", "b", ""]
    assert sum(len(request.inputs[0].data) for request in answering.inferences()) == 2


def test_what_the_model_refuses_fails_alone(answering, create_of, work):
    answering.refused[picture_of(8)] = "it does not decode"
    job = create_of({"a.png": picture_of(8), "b.png": picture_of(9)})
    work()
    assert [row.error for row in results(after(job))] == ["It does not decode", ""]


def test_the_pictures_that_failed_are_tried_again_from_a_copy_of_their_own(answering, create_of, work, owner):
    answering.refused[picture_of(9)] = "it does not decode"
    job = create_of({"a.png": picture_of(8), "b.png": picture_of(9)})
    work()
    answering.refused.clear()
    again = services.retry_failed(after(job), principal(owner))
    tasks.validate()
    services.delete(after(job))
    work()
    assert (after(again).state, after(again).completed) == ("completed", 1)
    assert [(row.row, row.name) for row in results(again)] == [(0, "b.png")]


def test_a_retry_whose_batch_is_deleted_before_it_was_read_says_so(answering, create_of, work, owner):
    answering.refused[picture_of(8)] = "it does not decode"
    job = create_of({"a.png": picture_of(8), "b.png": picture_of(9)})
    work()
    again = services.retry_failed(after(job), principal(owner))
    services.delete(after(job))
    work()
    assert after(again).state == "failed"
    assert "has been deleted. Upload the file again" in after(again).reason


def test_pictures_are_not_asked_for_as_questions(answering, create_of):
    with pytest.raises(InvalidInput, match="are pictures") as refused:
        create_of({"a.png": picture_of(8)}, kind="faq")
    assert refused.value.field == "kind"
