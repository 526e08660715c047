"""Our pods beside other servers, in one run: the same models, the same questions and pictures, one machine.

    python -m bench.peers [--home DIR] [--only faq,image] [--servers fastapi,litserve] [--seconds 10] [--json FILE]

`faq`: the ten most similar of 2,000 generated questions, by TF-IDF. `image`: ResNet-152 with random weights on a JPEG
of 640×480, three classes. Each server starts afresh; how long until its first right answer is its cold start. Then its
answers are compared with the model's own, and then so many connections ask, each again as soon as it is answered.
DIR holds an environment for each peer (README.md beside this file says how to make them); those that are not there are
left out, all of them without --home. Questions are asked by wrk where it is installed, otherwise by our own client,
which takes more of the machine they share; pictures always by our own, for wrk drops what is under way when time is up,
and pictures are few. --quick: some minutes, less of each, for a look whether all of it works.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx

from bench import pods, wrk
from bench.client import as_sent, closed_loop, percentile
from bench.peers import loop, workloads
from bench.peers.servers import CPUS, HERE, PEERS, Asked, Best, Place, Server, Way, ours, prepare
from bench.workloads import pictures

CONNECTIONS = {"faq": (1, 8, 32), "image": (1, 8)}
LOOPS = {"faq": sorted({1, CPUS}), "image": [1]}  # processes; torch uses all CPUs in one
TIMES = {"faq": 1, "image": 2}  # as long: there are fewer to count
SERVERS = ["scorepod", *(peer.__name__ for peer in PEERS), "loop"]
WARM_UP = 2  # seconds
PATIENCE = 120  # seconds until a server must have given a right answer
TOLERANCE = 1e-3  # of a score: other orders of adding up
UNITS = {"faq": "questions/s", "image": "images/s"}


@dataclass(frozen=True)
class Plan:
    """How much is measured. seconds: of load. starts: of which the fastest counts."""

    seconds: int
    warm_up: int
    starts: int
    most_only: bool  # only the highest number of connections

    def connections(self, workload: str) -> Sequence[int]:
        return CONNECTIONS[workload][-1:] if self.most_only else CONNECTIONS[workload]


@dataclass(frozen=True)
class Questions:
    """What is asked of each server, and the model's own answers."""

    workload: str
    inputs: list[Any]
    answers: list[list[tuple[int, float]]]

    def right(self, number: int, found: Best, *, exact: bool) -> bool:
        places, scores = found
        expected = self.answers[number]
        if not exact:
            return bool(places) and places[0] == expected[0][0]
        return places == [place for place, _ in expected] and all(
            abs(score - own) < TOLERANCE for score, (_, own) in zip(scores, expected, strict=True)
        )


def main() -> None:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server that runs is ended
    plan = (
        Plan(2, 1, 1, True)
        if options.quick
        else Plan(options.seconds, min(WARM_UP, options.seconds // 2), options.starts, False)
    )
    figures: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="scorepod-peers-") as folder:
            for workload in options.only:
                measure(workload, Path(folder) / workload, options, plan, figures)
    finally:  # what there is when somebody stops it
        if options.json:
            about = {"cpus": CPUS, "python": platform.python_version(), "load": "wrk" if wrk.installed() else "own"}
            pods.write_json(options.json, {**about, "seconds": plan.seconds, "figures": figures})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="the folder with the peers' environments (default: no peers)")
    parser.add_argument("--only", type=some_of(CONNECTIONS), default=[*CONNECTIONS], help="faq, image (default both)")
    parser.add_argument("--servers", type=some_of(SERVERS), default=SERVERS, help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement; pictures twice (default 10)")
    parser.add_argument("--starts", type=int, default=2, help="of each server; the fastest counts (default 2)")
    parser.add_argument("--quick", action="store_true", help="two seconds of each, with the most connections only")
    parser.add_argument("--json", type=Path, help="write the figures as JSON, too")
    return parser.parse_args()


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Reads a list of names with commas between them."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: only {', '.join(known)} are known")
        return names

    return read


def measure(
    workload: str, folder: Path, options: argparse.Namespace, plan: Plan, figures: list[dict[str, Any]]
) -> None:
    """Adds the workload's figures, one by one, and prints its table."""
    folder.mkdir()
    inputs: list[Any] = workloads.asked_questions() if workload == "faq" else pictures(4 if plan.most_only else 20)
    questions = Questions(workload, inputs, loop.answers(workload, inputs))
    servers = []
    if "scorepod" in options.servers:
        prepare(folder / "store", workload)
        servers += ours(folder / "store", workload)
    servers += [server for server in (peer(workload) for peer in PEERS) if server.package in options.servers]
    try:
        for number, server in enumerate(servers):
            figures.append(row_of(server, folder / str(number), options.home, questions, plan))
        if "loop" in options.servers:
            figures += loops(questions, plan)
    finally:
        report(workload, [row for row in figures if row["workload"] == workload], plan)


def row_of(server: Server, folder: Path, home: Path | None, questions: Questions, plan: Plan) -> dict[str, Any]:
    """What is measured of the server, or why nothing is."""
    row = {"workload": questions.workload, "server": server.name, "settings": server.way.settings}
    environment = (home or Path()).resolve() / (server.package or "")
    if server.package:
        if home is None or not (environment / "bin" / "python").exists():
            return {**row, "left_out": "not installed"}
        row["version"] = version(environment, server.package)
    print(f"{questions.workload}: {server.name} …", flush=True)
    try:
        return {**row, **figures_of(server.way, environment, folder, questions, plan)}
    except pods.NotReady as error:
        print(error)
        return {**row, "left_out": "did not start"}


def version(environment: Path, package: str) -> str:
    told = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(
        [environment / "bin" / "python", "-c", told], check=True, capture_output=True, text=True
    ).stdout.strip()


def figures_of(way: Way, environment: Path, folder: Path, questions: Questions, plan: Plan) -> dict[str, Any]:
    """What is measured of a server that is started for it, as often as the plan says."""
    colds = []
    asked = [way.ask(each) for each in questions.inputs]
    for start in range(plan.starts):
        place = Place(environment, folder / str(start), pods.free_port())
        place.folder.mkdir(parents=True)
        way.prepare(place)
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SCORING_")},
            "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(HERE),
            "TMPDIR": str(place.folder),
            "PORT": str(place.port),
            "WORKLOAD": questions.workload,
            **way.env(place),
        }

        def answers(client: httpx.Client, number: int = 0, port: int = place.port) -> bool:
            body, headers = asked[number]
            answer = client.post(f"http://127.0.0.1:{port}{way.path}", content=body, headers=headers)
            if answer.status_code != 200:
                return False
            return questions.right(number, way.read(answer.json()), exact=way.exact)

        log = place.folder / "log"
        where = {"port": place.port, "log": log, "folder": place.folder, "patience": PATIENCE}
        with pods.running(way.command(place), env, ready=answers, **where) as it:
            colds.append(it.cold_start)
            if start < plan.starts - 1:
                continue
            with httpx.Client(trust_env=False, timeout=60) as client:
                wrong = sum(not answers(client, number) for number in range(len(asked)))
            loads = {
                str(connections): load(
                    way,
                    place,
                    asked,
                    connections,
                    seconds=plan.seconds * TIMES[questions.workload],
                    warm_up=plan.warm_up,
                    by_wrk=questions.workload == "faq" and wrk.installed(),
                )
                for connections in plan.connections(questions.workload)
            }
            memory = it.use()["pss_mb"]
    return {
        "cold_start_s": min(colds),
        "memory_mb": memory,
        "checked": len(asked),
        "wrong": wrong,
        "connections": loads,
    }


def load(
    way: Way, place: Place, asked: Sequence[Asked], connections: int, *, seconds: int, warm_up: int, by_wrk: bool
) -> Mapping[str, float]:
    """What comes of so many connections, each asking again as soon as it is answered."""
    if by_wrk:
        target = wrk.write_requests(place.folder / f"load-{connections}", place.port, way.path, {}, list(asked))
        wrk.load(target, connections, warm_up)
        figures = wrk.load(target, connections, seconds)
        return {"per_second": figures["requests"] / figures["seconds"], **figures}
    requests = [as_sent(way.path, headers, body) for body, headers in asked]
    closed_loop(place.port, requests, connections, warm_up)
    answers = closed_loop(place.port, requests, connections, seconds)
    took = [answer.took for answer in answers if answer.status == 200]
    return {
        "per_second": len(took) / max(seconds, max((answer.done for answer in answers), default=0)),
        "p50_ms": 1000 * percentile(took, 50),
        "p99_ms": 1000 * percentile(took, 99),
        "failed": len(answers) - len(took),
    }


def loops(questions: Questions, plan: Plan) -> list[dict[str, Any]]:
    rows = []
    for processes in LOOPS[questions.workload]:
        print(f"{questions.workload}: the model in a loop, processes: {processes} …", flush=True)
        rates = {
            str(batch): loop.rate(
                questions.workload,
                questions.inputs,
                processes=processes,
                batch=min(batch, len(questions.inputs)),
                seconds=plan.seconds * TIMES[questions.workload],
            )
            for batch in plan.connections(questions.workload)
        }
        rows.append({"workload": questions.workload, "processes": processes, "batches": rates})
    return rows


def report(workload: str, rows: Sequence[Mapping[str, Any]], plan: Plan) -> None:
    counts = [str(count) for count in plan.connections(workload)]
    heads = [
        f"{UNITS[workload]} (p50 / p99 ms)",
        *(f"{count} connection{'' if count == '1' else 's'}" for count in counts),
    ]
    print("\n" + line(*heads, "cold start s", "memory MB", "wrong answers"))
    print("|" + "---|" * (len(counts) + 4))
    for row in rows:
        if "connections" in row:
            cells = [speed(row["connections"][count]) for count in counts]
            wrong = f"{row['wrong']} of {row['checked']}"
            print(line(row["server"], *cells, f"{row['cold_start_s']:.1f}", f"{row['memory_mb']:.0f}", wrong))
    for row in rows:
        if "batches" in row:
            cells = [f"{row['batches'][count]:,.{digits(row['batches'][count])}f}" for count in counts]
            what = "process" if row["processes"] == 1 else "processes"
            print(line(f"model in a loop, {row['processes']} {what}, batches of as many", *cells, "", "", ""))
    print()
    for row in rows:
        if "connections" in row:
            print(f"- {row['server']}{' ' + row['version'] if 'version' in row else ''}: {row['settings']}")
    for reason in ("not installed", "did not start"):
        if names := [row["server"] for row in rows if row.get("left_out") == reason]:
            print(f"- {reason}: {', '.join(names)}")
    print(flush=True)


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def speed(figures: Mapping[str, float]) -> str:
    p50, p99 = (f"{figures[name]:,.{digits(figures[name])}f}" for name in ("p50_ms", "p99_ms"))
    failed = f", {figures['failed']:.0f} failed" if figures["failed"] else ""
    return f"{figures['per_second']:,.{digits(figures['per_second'])}f} ({p50} / {p99}){failed}"


def digits(value: float) -> int:
    """Behind the point, so that three count at least."""
    return 0 if value >= 100 else 1


if __name__ == "__main__":
    main()
