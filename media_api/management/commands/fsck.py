import json
import sys
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseFault

from media_api import adoption, damage, epoch, fsck, removal
from media_api.exceptions import ForeignBucket, StorageUnavailable
from media_api.fsck import Finding
from media_api.models import database_now
from media_api.repair import mend

from .apikey import account

PROGRESS = 1000
Act = Callable[[Sequence[Finding]], Sequence[Finding]]


class Command(BaseCommand):
    help = (
        "Compare every row with the bucket and every object with the rows. Changes no object unless told to. "
        "Exit code 0: all is well; 1: something was found; 2: it could not look."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        depth = parser.add_mutually_exclusive_group()
        depth.add_argument("--quick", action="store_true", help="believe the listing; see no types")
        depth.add_argument("--content", action="store_true", help="read and hash every object")
        parser.add_argument("--after", type=uuid.UUID, metavar="ID", help="go on behind this image")
        parser.add_argument("--json", action="store_true", help="one finding a line, nothing else")
        parser.add_argument(
            "--repair", action="store_true", help="make again what was made of a good original"
        )
        parser.add_argument(
            "--adopt", action="store_true", help="bring back images that only the bucket knows"
        )
        parser.add_argument("--owner", metavar="NAME", help="of adopted images, whoever had them")
        parser.add_argument(
            "--take-bucket", action="store_true", help="of a lost database, for this empty one"
        )
        parser.add_argument(
            "--remove-unknown", action="store_true", help="remove objects that no row explains"
        )
        parser.add_argument(
            "--grace", type=float, default=24, metavar="HOURS", help="leave what is younger; 24"
        )
        parser.add_argument("--at-most", type=int, metavar="N", help="objects to remove")

    def handle(self, *args: Any, **options: Any) -> None:
        self.json, self.count, self.folders = options["json"], 0, 0
        self.last: uuid.UUID | None = options["after"]
        try:
            self.compare(**options)
        except (StorageUnavailable, DatabaseFault, KeyboardInterrupt) as error:
            reason = str(error).strip() or "Stopped."
            raise CommandError(f"{reason}{self.how_to_go_on()}", returncode=2) from error
        except FileNotFoundError as error:
            reason = "The bucket is not there, or was never claimed (manage.py prepare_bucket)."
            raise CommandError(reason, returncode=2) from error
        except (ForeignBucket, removal.TooMany, removal.Held) as error:
            raise CommandError(str(error), returncode=2) from error
        if not self.json:
            self.stdout.write(f"{self.count} findings; {self.folders} folders were looked at")
        if self.count:
            sys.exit(1)

    def compare(
        self,
        *,
        after: uuid.UUID | None,
        quick: bool,
        content: bool,
        take_bucket: bool,
        **options: Any,
    ) -> None:
        if take_bucket:
            epoch.take_bucket()
        foreign = list(fsck.look_at_epoch())
        self.tell(foreign)
        acts = [] if foreign else self.acts(after=after, **options)
        if foreign and any(options[name] for name in ("repair", "adopt", "remove_unknown")):
            raise CommandError(foreign[0].detail, returncode=2)
        self.tell(fsck.look_at_usage())
        self.tell(fsck.look_at_tags())
        for finding in fsck.look_into_staging():
            self.tell(done([finding], acts))
        for place in fsck.places(after=after):
            found = fsck.look_into(place, quick=quick, content=content)
            if place.image_id is None:
                for finding in found:
                    self.tell(done([finding], acts))
            else:
                found = done(list(found), acts)
                if not foreign:
                    damage.note(place.image_id, found, content=content)
                self.tell(found)
                self.last = place.image_id
            self.folders += 1
            if self.folders % PROGRESS == 0:
                self.stderr.write(f"{self.folders} folders were looked at, up to {place.name}")

    def acts(
        self,
        *,
        after: uuid.UUID | None,
        repair: bool,
        adopt: bool,
        owner: str | None,
        remove_unknown: bool,
        grace: float,
        at_most: int | None,
        **_: Any,
    ) -> list[Act]:
        """What is to be done about findings, in this order."""
        acts: list[Act] = []
        if repair:
            acts.append(mend)
        if adopt:
            acts.append(partial(adoption.adopt, owner=account(owner) if owner else None))
        if remove_unknown:
            before = database_now() - timedelta(hours=grace)
            most = removal.allowance(before=before, after=after, at_most=at_most)
            acts.append(removal.Removal(before, most).remove)
        return acts

    def tell(self, found: Iterable[Finding]) -> None:
        for finding in found:
            self.count += 1
            self.stdout.write(as_json(finding) if self.json else as_text(finding))

    def how_to_go_on(self) -> str:
        return f" Go on with: fsck --after {self.last}" if self.last else ""


def done(found: Sequence[Finding], acts: Iterable[Act]) -> Sequence[Finding]:
    for act in acts:
        found = act(found)
    return found


def as_json(finding: Finding) -> str:
    line = {
        "finding": finding.kind,
        "image": str(finding.image) if finding.image else None,
        "key": finding.key,
        "detail": finding.detail,
        "done": finding.done,
    }
    return json.dumps(line)


def as_text(finding: Finding) -> str:
    outcome = f" ({finding.done})" if finding.done else ""
    line = f"{finding.kind:<19}  {finding.key}  {finding.detail}{outcome}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
