"""With nothing to do, what runs by the clock reads a few pages, however many rows there are."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from media_api import damage, images, retries, sweeps
from media_api.storage import ImageStorage

ROWS = 20_000
FEW = 20  # pages; the smallest of the tables has more than a hundred
SWEEPS = [
    images.purge_due,
    images.empty_old_trash,
    sweeps.expire_overdue,
    sweeps.sweep_staging,
    sweeps.forget_idempotency_keys,
    retries.enqueue_forgotten,
    damage.check_content,
]


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.__name__)
def test_a_sweep_that_finds_nothing_reads_next_to_nothing(
    alice: User, storage: ImageStorage, sweep: Callable[[], int]
) -> None:
    fill(alice)
    with CaptureQueriesContext(connection) as seen:
        assert sweep() == 0
    statements = [query["sql"] for query in seen if "media_api_" in query["sql"]]
    assert statements
    for statement in statements:
        assert pages(statement) <= FEW, statement


def fill(owner: User, rows: int = ROWS) -> None:
    """Rows that no sweep is about: a tenth of the images lies in the trash, and the uploads have ended."""
    with connection.cursor() as cursor:
        for statement in ROWS_OF:
            cursor.execute(statement, {"owner": owner.id, "rows": rows})
        cursor.execute("ANALYZE")


IDS = "(SELECT number, gen_random_uuid() AS id FROM generate_series(1, %(rows)s) AS number) AS ids"
ROWS_OF = [
    f"""
    INSERT INTO media_api_image (id, owner_id, name, tags, path, stripped_path, size, date, content_type, width, height,
        frames, sha256, sides, placeholder, derived, version, trashed_at)
    SELECT id, %(owner)s, 'cat ' || number || '.jpg', '{{}}', 'images/' || id || '/original.jpg', '', 1000,
        now() - number * interval '1 second', 'image/jpeg', 640, 480, 1, repeat('0', 64), '{{320}}', 'data:,', '{{}}',
        1, CASE WHEN number %% 10 = 0 THEN now() END
    FROM {IDS}""",
    f"""
    INSERT INTO media_api_upload (id, owner_id, name, tags, size, content_type, claimed_sha256, sha256, multipart_id,
        part_size, attempts, crashes, state, error_code, error_detail, expires_at)
    SELECT id, %(owner)s, 'cat.jpg', '{{}}', 10, 'image/jpeg', '', '', '', 0, 0, 0, 'refused', 'empty', '',
        now() + interval '1 day'
    FROM {IDS}""",
    f"INSERT INTO media_api_pendingdeletion (id, due_at) SELECT id, now() + interval '1 hour' FROM {IDS}",
    f"""
    INSERT INTO media_api_idempotencykey (owner_id, path, key, fingerprint, upload_id, expires_at)
    SELECT %(owner)s, '/', id::text, '', id, now() + interval '1 day' FROM {IDS}""",
]


def pages(statement: str) -> int:
    """That a statement reads. It is run once more, and finds as little."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
        plan = cursor.fetchone()[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
