"""What machines ask: is the process alive, can it answer, how is it doing."""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min, Model, Sum
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from procrastinate.contrib.django.models import ProcrastinateJob
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from media_api.exceptions import StorageUnavailable
from media_api.models import Image, PendingDeletion, Upload
from media_api.storage import image_storage

SKEW = timedelta(minutes=15)  # further off, stores refuse what we sign (S3 API reference)


@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. No I/O."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """503 when the database or a migration is missing. Without the bucket, lists and metadata still work: 200."""
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, InterfaceError):
        return JsonResponse({"status": "down", "database": "down"}, status=503)
    if pending:
        return JsonResponse({"status": "down", "database": "not migrated"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok", "bucket": bucket_state()})


def bucket_state() -> str:
    try:
        status, ahead = image_storage().probe()
    except StorageUnavailable:
        return "down"
    if status in (200, 404):
        return "ok" if status == 200 else "not prepared"
    if abs(ahead) > SKEW:
        return f"clock is {abs(ahead) // timedelta(minutes=1)} minutes off"
    return "down"


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus. Open where the service listens on loopback only; otherwise for who knows METRICS_TOKEN."""
    if not settings.METRICS_OPEN:
        expected = f"Bearer {settings.METRICS_TOKEN}"
        given = request.headers.get("Authorization", "")
        if not settings.METRICS_TOKEN or not constant_time_compare(given, expected):
            raise Http404
    return HttpResponse(generate_latest(DatabaseCollector()), content_type=CONTENT_TYPE_LATEST)


class DatabaseCollector(Collector):
    """Counted in the database at each scrape, so that every process of the app says the same."""

    def collect(self) -> Iterator[Metric]:
        kept = Image.objects.aggregate(
            count=Count("id"),
            size=Sum("size", default=0),
            damaged=Count("damaged_at"),
            unread=Now() - Min("checked_at"),
        )
        yield GaugeMetricFamily("shoebox_images", "Images, trash included", kept["count"])
        yield GaugeMetricFamily("shoebox_image_bytes", "Bytes of originals", kept["size"])
        yield GaugeMetricFamily(
            "shoebox_damaged_images", "Images whose original is missing or damaged", kept["damaged"]
        )
        yield GaugeMetricFamily(
            "shoebox_oldest_content_check_seconds",
            "Since the bytes of the image that was not checked for longest were read",
            kept["unread"].total_seconds() if kept["unread"] else 0,
        )
        yield GaugeMetricFamily(
            "shoebox_pending_deletions",
            "Deleted images whose objects are still to be removed or looked for",
            PendingDeletion.objects.count(),
        )
        yield _by_state("shoebox_uploads", "Uploads that are not images", Upload, "state")
        yield GaugeMetricFamily(
            "shoebox_set_aside_uploads",
            "Staged uploads that no job looks at any more, by a fault of ours",
            Upload.objects.set_aside().count(),
        )
        yield _by_state("shoebox_jobs", "Jobs of the queue", ProcrastinateJob, "status")


def _by_state(name: str, text: str, model: type[Model], field: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[field])
    rows = model._default_manager.order_by().values_list(field).annotate(Count("pk"))
    for state, count in rows:
        family.add_metric([state], count)
    return family
