"""Who may import whom. A new module fails here until it stands in the table."""

import ast
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from project.embedded.addresses import netloc
from tests.services import HOST

ROOT = Path(__file__).resolve().parent.parent
OURS = ("media_api", "project", "web")


def below(package: str, names: str) -> set[str]:
    return {f"{package}.{name}" for name in names.split()}


PURE = below("media_api", "exceptions sides presign")
DECODING = below("media_api", "containers stripping stripping_avif libwebp planes webp imaging")
INSIDE = below(
    "media_api",
    "queue models storage verdicts epoch holds images idempotency uploads retries links accounts quotas",
)
HTTP = below(
    "media_api",
    "serializers renderers views filters pagination parsers authentication permissions problems throttles schema"
    " urls admin",
)
COMMANDS = below(
    "media_api.management.commands",
    "user apikey prepare_bucket purge procrastinate fsck retry backup restore",
)
PAGES = below("web", "addresses apps forms middleware requests templatetags urls views")

MAY_IMPORT = {
    "media_api.exceptions": set(),
    "media_api.faults": set(),
    "media_api.sides": set(),
    "media_api.presign": set(),
    "media_api.containers": set(),
    "media_api.seccomp": set(),
    "media_api.landlock": set(),
    "media_api.queue": below("media_api", "exceptions"),
    "media_api.models": set(),
    "media_api.stripping": below("media_api", "containers"),
    "media_api.stripping_avif": below("media_api", "containers stripping"),
    "media_api.libwebp": set(),
    "media_api.planes": set(),
    "media_api.webp": below("media_api", "libwebp planes"),
    "media_api.imaging": below(
        "media_api", "containers stripping stripping_avif sides planes webp exceptions"
    ),
    "media_api.cage": below("media_api", "imaging landlock seccomp exceptions"),
    "media_api.sandbox": below("media_api", "faults imaging containers stripping sides exceptions"),
    "media_api.waiters": below("media_api", "exceptions"),
    "media_api.storage": below("media_api", "waiters faults presign exceptions"),
    "media_api.verdicts": below("media_api", "models"),
    "media_api.epoch": below("media_api", "models storage exceptions"),
    "media_api.holds": below("media_api", "faults epoch models storage"),
    "media_api.images": below("media_api", "faults models storage queue holds exceptions"),
    "media_api.idempotency": below("media_api", "models exceptions"),
    "media_api.uploads": below(
        "media_api", "faults idempotency quotas models storage presign queue exceptions"
    ),
    "media_api.links": below("media_api", "models storage"),
    "media_api.accounts": below("media_api", "models quotas"),
    "media_api.quotas": below("media_api", "exceptions"),
    "media_api.examination": below(
        "media_api",
        "faults sandbox stripping images models queue storage verdicts epoch exceptions",
    ),
    "media_api.retries": below("media_api", "faults models queue"),
    "media_api.sweeps": below("media_api", "faults uploads models storage holds"),
    "media_api.fsck": below("media_api", "images models storage epoch exceptions"),
    "media_api.originals": below("media_api", "fsck examination sandbox storage exceptions"),
    "media_api.repair": below(
        "media_api", "faults fsck examination originals images models storage"
    ),
    "media_api.damage": below("media_api", "faults fsck repair models epoch"),
    "media_api.adoption": below(
        "media_api", "faults fsck examination originals sandbox images models storage"
    ),
    "media_api.removal": below("media_api", "faults fsck holds images models storage"),
    "media_api.backup": below(
        "media_api", "faults fsck holds epoch images models storage exceptions"
    ),
    "media_api.tasks": below(
        "media_api", "faults examination images retries sweeps damage holds queue models"
    ),
    **dict.fromkeys(HTTP, PURE | INSIDE | HTTP),
    "media_api.apps": below("media_api", "faults checks"),
    "media_api.checks": below("media_api", "faults imaging landlock seccomp"),
    "media_api.doctor": below(
        "media_api", "checks imaging epoch holds models storage presign exceptions"
    ),
    "media_api.management.commands.doctor": below("media_api", "doctor"),
    "media_api.migrations": below("media_api", "models"),
    **dict.fromkeys(
        COMMANDS,
        COMMANDS
        | below("media_api", "uploads images sweeps epoch storage models exceptions")
        | below(
            "media_api", "fsck repair damage adoption removal retries queue holds backup checks"
        ),
    ),
    **dict.fromkeys(
        PAGES,
        PAGES
        | below(
            "media_api", "models uploads images links accounts quotas verdicts storage exceptions"
        )
        | below("media_api", "sides filters pagination problems authentication throttles"),
    ),
    "project.apps": set(),
    "project.bodies": below("media_api", "exceptions"),
    "project.embedded": set(),
    "project.errors": below("media_api", "exceptions problems") | below("web", "views"),
    "project.headers": set(),
    "project.health": below("media_api", "uploads storage models exceptions"),
    "project.logging": set(),
    "project.management": below("project", "embedded")
    | below("media_api", "epoch holds exceptions"),
    "project.proxies": set(),
    "project.settings": below("project", "embedded logging"),
    "project.urls": below("project", "health"),
    "project.wsgi": below("project", "bodies") | below("media_api", "waiters"),
}

MAY_USE = {
    "boto3": {"media_api.storage"},
    "botocore": {"media_api.storage"},
    "storages": {"media_api.storage"},
    "PIL": below("media_api", "imaging libwebp planes webp"),
    "rest_framework": HTTP,
    "procrastinate": below("media_api", "queue tasks admin doctor")
    | {"media_api.management.commands.procrastinate", "project.health"},
}


def files() -> Iterator[Path]:
    for package in OURS:
        yield from sorted((ROOT / package).rglob("*.py"))


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(file): file for file in files()}


def place(name: str) -> str:
    """The row of the table that a module belongs to: its own, or that of a package above it."""
    while name and name not in MAY_IMPORT:
        name = name.rpartition(".")[0]
    return name


@cache
def imported(name: str) -> frozenset[str]:
    """What a module imports, with its full name: modules, and whatever it takes from them."""
    file = MODULES[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            found.update(f"{source}.{alias.name}" for alias in node.names)
    return frozenset(found)


def roots(name: str) -> set[str]:
    """The packages that a module imports from."""
    return {target.split(".")[0] for target in imported(name)}


def test_every_module_has_a_row() -> None:
    empty = {name for name, file in MODULES.items() if not file.read_text().strip()}
    assert {name for name in MODULES.keys() - empty if not place(name)} == set()
    assert {place(name) for name in MODULES} - {""} == MAY_IMPORT.keys()


def test_imports_of_ours_stand_in_the_table() -> None:
    not_allowed = {
        (name, target)
        for name in MODULES
        for target in imported(name)
        if target.split(".")[0] in OURS
        and place(target) not in {place(name), *MAY_IMPORT.get(place(name), ())}
    }
    assert not_allowed == set()


def test_a_library_has_its_place() -> None:
    misplaced = {
        (name, library)
        for name in MODULES
        for library in roots(name) & MAY_USE.keys()
        if place(name) not in MAY_USE[library]
    }
    assert misplaced == set()


def test_what_is_pure_knows_neither_django_nor_a_network() -> None:
    impure = {"django", "procrastinate", "psycopg", "socket", "http", "urllib3"}
    assert {name for name in PURE | DECODING if roots(name) & impure} == set()


def test_nothing_imports_the_tests_or_the_measurements() -> None:
    assert {name for name in MODULES if roots(name) & {"tests", "bench"}} == set()


LOAD = """
import sys, threading
import django
from project.management.commands.granian import load_application
django.setup()
load_application()
assert threading.active_count() == 1, "only one thread outlives a fork"
"""


def test_a_web_server_is_loaded_without_decoders_and_asks_nobody() -> None:
    with socket.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        address = netloc(*listener.getsockname())
        loaded = modules_with(
            LOAD, DATABASE_URL=f"postgres://x@{address}/x", S3_ENDPOINT_URL=f"http://{address}"
        )
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert {"media_api.storage", "media_api.views", "web.views"} <= loaded
    assert loaded & {"PIL", "media_api.imaging", "media_api.tasks", "tests"} == set()


def modules_with(script: str, **variables: str) -> set[str]:
    """What is loaded when a new interpreter has run it."""
    command = [sys.executable, "-c", f"{script}print(*sys.modules)"]
    environment = {**os.environ, **variables}
    return set(subprocess.check_output(command, env=environment, text=True).split())
