"""Hands each line `az …` of standard input to the real az's own parser, and says what it would refuse.

Run by the Python of an environment that has azure-cli: `make check-azure`. Nothing is sent anywhere: a command is
parsed, argument by argument, and not run. Prints what is refused; exit status 1 when something is, or there is no line.
"""

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator

from azure.cli.core import get_default_cli
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS


class Parsed(Exception):
    """az has taken all arguments; it goes no further."""


def stop(*_args: object, **_options: object) -> None:
    raise Parsed


def problems(line: str) -> Iterator[str]:
    """What az says of the command before it would run it; nothing where it takes it."""
    # Files that hold secrets are read before anything is parsed, and are gone by now.
    words = ["{}" if word.startswith("@") else word for word in shlex.split(line)[1:]]
    cli = get_default_cli()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
    cli.invocation = cli.invocation_cls(
        cli_ctx=cli, parser_cls=cli.parser_cls, commands_loader_cls=cli.commands_loader_cls, help_cls=cli.help_cls
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            cli.invocation.execute(words)
    except Parsed:
        return
    except SystemExit:
        pass
    except Exception as error:  # noqa: BLE001  # theirs, of many kinds
        said.write(f"{type(error).__name__}: {error}")
    yield " ".join(said.getvalue().split()) or "az stopped without a word"


def main() -> int:
    lines = [line.strip() for line in sys.stdin if re.match(r"az\s", line)]
    checked = dict.fromkeys(lines)
    refused = 0
    for line in checked:
        for said in problems(line):
            refused += 1
            print(f"{line}\n    {said}")
    print(f"{len(checked)} commands, {refused} refused")
    return 1 if refused or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
