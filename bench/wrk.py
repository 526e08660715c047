"""Load by wrk: connections that each ask again as soon as they are answered. It takes little of the CPU it shares."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """Where wrk sends its requests, and the folder it reads them from."""

    address: str
    folder: Path


def installed() -> bool:
    return shutil.which("wrk") is not None


def required() -> None:
    if not installed():
        sys.exit("This needs wrk: apt-get install wrk")


def write_requests(
    folder: Path, port: int, path: str, headers: dict[str, str], bodies: list[tuple[bytes, dict[str, str]]]
) -> Target:
    folder.mkdir(parents=True)
    lines = []
    for number, (body, own) in enumerate(bodies):
        (folder / f"{number}.body").write_bytes(body)
        lines.append(f"{{file={lua(f'{number}.body')}, headers={lua_table(own)}}}")
    (folder / "requests.lua").write_text(
        f"return {{path={lua(path)}, headers={lua_table(headers)}, bodies={{{', '.join(lines)}}}}}\n"
    )
    return Target(f"http://127.0.0.1:{port}", folder)


def lua(text: str) -> str:
    return json.dumps(text)  # for the plain ASCII we write, a JSON string is a Lua string


def lua_table(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"[{lua(name)}]={lua(value)}" for name, value in values.items()) + "}"


def load(target: Target, connections: int, seconds: int) -> dict[str, float]:
    script = Path(__file__).with_name("load.lua")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script), target.address]
    env = {**os.environ, "LOAD_FOLDER": str(target.folder)}
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(said.strip().splitlines()[-1])
    return figures
