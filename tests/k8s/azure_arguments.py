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


def problems(line: str) -> Iterator[str]:
    """What az's parser says of the command; nothing where it takes it."""
    words = shlex.split(line)[1:]
    cli = get_default_cli()
    invocation = cli.invocation_cls(
        cli_ctx=cli, parser_cls=cli.parser_cls, commands_loader_cls=cli.commands_loader_cls, help_cls=cli.help_cls
    )
    cli.invocation = invocation
    loader = invocation.commands_loader
    loader.load_command_table(words)
    command = invocation._rudimentary_get_command(words)  # the parser's own way to find it
    if command not in loader.command_table:
        yield f"there is no command {' '.join(words[:4])}"
        return
    cli.data["command_string"] = command
    loader.command_table = {command: loader.command_table[command]}
    loader.load_arguments(command)
    invocation.parser.load_command_table(loader)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            invocation.parser.parse_args(words)
    except SystemExit:
        yield " ".join(said.getvalue().split()) or "refused"
    except Exception as error:  # noqa: BLE001  # theirs, of many kinds
        yield f"{type(error).__name__}: {error}"


def main() -> int:
    lines = [line.strip() for line in sys.stdin if re.match(r"az\s", line)]
    checked = dict.fromkeys(lines)
    refused = 0
    for line in checked:
        for said in problems(line):
            refused += 1
            print(f"{line}\n    {said}")  # noqa: T201
    print(f"{len(checked)} commands, {refused} refused")  # noqa: T201
    return 1 if refused or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
