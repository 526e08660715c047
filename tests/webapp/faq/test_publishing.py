"""From the editor's button to what visitors get: trained in a process of its own, checked and served by a real pod."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, make_key, make_user
from tests.pods import Pod, start_pod
from tests.webapp.answers import assert_problem
from tests.webapp.connections import site_with
from tests.worker import run_waiting_tasks
from webapp.faq import changes, editing, publishing
from webapp.faq.editing import Content
from webapp.faq.models import Collection, Entry, Publication
from webapp.registry.models import Rollout, Version

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/faq/javascript/publish/"
State = Publication.State
MOST_LOOKS = 50


@pytest.fixture(scope="module")
def pod(tmp_path_factory) -> Iterator[Pod]:
    """A pod that all tests of this file share; each has a model of its own."""
    store = tmp_path_factory.mktemp("a store") / "models"
    store.mkdir()
    with start_pod(store, "cpu", ready=False) as pod:
        yield pod


@pytest.fixture(autouse=True)
def store(settings, pod) -> Iterator[Path]:
    with site_with(pod, settings) as store:
        yield store


@pytest.fixture
def collection(owner, request) -> Collection:
    """Empty, with the owner as its editor."""
    name = f"faq-{abs(hash(request.node.name)) % 10**8}"
    collection = Collection.objects.create(slug="javascript", name="JavaScript", model_name=name, is_default=True)
    collection.editors.add(owner)
    return collection


@pytest.fixture
def editor(owner_client, collection) -> Client:
    return owner_client


def write(collection: Collection, name: str, question: str, **fields) -> Entry:
    content = Content.checked({"question": question, "answer": f"Answer to {name}.", **fields})
    return editing.create(collection, content, by=None, external_id=name)


def rewrite(entry: Entry, **fields) -> None:
    content = Content.of(Entry.objects.get(pk=entry.pk))
    editing.change(entry, Content.checked({**content.as_json(), **fields}), by=None, version=None)


def publish(editor: Client) -> Publication:
    """Presses the button and has all the work done; the publication as it then is."""
    assert editor.post(PAGE, {"do": "start"})["Location"] == PAGE
    return followed()


def followed() -> Publication:
    for _ in range(MOST_LOOKS):
        run_waiting_tasks()
        publishing.follow_all()
        publication = Publication.objects.first()
        if publication.state in {State.DONE, State.FAILED, State.ASKING, State.DROPPED}:
            break
    return publication


@contextmanager
def asking(question: str) -> Iterator[list[int]]:
    """Somebody asks again and again meanwhile; the list is of the statuses of the answers."""
    statuses: list[int] = []
    over = threading.Event()
    person = make_user("asking@example.com")
    key = make_key(person)

    def ask() -> None:
        while not over.is_set():
            answer = Client().post(
                "/api/v1/faq/match", {"question": question}, content_type="application/json", headers=bearer(key)
            )
            statuses.append(answer.status_code)
            over.wait(0.1)
        connections.close_all()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join()


def best(client: Client, question: str) -> tuple[str, float, str]:
    """Id, probability and version of the first match on the search page."""
    outcome = client.get("/faq/javascript/", {"q": question}).context["outcome"]
    return outcome.scored[0].id, outcome.scored[0].probability, outcome.version


def test_the_page_is_sent_again_only_when_it_has_changed(editor, collection):
    write(collection, "copy", "How do I copy an array?")
    editor.post(PAGE, {"do": "start"})
    part = editor.get(PAGE, headers={"HX-Request": "true"})
    seen = re.search(r"\?seen=(\w+)", part.text)[1]
    assert editor.get(PAGE, {"seen": seen}, headers={"HX-Request": "true"}).status_code == 204
    Publication.objects.update(detail="Reads the entries.")
    assert editor.get(PAGE, {"seen": seen}, headers={"HX-Request": "true"}).status_code == 200


def test_one_entry_without_phrasings_is_published_and_not_measured(editor, collection):
    write(collection, "copy", "How do I copy an array?")
    assert "Not published yet" in editor.get(PAGE).text
    assert publish(editor).state == State.DONE
    assert best(editor, "How do I copy an array?")[::2] == ("copy", "1")
    page = editor.get(PAGE).text
    assert "Everything is published" in page
    assert "not measured" in page
    write(collection, "odd", "???")
    failed = publish(editor)
    assert failed.state == State.FAILED
    assert failed.problem.startswith("The entry 'odd' (“???”) cannot be trained on: no letter")
    assert "The last publication failed" in editor.get(PAGE).text
    assert best(editor, "How do I copy an array?")[::2] == ("copy", "1")
    assert list(Version.objects.values_list("name", flat=True)) == ["1"]


def test_what_was_edited_is_found_after_publishing_and_the_page_says_what_there_is_to_publish(editor, collection):
    kept = write(collection, "copy", "How do I copy an array?")
    gone = write(collection, "sort", "How do I sort a list of numbers?")
    write(collection, "loop", "What is a loop?")
    assert publish(editor).state == State.DONE
    write(collection, "close", "How do I close a window?")
    rewrite(kept, phrasings=["duplicate a sequence"])
    editing.delete(gone, by=None, version=None)
    found = changes.changes_of(collection)
    assert (found.new, found.changed, found.removed, found.worded) == (1, 1, 1, 0)
    assert "3 entries to publish" in editor.get(PAGE).text
    before = best(editor, "close the window")
    with asking("How do I copy an array?") as statuses:
        publication = publish(editor)
    assert len(statuses) > 5
    assert set(statuses) == {200}
    assert publication.state == State.DONE
    assert publication.changes == {"new": 1, "changed": 1, "removed": 1, "worded": 0}
    after = best(editor, "close the window")
    assert (before[0], after[0], after[2]) != ("close", "close", "1")
    assert after[0] == "close"
    assert after[1] > before[1]
    assert best(editor, "duplicate a sequence")[0] == "copy"
    assert changes.changes_of(collection).count == 0
    rewrite(kept, answer="Use `slice`.", tags=["arrays"])
    found = changes.changes_of(collection)
    assert (found.count, found.worded) == (0, 1)
    assert "Visitors see these already" in editor.get(PAGE).text


def test_what_is_worse_is_asked_about_with_both_side_by_side(editor, collection):
    write(collection, "copy", "How do I copy an array?", test_phrasings=["copying arrays"])
    for word in ("sort", "loop", "close", "open"):
        write(collection, word, f"How do I {word} it?", test_phrasings=[f"what does it need to {word} it"])
    assert publish(editor).state == State.DONE
    serving = best(editor, "copying arrays")
    rewrite(Entry.objects.get(external_id="open"), question="Copying arrays now?")
    asked = publish(editor)
    assert asked.state == State.ASKING
    page = editor.get(PAGE).text
    assert "The new version is worse than the one that serves" in page
    assert "Accuracy@1 is 80" in asked.problem
    assert "copying arrays" in page
    assert best(editor, "copying arrays") == serving
    again = editor.post(PAGE, {"do": "promote", "publication": asked.pk, "reason": " "})
    assert again.status_code == 422
    assert "Say in a few words why" in again.text
    assert editor.post(PAGE, {"do": "drop", "publication": asked.pk}).status_code == 302
    assert Publication.objects.first().state == State.DROPPED
    assert best(editor, "copying arrays") == serving
    asked = publish(editor)
    assert editor.post(PAGE, {"do": "promote", "publication": asked.pk, "reason": "It is asked so."}).status_code == 302
    assert followed().state == State.DONE
    assert best(editor, "copying arrays")[::2] == ("open", "3")
    assert Rollout.objects.first().reason == "It is asked so."


def test_one_at_a_time_and_what_is_stopped_is_not_trained(editor, collection):
    assert "no live entry" in editor.post(PAGE, {"do": "start"}).text
    write(collection, "copy", "How do I copy an array?")
    assert editor.post(PAGE, {"do": "start"}).status_code == 302
    assert "being published already" in editor.post(PAGE, {"do": "start"}).text
    publication = Publication.objects.get()
    assert "Waits for a trainer" in editor.get(PAGE).text
    assert editor.post(PAGE, {"do": "drop", "publication": publication.pk}).status_code == 302
    assert followed().state == State.DROPPED
    assert "cannot be stopped any more" in editor.post(PAGE, {"do": "drop", "publication": publication.pk}).text
    assert not Version.objects.exists()


def test_a_trainer_that_fell_silent_is_replaced_and_in_the_end_given_up(editor, collection):
    write(collection, "copy", "How do I copy an array?")
    editor.post(PAGE, {"do": "start"})
    long_ago = timezone.now() - timedelta(hours=1)
    lost = Publication.objects.get().token
    Publication.objects.update(state=State.TRAINING, attempts=1, heartbeat_at=long_ago)
    publishing.follow_all()
    assert Publication.objects.get().token != lost
    Publication.objects.update(attempts=3, heartbeat_at=long_ago)
    publishing.follow_all()
    publication = Publication.objects.get()
    assert publication.state == State.FAILED
    assert "ended 3 times" in publication.problem


def test_only_editors_of_the_collection_may_publish(client, collection):
    write(collection, "copy", "How do I copy an array?")
    assert "/accounts/login/" in client.post(PAGE, {"do": "start"})["Location"]
    other = Collection.objects.create(slug="other", name="Other", model_name="faq-other")
    reader = make_user("reader@example.com")
    other.editors.add(reader)
    client.force_login(reader)
    assert client.get(PAGE).status_code == 404
    assert client.post(PAGE, {"do": "start"}).status_code == 404
    assert client.get("/faq/other/publish/").status_code == 200
    assert not Publication.objects.exists()


def test_a_program_publishes_with_the_scope_and_asks_how_far_it_is(client, collection, owner):
    address = "/api/v1/faq/collections/javascript/publish"
    write(collection, "copy", "How do I copy an array?")
    writer, reader = make_key(owner, "faq:write"), make_key(owner, "faq:read", name="Reader")
    assert client.post(address, headers=bearer(reader)).status_code == 403
    assert (
        client.post(address, headers=bearer(make_key(make_user("other@example.com"), "faq:write"))).status_code == 403
    )
    told = client.get(address, headers=bearer(writer)).json()
    assert told == {"changes": {"new": 1, "changed": 0, "removed": 0, "worded": 0}, "publication": None}
    begun = client.post(address, headers=bearer(writer))
    assert begun.status_code == 202
    assert begun.json()["publication"]["state"] == "waiting"
    assert_problem(client.post(address, headers=bearer(writer)), 409, "conflict")
    assert client.get(address, headers=bearer(writer)).json()["publication"]["started_by"] == "owner@example.com"
