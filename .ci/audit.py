"""`make audit`: known vulnerabilities in what is installed, and secrets in the source.

What could not be checked is said, at the end and loudly; it is a failure unless --unreachable tell is given.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASELINE = ".secrets.baseline"
FOUND, NOT_CHECKED = 1, 2
ONLY_LINES_MOVED = 3  # status of detect-secrets
# What pip-audit says of a package that its service does not know, and where that does not answer.
UNKNOWN = "could not be audited"
UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "Could not connect")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository whose files are searched")
    parser.add_argument("--osv-url", help="a service that speaks as https://api.osv.dev/v1/query does; by default PyPI")
    parser.add_argument("--requirement", type=Path, help="look at what this file pins, not at what is installed")
    parser.add_argument("--unreachable", choices=("fail", "tell"), default="fail")
    options = parser.parse_args()
    secrets = search_for_secrets(options.root)
    known = look_up_vulnerabilities(options.osv_url, options.requirement)
    if secrets or known == FOUND:
        return FOUND
    return NOT_CHECKED if known == NOT_CHECKED and options.unreachable == "fail" else 0


def search_for_secrets(root: Path) -> int:
    """FOUND when a file that git knows holds what looks like a secret and does not stand in the baseline, else 0."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    files = [name for name in listed.split("\0") if name not in {"", BASELINE} and (root / name).is_file()]
    hook = "import sys; from detect_secrets.pre_commit_hook import main; sys.exit(main())"
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # line numbers are written into the baseline, where they have changed
        baseline = shutil.copy(root / BASELINE, scratch)
        done = run(["-c", hook, "--no-verify", "--baseline", str(baseline), *files], root)
    if done.returncode in {0, ONLY_LINES_MOVED}:
        print(f"No secret in {len(files)} files.")
        return 0
    print(done.stdout + done.stderr)
    print(f"Take the secret out and replace it where it was used; if it is none, say so beside it or in {BASELINE}.")
    return FOUND


def look_up_vulnerabilities(osv_url: str | None, requirement: Path | None) -> int:
    """0 when every package was looked up and none is known to be vulnerable, FOUND when one is, or when pip-audit
    itself fails, NOT_CHECKED where the service does not answer or does not know the packages.
    """
    service = ["--vulnerability-service", "osv", "--osv-url", osv_url] if osv_url else []
    what = ["--requirement", str(requirement), "--no-deps", "--disable-pip"] if requirement else ["--local"]
    done = run(["-m", "pip_audit", "--progress-spinner", "off", "--timeout", "10", *what, *service], ROOT)
    if done.returncode == 0:
        unknown = done.stdout.count(UNKNOWN)
        if unknown:
            return not_checked(f"the service that knows of vulnerabilities does not know {unknown} of the packages")
        print(done.stdout + done.stderr)
        return 0
    if done.stderr and any(sign in done.stderr for sign in UNREACHABLE):
        print(*done.stderr.splitlines()[-1:])
        return not_checked("the service that knows of vulnerabilities does not answer from this machine")
    print(done.stdout + done.stderr)
    return FOUND


def not_checked(why: str) -> int:
    print("!" * 100)
    print(f"!!! NOT CHECKED: {why}.")
    print("!!! Run `make audit` where it does, before anything is shipped.")
    print("!" * 100)
    return NOT_CHECKED


def run(arguments: list[str], where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=where, check=False, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
