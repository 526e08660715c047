"""XML in pieces through expat: without document types, so without entities, and with a bound on what could grow."""

from collections.abc import Iterable, Iterator
from xml.parsers import expat

from webapp.registry.zips import Damaged

MAX_DEPTH = 100  # of tags within tags
QUIET = 4_000_000  # bytes in which a tag must end


class Listener:
    """What hears the events of a part. events: how many there have been, by which one sees that it goes on."""

    def __init__(self) -> None:
        self.events = 0
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.events += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Damaged(f"it has more than {MAX_DEPTH} tags within each other")
        self.opens(tag.rpartition(" ")[2], attributes)

    def end(self, tag: str) -> None:
        self.events += 1
        self._depth -= 1
        self.closes(tag.rpartition(" ")[2])

    def data(self, data: str) -> None:
        self.events += 1
        self.says(data)

    def opens(self, tag: str, attributes: dict[str, str]) -> None:
        """A tag, without its namespace."""

    def closes(self, tag: str) -> None:
        """Its end."""

    def says(self, data: str) -> None:
        """Text between tags, maybe in several pieces."""


def heard(listener: Listener, pieces: Iterable[bytes], name: str) -> Iterator[None]:
    """Lets the listener hear the XML, piece by piece. name: what messages call it. Raises Damaged."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler, parser.EndElementHandler = listener.start, listener.end
    parser.CharacterDataHandler = listener.data
    before, quiet = 0, 0
    try:
        for piece in pieces:
            parser.Parse(piece, False)
            quiet = 0 if listener.events != before else quiet + len(piece)
            before = listener.events
            if quiet > QUIET:
                raise Damaged(f"a tag in {name} does not end")
            yield
        parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: of an encoding that nobody knows
        raise Damaged(f"{name}: {error}") from error
    yield


def _refuse_doctype(*_declared: object) -> None:
    raise Damaged("it declares a document type, which none of these files does")
