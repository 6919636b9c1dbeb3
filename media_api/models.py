"""What is known about pictures, and who may ask.

An Upload is announced, short-lived and full of claims. An Image is examined: every column was computed from its bytes.
A PendingDeletion is an id whose objects are still to be removed, a Usage the bytes of one owner, an ImageTag one tag of
one Image; triggers in the migrations write them in the very statement that begins, changes or ends an Upload or an
Image, so that psql, the admin and a cascade leave nothing behind and nothing uncounted.
"""

import hashlib
import os
import re
import secrets
import time
import unicodedata
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple, Self, TypedDict

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db import connection, models
from django.db.models import F, Func, Q
from django.db.models.functions import Now
from django.utils import timezone

NAME_LENGTH = 255
CONTENT_TYPE_LENGTH = 100
KEPT_TYPES = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/avif"]
RENDITION_TYPE = "image/webp"
CONTENT_TYPE = r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+"  # RFC 6838, 4.2
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
TAG_LENGTH = 64
MAX_TAGS = 32


def uuid7() -> uuid.UUID:
    """A UUID that begins with the milliseconds of now, so that ids lie in the order they were made (RFC 9562, 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    number = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return uuid.UUID(int=number)


def clean_name(name: str) -> str:
    """A label as it is kept: NFC, on one line, at most 255 characters; never part of a key."""
    return on_one_line(name)[:NAME_LENGTH].strip() or "unnamed"


def on_one_line(text: str) -> str:
    """Without what would end the line, steer a terminal or turn the rest of the line around (UAX 9, 2.1 to 2.5)."""
    kept = (
        character
        for character in unicodedata.normalize("NFC", text)
        if unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        and unicodedata.bidirectional(character) not in TURNING
    )
    return "".join(kept).strip()


def clean_tag(tag: str) -> str:
    return unicodedata.normalize("NFC", tag).strip()


def clean_content_type(claim: str) -> str:
    """A claimed media type, or that of any bytes where the claim could not stand in a header."""
    allowed = re.fullmatch(CONTENT_TYPE, claim) and len(claim) <= CONTENT_TYPE_LENGTH
    return claim if allowed else "application/octet-stream"


def database_now() -> datetime:
    """The database's clock: deadlines are set and compared by it, never by a machine's own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


class Labelled(models.Model):
    """What an Upload claims and its Image takes over: whose it is, and how people call it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    name = models.CharField(max_length=NAME_LENGTH)
    tags = ArrayField(models.CharField(max_length=TAG_LENGTH), default=list, blank=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class UploadQuerySet(models.QuerySet["Upload"]):
    def of(self, owner: User) -> Self:
        return self.filter(owner=owner)

    def living(self) -> Self:
        """What may still become an image."""
        return self.filter(state__in=[Upload.State.ANNOUNCED, Upload.State.STAGED])

    def waiting(self) -> Self:
        """The bytes are here, and are to be looked at by a job."""
        return self.filter(state=Upload.State.STAGED, error_code="")

    def set_aside(self) -> Self:
        """The bytes are here, and looking at them failed too often, by no fault of theirs."""
        return self.filter(state=Upload.State.STAGED).exclude(error_code="")

    def overdue(self, now: datetime) -> Self:
        """Announced, and the time to send the bytes is over."""
        return self.filter(state=Upload.State.ANNOUNCED, expires_at__lt=now)

    def finished_before(self, now: datetime) -> Self:
        """Refused or expired, and told for long enough."""
        return self.filter(
            state__in=[Upload.State.REFUSED, Upload.State.EXPIRED], expires_at__lt=now
        )


class Upload(Labelled):
    """An announced transfer. It ends as an Image of the same id, or refused, or expired.

    announced -> staged -> (an Image; this row is gone)
        |           `----> refused   told until expires_at
        `---------------> expired    told until expires_at

    A staged one that has an error is set aside: no job looks at it until somebody says so (`retries`).
    """

    class State(models.TextChoices):
        ANNOUNCED = "announced"
        STAGED = "staged"
        REFUSED = "refused"
        EXPIRED = "expired"

    state = models.CharField(max_length=9, choices=State, default=State.ANNOUNCED)
    size = models.BigIntegerField(help_text="Bytes, as announced.")
    content_type = models.CharField(max_length=CONTENT_TYPE_LENGTH, help_text="As announced.")
    claimed_sha256 = models.CharField(max_length=64, blank=True, help_text="As announced.")
    sha256 = models.CharField(max_length=64, blank=True, help_text="Computed, before it is kept.")
    multipart_id = models.TextField(blank=True, help_text="The store's UploadId.")
    part_size = models.BigIntegerField(default=0, help_text="Bytes; 0 when sent in one piece.")
    attempts = models.PositiveSmallIntegerField(
        default=0, help_text="To examine it, less those that an outage ended."
    )
    crashes = models.PositiveSmallIntegerField(default=0, help_text="Of a decoder that read it.")
    error_code = models.CharField(max_length=40, blank=True)
    error_detail = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    staged_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField()

    objects = UploadQuerySet.as_manager()

    class Meta:
        default_related_name = "uploads"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(F("owner"), F("created_at").desc(), F("id").desc(), name="upload_owner"),
            models.Index("expires_at", name="upload_expiry", condition=~Q(state="staged")),
            models.Index(
                "owner",
                "state",
                name="upload_living",
                condition=Q(state__in=["announced", "staged"]),
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(size__gt=0), name="upload_size_positive"),
            models.CheckConstraint(
                condition=Q(state__in=["announced", "staged", "refused", "expired"]),
                name="upload_state_known",
            ),
            models.CheckConstraint(
                condition=~Q(state="staged") | Q(staged_at__isnull=False),
                name="upload_staged_has_moment",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["announced", "expired"], error_code="")
                | Q(state="staged", error_code__in=["", "internal"])
                | Q(state="refused") & ~Q(error_code=""),
                name="upload_error_fits_state",
            ),
        ]

    @property
    def key(self) -> str:
        return staging_key(self.id)

    @property
    def is_waiting(self) -> bool:
        """As `UploadQuerySet.waiting` says."""
        return self.state == self.State.STAGED and not self.error_code

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.REFUSED, self.State.EXPIRED)

    @property
    def part_count(self) -> int:
        return -(-self.size // self.part_size) if self.part_size else 0

    def part_length(self, number: int) -> int:
        """Bytes of part `number` (from 1): all are of `part_size` but the last."""
        return min(self.part_size, self.size - (number - 1) * self.part_size)


def staging_key(upload_id: uuid.UUID) -> str:
    return f"staging/{upload_id}"


def image_prefix(image_id: uuid.UUID) -> str:
    return f"images/{image_id}/"


class ImageWords(Func):
    """The words of an image that a search finds; the SQL function is in the migrations."""

    function = "image_words"
    output_field = SearchVectorField()


class ImageQuerySet(models.QuerySet["Image"]):
    def of(self, owner: User) -> Self:
        return self.filter(owner=owner)

    def present(self) -> Self:
        return self.filter(trashed_at__isnull=True)

    def trashed(self) -> Self:
        return self.filter(trashed_at__isnull=False)

    def as_listed(self) -> Self:
        """With rows that are each a ListedImage: a list has many, and models take a third longer."""
        return self.values_list(*ListedImage._fields, named=True)  # type: ignore[return-value]

    def matching(self, text: str) -> Self:
        """Images whose name or tags have, for each word of `text`, a word that begins with it."""
        text = unicodedata.normalize("NFC", text)
        words = [word for word in re.split(r"[!-/:-@\[-`{-~\s]+", text) if word]
        if not words:
            return self
        query = SearchQuery(
            " & ".join(f"'{word}':*" for word in words), search_type="raw", config="simple"
        )
        return self.filter(words=query)

    def least_recently_checked(self, before: datetime) -> Self:
        """Those whose bytes were last compared before this moment, the longest ago first."""
        return self.filter(checked_at__lt=before).order_by("checked_at")

    def version_of(self, image_id: uuid.UUID, owner: User) -> int | None:
        """Of the owner's image of this id. Who asks only whether it changed gets the answer of one short statement."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT version FROM media_api_image WHERE id = %s AND owner_id = %s",
                [image_id, owner.pk],
            )
            row = cursor.fetchone()
        return row[0] if row else None

    def copies_of(self, image: "Image") -> Self:
        return self.filter(owner_id=image.owner_id, sha256=image.sha256).exclude(id=image.id)


class ListedImage(NamedTuple):
    """What a list shows of an Image."""

    id: uuid.UUID
    name: str
    path: str
    size: int
    date: datetime
    content_type: str
    width: int
    height: int
    frames: int
    sha256: str
    tags: list[str]
    placeholder: str
    sides: list[int]
    trashed_at: datetime | None
    damaged_at: datetime | None


class Digest(TypedDict):
    """What an object is: bytes, and their SHA-256."""

    size: int
    sha256: str


Derived = dict[str, Digest]  # by the last part of the key


class Image(Labelled):
    """A picture we keep. Its bytes never change; its name and tags may.

    `id` is the upload's, `path` the key of the original, `date` the moment it was uploaded.
    """

    path = models.CharField(max_length=100, unique=True, help_text="Key of the original.")
    stripped_path = models.CharField(
        max_length=100,
        blank=True,
        help_text="Key of the same picture without metadata; the original's where that carries none.",
    )
    size = models.BigIntegerField(help_text="Bytes of the original.")
    date = models.DateTimeField(help_text="When it was uploaded.")
    content_type = models.CharField(max_length=20)
    width = models.PositiveIntegerField(help_text="Pixels, as seen.")
    height = models.PositiveIntegerField(help_text="Pixels, as seen.")
    frames = models.PositiveIntegerField(default=1)
    sha256 = models.CharField(max_length=64)
    sides = ArrayField(models.PositiveIntegerField(), help_text="Renditions, by longest side.")
    placeholder = models.TextField(help_text="A data: URI of a few pixels.")
    derived: "models.JSONField[Derived, Derived]" = models.JSONField(
        default=dict,
        blank=True,
        help_text="Size and SHA-256 of the stripped copy and of each rendition, by the last part of the key.",
    )
    checked_at = models.DateTimeField(
        db_default=Now(), help_text="When the bytes in the bucket were last read and compared."
    )
    damaged_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the original was found missing, or other than it was uploaded.",
    )
    version = models.PositiveIntegerField(default=1, help_text="Counts the changes of the row.")
    trashed_at = models.DateTimeField(null=True, blank=True)
    words = models.GeneratedField(
        expression=ImageWords("name", "tags"),
        output_field=SearchVectorField(),
        db_persist=True,  # a search that reads many rows in their order would make them anew for each
    )

    objects = ImageQuerySet.as_manager()

    class Meta:
        default_related_name = "images"
        ordering = ["-date", "-id"]
        indexes = [
            *(
                models.Index("owner", field, "id", name=f"image_{field}", condition=present)
                for present in [Q(trashed_at__isnull=True)]
                for field in ["date", "name", "size"]
            ),
            models.Index(
                "owner",
                "content_type",
                "date",
                "id",
                name="image_type",
                condition=Q(trashed_at__isnull=True),
            ),
            models.Index(
                "owner", "date", "id", name="image_trash", condition=Q(trashed_at__isnull=False)
            ),
            models.Index("trashed_at", name="image_trashed", condition=Q(trashed_at__isnull=False)),
            models.Index("owner", "sha256", name="image_copies"),
            models.Index("checked_at", name="image_checked"),
            GinIndex("tags", name="image_tags"),
            GinIndex("words", name="image_words"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(size__gt=0, width__gt=0, height__gt=0, frames__gt=0),
                name="image_is_measured",
            ),
            models.CheckConstraint(
                condition=Q(sha256__regex=r"^[0-9a-f]{64}$"), name="image_has_sha256"
            ),
            # Links show an image as this type, so none may be a type that a browser would run.
            models.CheckConstraint(
                condition=Q(content_type__in=KEPT_TYPES), name="image_is_of_a_kept_type"
            ),
        ]

    @property
    def carries_metadata(self) -> bool:
        """Whether the original does. Of an image that was kept before we looked, it may."""
        return self.stripped_path != self.path

    def rendition_key(self, side: int) -> str:
        return rendition_key(self.id, side)

    def nearest_side(self, side: int) -> int:
        """The rendition that shows `side` best: that one, else the next larger, else the largest."""
        return min((s for s in self.sides if s >= side), default=max(self.sides))


class ImageTag(models.Model):
    """A tag of an image that is not in the trash, so that all with this tag are read in the order of their dates.

    Written by triggers only (migration 0014).
    """

    pk = models.CompositePrimaryKey("owner", "tag", "date", "image")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    tag = models.CharField(max_length=TAG_LENGTH)
    date = models.DateTimeField()
    image = models.ForeignKey(
        Image,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )

    def __str__(self) -> str:
        return self.tag


def rendition_key(image_id: uuid.UUID, side: int) -> str:
    return f"{image_prefix(image_id)}{side}.webp"


def last_part(key: str) -> str:
    return key.rpartition("/")[2]


def description_key(image_id: uuid.UUID) -> str:
    return f"{image_prefix(image_id)}image.json"


class PendingDeletion(models.Model):
    """The objects below `images/<id>/` are to be removed, and looked for once more an hour later.

    Written by triggers (migrations 0002, 0012 and 0013), and by `fsck --remove-unknown` for what no row explains. The
    `keys` of an image that was kept are known; else they are listed. The second look, which always lists, meets what a
    paused worker wrote after the first.
    """

    id = models.UUIDField(primary_key=True)
    due_at = models.DateTimeField(db_default=Now())
    removed_at = models.DateTimeField(null=True, editable=False)
    keys = ArrayField(
        models.TextField(), db_default=[], editable=False, help_text="What its row says it had."
    )

    class Meta:
        ordering = ["due_at"]
        indexes = [models.Index("due_at", name="pendingdeletion_due")]

    def __str__(self) -> str:
        return str(self.id)


class IdempotencyKey(models.Model):
    """Which upload an owner's request began, and a repeat of it means (`idempotency`).

    Written in the transaction that writes the Upload, and kept for a day whatever becomes of that. `upload_id` is no
    foreign key: the Upload ends and its Image may be deleted, and a repeat shall still not begin another.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="idempotency_keys"
    )
    path = models.CharField(max_length=100, help_text="Of the request.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of what was announced.")
    upload_id = models.UUIDField()
    leased_until = models.DateTimeField(
        null=True, help_text="Until then the request that began the upload may be busy with it."
    )
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index("expires_at", name="idempotencykey_expiry")]
        constraints = [
            models.UniqueConstraint(fields=["owner", "path", "key"], name="idempotencykey_is_one"),
        ]

    def __str__(self) -> str:
        return self.key


def hold_id(image_id: uuid.UUID) -> None:
    """Until the end of the transaction nobody else decides what becomes of an id that has no row to be locked."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [str(image_id)])


class Usage(models.Model):
    """What an owner's images and living uploads take, trash included. Written by triggers only (migration 0004).

    Who changes the sum holds the row until the end of the transaction, and locks no other upload or image after that.
    """

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="usage"
    )
    used = models.BigIntegerField(help_text="Bytes.")

    class Meta:
        verbose_name_plural = "usage"
        constraints = [
            models.CheckConstraint(condition=Q(used__gte=0), name="usage_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.used:,} bytes"


class Quota(models.Model):
    """What one owner may use, instead of OWNER_QUOTA. Beside Usage and not in it: who writes this never writes that."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="quota"
    )
    size = models.BigIntegerField(
        help_text="Bytes, instead of OWNER_QUOTA. 0: nothing may be uploaded."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(size__gte=0), name="quota_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.size:,} bytes"


class Installation(models.Model):
    """The one row that names this database; the bucket's `_meta/epoch` must say the same before a sweep removes.

    `turn` goes forward together with the bucket's `_meta/turn`, so that neither is older than the other unnoticed.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    epoch = models.UUIDField(default=uuid.uuid4, editable=False)
    turn = models.PositiveBigIntegerField(default=0, editable=False)
    restored_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="From here on nothing is removed by the clock, until an operator has confirmed.",
    )

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="installation_is_one")]

    def __str__(self) -> str:
        return str(self.epoch)


class Hold(models.Model):
    """A running backup, which reads what there was when it began: no deleted image's objects are removed (`holds`)."""

    began_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(help_text="Put off while the backup runs.")

    def __str__(self) -> str:
        return f"since {self.began_at:%Y-%m-%d %H:%M} UTC"


def digest(secret: str) -> str:
    """What is stored of a random secret: SHA-256 is enough, since there is nothing to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Throttle(models.Model):
    """How much somebody has asked lately: one row for each limit and whom it holds for (`throttles`).

    The table is unlogged (migration 0005): a crash forgets it, which costs nothing but a little patience.
    """

    key = models.TextField(primary_key=True)
    full_at = models.DateTimeField(help_text="When the whole quota is there again.")

    def __str__(self) -> str:
        return self.key


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def of(self, owner: User) -> Self:
        return self.filter(owner=owner)

    def alive(self, prefix: str) -> "ApiKey | None":
        """The key of this prefix, with its owner, if it still lets somebody in.

        Each request of a program asks for one. So the SQL is put together once: Django takes ten times as long to do
        it as Postgres to answer.
        """
        with connection.cursor() as cursor:
            cursor.execute(_alive_key(), [prefix])
            row = cursor.fetchone()
        if row is None:
            return None
        of_key, of_owner = _columns(ApiKey), _columns(User)
        key = ApiKey.from_db(self.db, of_key, row[: len(of_key)])
        key.owner = User.from_db(self.db, of_owner, row[len(of_key) :])
        return key

    def mint(
        self,
        owner: User,
        *,
        scopes: Iterable[str],
        name: str = "",
        expires_at: datetime | None = None,
    ) -> tuple["ApiKey", str]:
        """A new key and the text that its owner must keep: it cannot be shown again."""
        prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = self.create(
            owner=owner,
            name=on_one_line(name),
            scopes=sorted(set(scopes)),
            prefix=prefix,
            digest=digest(secret),
            expires_at=expires_at,
        )
        return key, f"sbx_{prefix}_{secret}"


def _columns(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


ALIVE = """
SELECT {columns} FROM media_api_apikey AS key JOIN auth_user AS owner ON owner.id = key.owner_id
WHERE key.prefix = %s AND owner.is_active AND (key.expires_at IS NULL OR key.expires_at > now())
"""


@cache
def _alive_key() -> str:
    tables = {"key": ApiKey, "owner": User}
    columns = [f"{name}.{column}" for name, table in tables.items() for column in _columns(table)]
    return ALIVE.format(columns=", ".join(columns))


class ApiKey(models.Model):
    """Lets a program act for its owner: `Authorization: Bearer sbx_<prefix>_<secret>`."""

    class Scope(models.TextChoices):
        READ = "read"
        WRITE = "write"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys"
    )
    name = models.CharField(max_length=100, blank=True)
    prefix = models.CharField(max_length=8, unique=True)
    digest = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=5, choices=Scope))
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Never, if empty.")
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(scopes__contained_by=["read", "write"], scopes__len__gt=0),
                name="apikey_scopes_known",
            )
        ]

    def __str__(self) -> str:
        return self.name or self.prefix

    def matches(self, secret: str) -> bool:
        return secrets.compare_digest(self.digest, digest(secret))

    def covers(self, other: "ApiKey") -> bool:
        """Whether it may do all that the other may, for as long: it then may make or revoke it."""
        lasts = self.expires_at is None or (
            other.expires_at is not None and other.expires_at <= self.expires_at
        )
        return lasts and {*other.scopes} <= {*self.scopes}

    @property
    def is_over(self) -> bool:
        """By the clock of this machine, to be shown. Who is let in, `alive` says."""
        return self.expires_at is not None and self.expires_at <= timezone.now()


class SignInLinkQuerySet(models.QuerySet["SignInLink"]):
    def mint(self, owner: User) -> str:
        """The token of a new link, `/login/<token>/`."""
        token = secrets.token_urlsafe(32)
        self.create(
            owner=owner, digest=digest(token), expires_at=database_now() + SignInLink.LIFETIME
        )
        return token

    def alive(self, token: str) -> Self:
        return self.filter(digest=digest(token), expires_at__gt=Now(), owner__is_active=True)

    def redeem(self, token: str) -> User | None:
        """The owner of an unused link, which is used up by this; of two at the same time one gets it."""
        link = self.alive(token).select_related("owner").first()
        if link is None or not self.filter(id=link.id).delete()[0]:
            return None
        return link.owner


class SignInLink(models.Model):
    """Signs its owner in once, within a quarter of an hour."""

    LIFETIME = timedelta(minutes=15)

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="sign_in_links"
    )
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()

    objects = SignInLinkQuerySet.as_manager()

    def __str__(self) -> str:
        return f"sign-in link of {self.owner_id}"
