"""HTML as people write posts in it, as the Markdown that answers are kept in.

What has no Markdown keeps its text. Nothing in it is fetched, and nothing of it can become HTML again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

DEEPEST = 30  # elements within each other; what lies deeper is laid out flat
NO_END = {"br", "hr", "img", "input", "meta", "link", "source", "wbr", "col"}
UNSEEN = {"script", "style", "template"}
BLOCKS = {
    *("p", "div", "pre", "blockquote", "ul", "ol", "li", "hr", "table", "tr", "section", "details", "summary", "dl"),
    *("dt", "dd", "h1", "h2", "h3", "h4", "h5", "h6"),
}
MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "s": "~~", "del": "~~", "strike": "~~"}
# What would be Markdown in a text: anywhere, an underscore at the edge of a word, and at the beginning of a line.
SPECIAL = re.compile(r"([\\`*\[\]<~|]|&(?=#?\w+;)|(?<!\w)_|_(?!\w))")
AT_START = re.compile(r"^(\s*)(#{1,6}(?=\s|$)|>|[-+=](?=\s|$|[-=])|\d{1,9}(?=[.)](?:\s|$)))", re.MULTILINE)


@dataclass
class Node:
    """An element, with texts and elements in it."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    inside: list["Node | str"] = field(default_factory=list)


class _Tree(HTMLParser):
    """Builds the tree of a text whose tags may be closed in any way, or not at all."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("div")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        if tag in {"p", "li"}:  # begun again, it ends the one before
            self._close_within(tag, {"ul", "ol", "blockquote", "div"})
        self._open[-1].inside.append(node)
        if tag not in NO_END and len(self._open) < DEEPEST:
            self._open.append(node)

    def handle_endtag(self, tag: str) -> None:
        self._close_within(tag, set())

    def _close_within(self, tag: str, borders: set[str]) -> None:
        for place in range(len(self._open) - 1, 0, -1):
            if self._open[place].tag == tag:
                del self._open[place:]
                return
            if self._open[place].tag in borders:
                return

    def handle_data(self, data: str) -> None:
        self._open[-1].inside.append(data)


def from_html(html: str) -> str:
    """The HTML as Markdown."""
    return re.sub(r"\n{3,}", "\n\n", _blocks(_tree(html).inside)).strip()


def plain(html: str) -> str:
    """The words of it alone, in one line, without blocks of code."""
    return " ".join(_words(_tree(html)).split())


def _tree(html: str) -> Node:
    parser = _Tree()
    parser.feed(html)
    parser.close()
    return parser.root


def _words(node: Node) -> str:
    if node.tag in UNSEEN or node.tag == "pre":
        return " "
    inside = "".join(each if isinstance(each, str) else _words(each) for each in node.inside)
    return f" {inside} " if node.tag in BLOCKS or node.tag == "br" else inside


# Blocks ---------------------------------------------------------------------------------------------------------------


def _blocks(nodes: Sequence[Node | str]) -> str:
    """Blocks with empty lines between; what stands between them becomes paragraphs."""
    blocks: list[str] = []
    line: list[Node | str] = []

    def end_line() -> None:
        if text := _paragraph(line):
            blocks.append(text)
        line.clear()

    for node in nodes:
        if isinstance(node, str) or not _holds_blocks(node):
            line.append(node)
        else:
            end_line()
            if block := _block(node):
                blocks.append(block)
    end_line()
    return "\n\n".join(blocks)


def _holds_blocks(node: Node) -> bool:
    return node.tag in BLOCKS or any(isinstance(each, Node) and _holds_blocks(each) for each in node.inside)


def _block(node: Node) -> str:
    match node.tag:
        case "pre":
            return _code_block(node)
        case "blockquote":
            return _prefixed(_blocks(node.inside), "> ", "> ")
        case "ul" | "ol":
            return _list(node)
        case "hr":
            return "---"
        case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
            text = " ".join(_paragraph(node.inside).split())
            return f"{'#' * int(node.tag[1])} {text}" if text else ""
    return "" if node.tag in UNSEEN else _blocks(node.inside)


def _paragraph(nodes: Sequence[Node | str]) -> str:
    text = "".join(map(_inline, nodes))
    lines = [line.strip() for line in re.sub(r"[ \t\r\f\v]*\n[ \t\r\f\v]*", "\n", text).strip().split("\n")]
    joined = "\n".join(line for line in lines if line)
    return AT_START.sub(lambda found: f"{found[1]}{_guarded(found[2])}", joined)


def _guarded(begin: str) -> str:
    """Not the beginning of a heading, quotation or list any more; of a number the backslash stands before its dot."""
    return f"{begin}\\" if begin[0].isdigit() else f"\\{begin}"


def _list(node: Node) -> str:
    items = [each for each in node.inside if isinstance(each, Node) and each.tag not in UNSEEN]
    lines = []
    for number, item in enumerate(items, start=1):
        begin = f"{number}. " if node.tag == "ol" else "- "
        lines.append(_prefixed(_blocks(item.inside if item.tag == "li" else [item]), begin, " " * len(begin)))
    return "\n".join(lines)


def _prefixed(text: str, first: str, others: str) -> str:
    lines = text.split("\n")
    return "\n".join(
        (first if number == 0 else others) + line if line or number == 0 else others.rstrip()
        for number, line in enumerate(lines)
    )


def _code_block(node: Node) -> str:
    text = _raw(node).strip("\n")
    language = re.search(r"\blang(?:uage)?-(\w+)", " ".join(_classes(node)))
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language[1] if language else ''}\n{text}\n{fence}"


def _classes(node: Node) -> list[str]:
    found = [node.attributes.get("class", "")]
    for each in node.inside:
        if isinstance(each, Node):
            found += _classes(each)
    return found


def _raw(node: Node) -> str:
    return "".join(each if isinstance(each, str) else "\n" if each.tag == "br" else _raw(each) for each in node.inside)


# Texts ----------------------------------------------------------------------------------------------------------------


def _inline(node: Node | str) -> str:
    if isinstance(node, str):
        return SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", node))
    if node.tag in UNSEEN:
        return ""
    if node.tag == "br":
        return "\\\n"
    if node.tag in {"code", "kbd", "tt"}:
        return _code(_raw(node))
    if node.tag == "img":
        return _link(SPECIAL.sub(r"\\\1", node.attributes.get("alt", "")) or "image", node.attributes.get("src", ""))
    inside = "".join(map(_inline, node.inside))
    if node.tag == "a":
        return _link(inside, node.attributes.get("href", ""))
    mark = MARKS.get(node.tag, "")
    text = inside.strip()
    if not mark or not text or "\n" in text:
        return inside
    before, after = inside[: len(inside) - len(inside.lstrip())], inside[len(inside.rstrip()) :]
    return f"{before}{mark}{text}{mark}{after}"


def _code(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        return ""
    fence = "`" * (max(map(len, re.findall(r"`+", text)), default=0) + 1)
    space = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"


def _link(text: str, address: str) -> str:
    """A link to the web; of any other address only the text."""
    address = address.strip()
    if not re.match(r"https?://|mailto:", address, re.IGNORECASE) or not text.strip():
        return text
    address = re.sub(r"[\s<>]", "", address).replace("\\", "%5C")
    return f"[{text}](<{address}>)" if re.search(r"[()]", address) else f"[{text}]({address})"
