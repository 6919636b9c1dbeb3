"""Very many images, as rows alone: what they look like in Postgres after a year of uploads, made in seconds.

Their names and tags are words of which some are everywhere and some are nearly nowhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TAGS = ("everywhere", "often", "seldom", "rare")  # each about 30 times as rare as the one before

IMAGES = """
INSERT INTO media_api_image (
    id, owner_id, name, tags, path, stripped_path, size, date, content_type, width, height, frames, sha256, sides,
    placeholder, derived, version
)
SELECT
    id, %(owner)s, name, tags, 'images/' || id || '/original.jpg', 'images/' || id || '/original.jpg', size, date,
    content_type, 4032, 3024, 1, encode(sha256(number::text::bytea), 'hex'), '{320,640,1280,2560}',
    'data:image/webp;base64,' || repeat('UklGRg', 20), '{}', 1
FROM generate_series(1, %(count)s::bigint) AS number, LATERAL (
    SELECT
        ('0198c9a4-7d2e-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid AS id,
        timestamptz '2026-01-01Z' + number * interval '1 second' AS date,
        'IMG_' || lpad(number::text, 8, '0') || ' ' || (%(words)s::text[])[1 + number * 7919 %% 1000] || '.jpg' AS name,
        array_remove(ARRAY[
            'everywhere',
            CASE WHEN number %% 31 = 7 THEN 'often' END,
            CASE WHEN number %% 901 = 77 THEN 'seldom' END,
            CASE WHEN number %% 27001 = 777 THEN 'rare' END,
            (%(words)s::text[])[1 + number * 104729 %% 1000]
        ], NULL) AS tags,
        100000 + number * 7919 %% 8000000 AS size,
        (ARRAY['image/jpeg', 'image/jpeg', 'image/jpeg', 'image/jpeg', 'image/png'])[1 + number %% 5] AS content_type
) AS labelled
"""
TAGGED = """
INSERT INTO media_api_imagetag (owner_id, tag, date, image_id)
SELECT owner_id, tag, date, id FROM media_api_image, unnest(tags) AS tag
"""
USED = """
INSERT INTO media_api_usage (owner_id, used) SELECT owner_id, sum(size) FROM media_api_image GROUP BY owner_id
"""
WORDS = ["w" + format(number * 40503 % 65536, "04x") for number in range(1000)]
INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = 'media_api_image'::regclass AND NOT indisprimary AND NOT indisunique
"""


def fill(cursor: Any, count: int, *, owner: int) -> None:
    """So many images for somebody who has none. The cursor is that of a superuser, outside of a transaction."""
    with without_triggers(cursor), without_indexes(cursor):
        cursor.execute(IMAGES, {"count": count, "owner": owner, "words": WORDS})
        cursor.execute(TAGGED)
        cursor.execute(USED)
    for table in "media_api_image", "media_api_imagetag":
        cursor.execute(f"VACUUM ANALYZE {table}")


@contextmanager
def without_triggers(cursor: Any) -> Iterator[None]:
    cursor.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        cursor.execute("RESET session_replication_role")


@contextmanager
def without_indexes(cursor: Any) -> Iterator[None]:
    """They are made faster at the end, all at once."""
    cursor.execute(INDEXES)
    definitions = dict(cursor.fetchall())
    for name in definitions:
        cursor.execute(f"DROP INDEX {name}")
    try:
        yield
    finally:
        for definition in definitions.values():
            cursor.execute(definition)
