"""The command line: `python -m scoring_service COMMAND`. Each command is a module of scoring_service.commands."""

import argparse
import os
import sys
from importlib import import_module

from scoring_service.errors import ServiceError

COMMANDS = {
    "serve": "run a pod: answer requests for the models of the store",
    "index": "list the models and versions of the store",
    "score": "score one question or picture, without a server",
    "train-faq": "train a FAQ matcher and put it into the store",
    "evaluate-faq": "measure a stored FAQ matcher on questions with known answers",
    "train-digits": "train the sample classifier of handwritten digits",
    "add-model": "put a model's file into the store: ONNX, skops, PyTorch, Keras, or a scoring script",
    "pack": "copy a version into a store of its own, to bake into an image",
    "fetch-weights": "get ImageNet weights and put them into the store",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m scoring_service", description="Serve, train and evaluate models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in arguments if word in COMMANDS), None)
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text.capitalize() + ".")
        if name == chosen:  # the others' modules need libraries that this pod may not have
            module = import_module(f"scoring_service.commands.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (ServiceError, OSError, ValueError) as error:
        sys.stderr.write(f"{options.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    # Before torch is imported, which reads it once: its threads then sleep while they wait for one another. By default
    # they spin, and where other processes want the CPUs as well, that makes everything several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main(sys.argv[1:]))
