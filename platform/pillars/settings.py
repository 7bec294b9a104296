"""Django's settings, made from the typed configuration (`pillars.yaml` and the environment).

Nothing is decided here that an operator may want to change: that lives in pillars.config.
"""

import os
import sys
from pathlib import Path
from typing import Any

import dj_database_url

from pillars.config import ConfigError, load_config
from pillars.observability.logging import logging_config
from pillars.unfold import UNFOLD, UNFOLD_PLATFORM, UNFOLD_TENANT  # noqa: F401

PACKAGE = Path(__file__).resolve().parent
REPOSITORY = PACKAGE.parent.parent


def _shipped(name: str) -> Path:
    """A file that lies in the repository, or inside the package when installed as a wheel."""
    return REPOSITORY / name if (REPOSITORY / name).exists() else PACKAGE / name


CONFIG_PATH = Path(os.environ.get("PILLARS_CONFIG") or _shipped("pillars.yaml"))
try:
    LOADED_CONFIG = load_config(CONFIG_PATH)
except ConfigError as error:
    # A person reads this at start-up: one clear line per fault, no traceback.
    sys.exit(f"Configuration refused.\n{error}")
CONFIG = LOADED_CONFIG.values

STATE_DIR = Path(os.environ.get("PILLARS_STATE_DIR") or REPOSITORY / ".pillars")
KNOWLEDGE_DIR = Path(os.environ.get("PILLARS_KNOWLEDGE_DIR") or _shipped("pillars-detectors"))

# Commands that never sign anything may run without a secret (a build, `check`, `show_config`).
SECRET_KEY = CONFIG.services.secret_key.get_secret_value() or "unset-" + "x" * 44
SECRET_KEY_IS_SET = bool(CONFIG.services.secret_key.get_secret_value())
DEBUG = False
# Hosts are checked against the platform's names and the tenants' domains in the database.
ALLOWED_HOSTS = ["*"]

_BOTH = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin.apps.SimpleAdminConfig",
    "pgtrigger",
    "access.users",
    "audit",
]
SHARED_APPS = [
    "unfold",  # before django_tenants, which brings admin templates of its own
    "unfold.contrib.filters",
    "pillars",
    "tenants",
    "django_tenants",
    *_BOTH,
    "access.keys",
    "pghistory",
    "taxonomy",
    "taxonomy.changes",
    "mapping.switch",
    "mapping.serving",
    "training",
    "training.runs",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
TENANT_APPS = [*_BOTH, "access.usage", "access.idempotency", "mapping", "reporting"]
INSTALLED_APPS = [*SHARED_APPS, *(app for app in TENANT_APPS if app not in SHARED_APPS)]

TENANT_MODEL = "tenants.Tenant"
TENANT_DOMAIN_MODEL = "tenants.Domain"
TENANT_LIMIT_SET_CALLS = True  # safe since django-tenants 4.0.1; tests/tenants guards it
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
ROOT_URLCONF = "pillars.urls.tenant"
PUBLIC_SCHEMA_URLCONF = "pillars.urls.platform"
AUTH_USER_MODEL = "users.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

MIDDLEWARE = [
    "pillars.observability.middleware.RequestMiddleware",
    "tenants.middleware.TenantMiddleware",
    "pillars.middleware.BrowserMiddleware",
]
# What pages for people need and the API does not: BrowserMiddleware runs these for them alone.
BROWSER_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
# These checks look for the browser middleware in MIDDLEWARE; it runs inside BrowserMiddleware.
SILENCED_SYSTEM_CHECKS = [
    *("admin.E408", "admin.E409", "admin.E410"),
    *("security.W001", "security.W002", "security.W003"),
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE / "templates"],
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
WSGI_APPLICATION = "pillars.wsgi.application"

DATABASES: dict[str, Any] = {
    "default": {
        **dj_database_url.parse(
            CONFIG.services.database_url.get_secret_value(),
            engine="django_tenants.postgresql_backend",
            conn_max_age=CONFIG.services.connection_seconds,
            # A connection that died with the server is replaced before a request uses it. The
            # event store does without the extra round trip: it repeats a lost write itself.
            conn_health_checks=True,
        ),
    }
}
DATABASES["default"].setdefault("OPTIONS", {}).update(
    {
        # A dead or hung database must answer as an error within seconds, never hang a request.
        "connect_timeout": 3,
        "options": "-c statement_timeout=30000 -c lock_timeout=5000",
    }
)
# Nothing is cached across requests by Django or a library: a shared cache is where tenants leak.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
REDIS_URL = CONFIG.services.redis_url.get_secret_value()

LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["pillars.formats"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = STATE_DIR / "static"
STATICFILES_DIRS = [PACKAGE / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "pillars.static.StaticFilesStorage"},
}
WHITENOISE_MAX_AGE = 3600

LOGIN_REDIRECT_URL = "/admin/"  # where Unfold goes if the login page was opened by itself
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = CONFIG.server.https
SESSION_SAVE_EVERY_REQUEST = False
SECURE_HSTS_SECONDS = 31_536_000 if CONFIG.server.https else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if CONFIG.server.trusted_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
DATA_UPLOAD_MAX_MEMORY_SIZE = CONFIG.limits.request_bytes
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000
# Django would write large files to a temporary one: a sample of raw output must never be on a disk.
FILE_UPLOAD_HANDLERS = ["pillars.uploads.InMemoryOnly"]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.keys.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["access.keys.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["access.keys.throttling.ItemThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["pillars.api.rendering.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["pillars.api.rendering.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "pillars.api.rendering.JsonNegotiation",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "pillars.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_VERSIONING_CLASS": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Pillars",
    "DESCRIPTION": (
        "Maps what LLM guardrail detectors emit onto one canonical taxonomy, with the controls of "
        "compliance frameworks on which each label bears. Raw detector output is neither stored "
        "nor logged.\n\nErrors are RFC 9457 problem details; `code` is stable."
    ),
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/",
    "COMPONENT_SPLIT_REQUEST": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "PREPROCESSING_HOOKS": ["pillars.api.schema.without_versioned_copies"],
    "POSTPROCESSING_HOOKS": ["pillars.api.schema.finish_schema"],
    "ENUM_NAME_OVERRIDES": {},
    "DISABLE_ERRORS_AND_WARNINGS": False,
    "LICENSE": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "SERVERS": [{"url": "/"}, {"url": "/api/v1"}],
}

EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_FILE_PATH = STATE_DIR / "mail"
if CONFIG.email.host is None:  # a machine for trying things out: whoever wants to read them can
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_HOST = CONFIG.email.host or ""
EMAIL_PORT = CONFIG.email.port
EMAIL_USE_SSL = CONFIG.email.tls
EMAIL_USE_TLS = CONFIG.email.starttls and not CONFIG.email.tls
EMAIL_HOST_USER = CONFIG.email.username or ""
EMAIL_HOST_PASSWORD = CONFIG.email.password.get_secret_value()
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = CONFIG.email.sender

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_DEFAULT_QUEUE = "celery"
CELERY_TASK_PUBLISH_RETRY = False  # the database row is the outbox; a sweep sends it again
CELERY_TASK_TIME_LIMIT = 900
CELERY_TASK_SOFT_TIME_LIMIT = 840
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Longer than any task may run, so that the broker never hands a running task out twice.
    "visibility_timeout": 3600,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    # Whoever sends a task must not wait for a broker that is away: the sweep sends it later.
    "max_retries": 1,
    "interval_start": 0.1,
}

LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logging_config(CONFIG.observability.log_level)
