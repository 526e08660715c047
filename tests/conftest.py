"""What every test stands on: one database, collected static files, and the groups that need a program beside Python.

A group whose program is missing is left out and named at the end, with the command that installs it; under CI=true that
is a failure.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.environment import SCRATCH
from tests.servers import PROGRAMS

# How long an example takes is up to the machine, and to what else it does.
hypothesis_settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("suite")


@dataclass(frozen=True)
class Group:
    """Tests at one place, a folder or a file, that need a program which pip cannot install.

    leaves: a path that the command makes, from the checkout or from the root, where that says more than a program.
    """

    name: str
    place: str
    program: str
    install: str
    leaves: str = ""

    @property
    def missing(self) -> bool:
        if self.leaves and not (Path(__file__).parent.parent / self.leaves).exists():
            return True
        return shutil.which(self.program, path=PROGRAMS) is None

    def holds(self, item: pytest.Item) -> bool:
        return f"tests/{self.place}" in item.path.as_posix()


FAULTS = "system/test_batch_faults.py"
GROUPS = (
    Group("browser tests", place="browser/", program="chromium", install="apt-get install chromium"),
    Group("Redis tests", place="redis/", program="redis-server", install="apt-get install redis-server"),
    Group("PostgreSQL tests", place="postgresql/", program="initdb", install="apt-get install postgresql"),
    Group("fault tests", FAULTS, program="redis-server", install="apt-get install redis-server"),
    Group("fault tests", FAULTS, program="initdb", install="apt-get install postgresql"),
    Group("monitoring tests", place="monitoring/", program="redis-server", install="apt-get install redis-server"),
    Group("tests of alerts", "monitoring/test_alerts", program="promtool", install="apt-get install prometheus"),
    Group("tests of scaling", "monitoring/test_scaling", program="promtool", install="apt-get install prometheus"),
    Group("image tests", place="docker/images/", program="buildah", install="apt-get install buildah"),
    Group("image tests", place="docker/images/", program="podman", install="apt-get install podman"),
    Group("frontend tests", place="frontend/", program="node", install="apt-get install nodejs"),
    Group(
        "checks of custom resources",
        place="k8s/test_crds.py",
        program="node",
        install="npm ci --prefix tests/k8s/crds",
        leaves="tests/k8s/crds/node_modules",
    ),
    Group(
        "tests of rolling updates",
        place="system/test_rolling_update.py",
        program="nginx",
        install="apt-get install nginx-light libnginx-mod-stream",
        leaves="/usr/lib/nginx/modules/ngx_stream_module.so",
    ),
    Group("HTTPS tests", place="system/test_https.py", program="nginx", install="apt-get install nginx"),
    Group("tests of examples", place="system/test_examples", program="node", install="apt-get install nodejs"),
)
LEFT_OUT = pytest.StashKey[set[Group]]()
SLOW = ("postgresql", "system", "browser", "monitoring")  # folders, in this order


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    left_out = {group for group in GROUPS if group.missing and any(group.holds(item) for item in items)}
    without = [item for item in items if any(group.holds(item) for group in left_out)]
    config.hook.pytest_deselected(items=without)
    items[:] = [item for item in items if item not in without]
    config.stash[LEFT_OUT] = left_out
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = [GROUPS.index(group) for group in left_out]
    yield
    # Slow ones first, so that processes that share the suite end at about the same time.
    items.sort(key=lambda item: [*SLOW, _folder(item)].index(_folder(item)))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes share the suite: one more than there are cores, as many tests wait for what others do."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """A process that shared the suite has ended, and tells what it left out."""
    left_out = getattr(node, "workeroutput", {}).get("left_out", [])  # nothing where it crashed
    node.config.stash[LEFT_OUT] |= {GROUPS[index] for index in left_out}


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash[LEFT_OUT] and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workeroutput"):
        for group in sorted(config.stash[LEFT_OUT], key=GROUPS.index):
            print(f"Left out: {group.name}, for want of {group.program}. Install it: {group.install}")
    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Puts the test database into a file: threads and processes then share it as they do in earnest."""
    from django.conf import settings

    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        settings.DATABASES["default"]["TEST"]["NAME"] = str(SCRATCH / "test.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def tables_are_emptied_quickly() -> Iterator[None]:
    """After a test of real transactions all tables are emptied, but those that say which models there are.

    Django would make these anew each time, which takes longer than most tests; and it would TRUNCATE, which takes
    longer than DELETE where there are few rows.
    """
    from django.test import TransactionTestCase

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _case: _empty_tables())
        yield


def _empty_tables() -> None:
    """The history and the security log too, whose triggers would refuse it."""
    from django.db import connection, transaction

    from webapp.audit.guards import GUARDS as LOG_GUARDS
    from webapp.faq.guards import GUARDS as FAQ_GUARDS
    from webapp.registry.guards import GUARDS as HISTORY_GUARDS

    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
    with transaction.atomic(), connection.cursor() as cursor:
        for guards in (LOG_GUARDS, HISTORY_GUARDS, FAQ_GUARDS):
            guards.drop(connection)
        for table in tables - {"django_content_type", "auth_permission"}:
            cursor.execute(f'DELETE FROM "{table}"')
    for guards in (LOG_GUARDS, HISTORY_GUARDS, FAQ_GUARDS):
        guards.install(connection)


@pytest.fixture(scope="session", autouse=True)
def static_files() -> None:
    """Collects the static files once: templates name them by their hash, as in production."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("collectstatic", interactive=False, verbosity=0)
