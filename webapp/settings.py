"""Django settings: the only reader of the environment.

What has no safe default has no default, so a forgotten secret stops the start. A secret NAME may come as a file:
NAME_FILE=/run/secrets/name. docs/operations.md lists every variable.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
import django_stubs_ext
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from webapp.audit.guards import KEPT_DAYS as AUDIT_KEPT_AT_LEAST
from webapp.logs import logging_config

# Lets Django's classes be written with their type, as in ModelAdmin[User].
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("VAR_DIR", BASE_DIR / "var"))


def env_secret(name: str, default: str | None = None) -> str:
    """The value of NAME, or what the file named in NAME_FILE holds."""
    if path := os.environ.get(f"{name}_FILE"):
        return Path(path).read_text(encoding="utf-8").strip()
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE; `make run` makes one up for this machine.")
    return value


def env_bool(name: str, *, default: bool) -> bool:
    """True for 1/true/yes/on, False for 0/false/no/off; refuses any other word."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    value = os.environ.get(name, str(int(default))).lower()
    if value not in words:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(words)}, not {value!r}.")
    return words[value]


def env_int(name: str, default: int) -> int:
    """A whole number, zero or more."""
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.")
    return int(value)


def env_list(name: str) -> list[str]:
    """What stands between the commas, without blanks around it; empty when the variable is not set."""
    return [part for part in map(str.strip, os.environ.get(name, "").split(",")) if part]


def env_bind(name: str) -> str:
    """Where to listen, such as 127.0.0.1:9100 or [::]:9100; empty when the variable is not set."""
    value = os.environ.get(name, "")
    if value and not re.fullmatch(r"([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}", value):
        raise ImproperlyConfigured(f"{name} must be a host and a port such as 127.0.0.1:9100, not {value!r}.")
    return value


def env_address(name: str) -> str:
    """An http(s) address; empty when the variable is not set."""
    value = os.environ.get(name, "")
    if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
        raise ImproperlyConfigured(f"{name} must be an address such as http://collector:4318, not {value!r}.")
    return value


def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = os.environ.get(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


# Where we are ---------------------------------------------------------------------------------------------------------

DEBUG = env_bool("DEBUG", default=False)
PUBLIC_URL = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
_public = urlsplit(PUBLIC_URL)
if _public.scheme not in {"http", "https"} or not _public.hostname or _public.path:
    raise ImproperlyConfigured(
        f"PUBLIC_URL must be an address such as https://scoring.example.org, not {PUBLIC_URL!r}."
    )
HTTPS = _public.scheme == "https"
# On one machine people also type the other name of the loopback address; a public site has its one name.
ALLOWED_HOSTS = [
    _public.hostname,
    *filter(None, os.environ.get("ALLOWED_HOSTS", "" if HTTPS else "127.0.0.1,localhost").split(",")),
]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
# How many proxies of our own stand in front. Their X-Forwarded-For and X-Forwarded-Proto are believed, nobody else's.
TRUSTED_PROXY_COUNT = env_int("TRUSTED_PROXY_COUNT", 0)
SECRET_KEY = env_secret("SECRET_KEY")
ROOT_URLCONF = "webapp.urls"
WSGI_APPLICATION = "webapp.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = ["webapp.formats"]

# Parts ----------------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "webapp.apps.SiteConfig",
    "webapp.audit",
    "webapp.accounts",
    "webapp.keys",
    "webapp.usage",
    "webapp.webhooks",
    "webapp.scoring",
    "webapp.registry",
    "webapp.faq",
    "webapp.images",
    "webapp.batch",
    "webapp.apps.Administration",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "webapp.apps.NeededStaticFiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "corsheaders",
    "csp",
    "django_htmx",
    "django_http_compression",
    "django_structlog",
    "drf_spectacular",
    "rest_framework",
]
MIDDLEWARE = [
    "webapp.middleware.MetricsMiddleware",
    "webapp.middleware.RequestIdMiddleware",
    "webapp.middleware.HealthMiddleware",
    "webapp.middleware.TracingMiddleware",
    "webapp.middleware.AccessLogMiddleware",
    "webapp.middleware.SafetyHeadersMiddleware",
    "corsheaders.middleware.CorsMiddleware",  # before all that answers: errors need its headers, too
    "csp.middleware.CSPMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",  # has its files packed beside them
    "webapp.compression.CompressionMiddleware",
    "webapp.middleware.RateLimitHeadersMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "webapp.audit.recording.AuditMiddleware",
    # Knows who asks, and still comes before the first look into a body: the CSRF check's `process_view`.
    "webapp.middleware.BodyLimitMiddleware",
    "webapp.batch.middleware.UploadMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "webapp.middleware.ProblemMiddleware",
]
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "frontend" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# State ----------------------------------------------------------------------------------------------------------------

DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(
        env_secret("DATABASE_URL", f"sqlite:///{VAR_DIR / 'db.sqlite3'}"), conn_max_age=60, conn_health_checks=True
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        # A write transaction takes its lock at the start, so two of them queue instead of one failing half way.
        "transaction_mode": "IMMEDIATE",
        "timeout": 10,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
REDIS_URL = env_secret("REDIS_URL", "")
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "webapp.cache.ForgivingRedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},  # seconds; a cache is there to be quick
    }
    if REDIS_URL
    # Counts tries to sign in, by person and by address: so many that those of one cannot be pushed out by others'.
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}}
}
MODEL_STORE = Path(os.environ.get("MODEL_STORE", VAR_DIR / "models"))
BATCH_DIR = Path(os.environ.get("BATCH_DIR", VAR_DIR / "batches"))  # shared by web and workers

# Scoring pods ---------------------------------------------------------------------------------------------------------

SCORING_CPU_URL = os.environ.get("SCORING_CPU_URL", "http://127.0.0.1:8001")
SCORING_GPU_URL = os.environ.get("SCORING_GPU_URL", "http://127.0.0.1:8002")
# Where each pod of a pool can be asked alone, for its state; without it the pool's own address stands for its pods.
SCORING_CPU_PODS = env_list("SCORING_CPU_PODS")
SCORING_GPU_PODS = env_list("SCORING_GPU_PODS")
SCORING_TOKEN = env_secret("SCORING_TOKEN", "")

# Background work ------------------------------------------------------------------------------------------------------

QUEUES = ("default", "batch", "training")
BROKER_DIR = VAR_DIR / "broker"  # holds the messages where there is no Redis
CELERY_BROKER_URL = REDIS_URL or "files://localhost"
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "folder": str(BROKER_DIR),
    # Redis's, in seconds. Who sends something must not wait for one that is away; who reads asks again all the time.
    "max_retries": 0,
    "socket_connect_timeout": 0.4,
    "socket_timeout": 0.8,
    "polling_interval": 0.5,
    "visibility_timeout": 3600,  # what a worker had that died is delivered again after that
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker as long as it takes
CELERY_TASK_PUBLISH_RETRY = False  # whoever sends something is told at once
CELERY_TASK_QUEUES = [Queue(name) for name in QUEUES]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_CREATE_MISSING_QUEUES = False  # a name that is none of ours is a mistake
CELERY_TASK_IGNORE_RESULT = True  # what a task finds out, it writes into the database
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
# A worker that dies in the middle of a task has not done it: each task can stand being run twice.
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = env_int("WORKER_THREADS", 8)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False  # nobody uses it, and it fills the broker with queues of its own
CELERY_WORKER_HIJACK_ROOT_LOGGER = False  # logs go our way
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_TIMEZONE = "UTC"
# These run all the time; they get no line in the log each.
QUIET_TASKS = (
    *("registry.watch", "registry.shadow", "usage.merge", "webhooks.watch"),
    *("batch.watch", "batch.work", "batch.validate", "faq.watch_imports", "faq.follow_publications", "faq.gather"),
)
CELERY_WORKER_BEAT = env_bool("WORKER_BEAT", default=False)  # ours: this worker sends what the schedule below says
CELERY_BEAT_SCHEDULER = "webapp.liveness:NotingScheduler"
WORKER_STUCK_AFTER = env_int("WORKER_STUCK_AFTER_S", 30)  # seconds without a round, and a loop is taken to hang
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "keys.remind": {"task": "keys.remind", "schedule": crontab(minute="7"), "options": {"expires": 3600}},
    # Older ones are for nobody: the next has looked since.
    "registry.watch": {"task": "registry.watch", "schedule": 2.0, "options": {"expires": 10}},
    "keys.forget_calls": {"task": "keys.forget_calls", "schedule": crontab(minute="47"), "options": {"expires": 3600}},
    "keys.forget_months": {
        "task": "keys.forget_months",
        "schedule": crontab(minute="37", hour="3"),
        "options": {"expires": 3600},
    },
    "registry.prune": {"task": "registry.prune", "schedule": crontab(minute="17"), "options": {"expires": 3600}},
    "usage.merge": {"task": "usage.merge", "schedule": 20.0, "options": {"expires": 60}},
    "usage.prune": {"task": "usage.prune", "schedule": crontab(minute="23"), "options": {"expires": 3600}},
    "webhooks.watch": {"task": "webhooks.watch", "schedule": 5.0, "options": {"expires": 10}},
    "webhooks.prune": {"task": "webhooks.prune", "schedule": crontab(minute="27"), "options": {"expires": 3600}},
    "batch.watch": {"task": "batch.watch", "schedule": 2.0, "options": {"expires": 10}},
    "faq.follow_publications": {"task": "faq.follow_publications", "schedule": 2.0, "options": {"expires": 10}},
    "audit.prune": {"task": "audit.prune", "schedule": crontab(minute="42"), "options": {"expires": 3600}},
    "faq.watch_imports": {"task": "faq.watch_imports", "schedule": 10.0, "options": {"expires": 20}},
    "faq.forget_imports": {
        "task": "faq.forget_imports",
        "schedule": crontab(minute="52"),
        "options": {"expires": 3600},
    },
    "faq.gather": {"task": "faq.gather", "schedule": 20.0, "options": {"expires": 60}},
    "faq.prune": {"task": "faq.prune", "schedule": crontab(minute="57"), "options": {"expires": 3600}},
    "batch.retain": {"task": "batch.retain", "schedule": crontab(minute="37"), "options": {"expires": 3600}},
}

# Batch jobs -----------------------------------------------------------------------------------------------------------

# Requests of one worker that the pods may have at the same time: enough to keep two pods busy.
BATCH_REQUESTS_AT_ONCE = env_int("BATCH_REQUESTS_AT_ONCE", 4)
BATCH_COMPLETE_WITHIN_H = env_int("BATCH_COMPLETE_WITHIN_H", 24)  # then what is not scored is left out
BATCH_KEPT_DAYS = env_int("BATCH_KEPT_DAYS", 30)  # after its end a job's files are kept so long

# People ---------------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["webapp.accounts.backends.PeopleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["email", "name"]},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "faq:search"
LOGOUT_REDIRECT_URL = "home"
SESSION_COOKIE_AGE = 14 * 24 * 3600  # seconds
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = True

# EMAIL_URL: console: (prints), smtp://user:password@host:25, smtp+tls://…:587 (STARTTLS) or smtps://…:465.
_email = urlsplit(env_secret("EMAIL_URL", "console:"))
_email_tls = {"console": "", "smtp": "", "smtp+tls": "starttls", "smtps": "tls"}
if _email.scheme not in _email_tls or (_email.scheme != "console" and not _email.hostname):
    raise ImproperlyConfigured("EMAIL_URL must be console: or such as smtp+tls://user:password@mail.example.org:587.")
EMAIL_ON_CONSOLE = _email.scheme == "console"
EMAIL_BACKEND = f"django.core.mail.backends.{'console' if EMAIL_ON_CONSOLE else 'smtp'}.EmailBackend"
EMAIL_HOST = _email.hostname or ""
EMAIL_PORT = _email.port or {"smtp+tls": 587, "smtps": 465}.get(_email.scheme, 25)
EMAIL_HOST_USER = unquote(_email.username or "")
EMAIL_HOST_PASSWORD = unquote(_email.password or "")
EMAIL_USE_TLS = _email_tls[_email.scheme] == "starttls"
EMAIL_USE_SSL = _email_tls[_email.scheme] == "tls"
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = os.environ.get("EMAIL_FROM", f"Scorepod <no-reply@{_public.hostname}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

ACCOUNT_ADAPTER = "webapp.accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = env_choice(
    "EMAIL_VERIFICATION", "optional" if EMAIL_ON_CONSOLE else "mandatory", ("mandatory", "optional")
)
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_DEFAULT_HTTP_PROTOCOL = _public.scheme
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGIN_ON_PASSWORD_RESET = False
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_MAX_EMAIL_ADDRESSES = 5
ACCOUNT_SESSION_REMEMBER = None
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "signup": "20/m/ip",
    # Wrong passwords and codes; webapp/accounts/guesses.py says for whom each counts.
    "login_failed": "10/m/ip,5/5m/key",
    "login_failed_known": "5/5m/key",
    "login_failed_everywhere": "30/h/key",
}
BROWSER_COOKIE_NAME = "__Host-browser" if HTTPS else "browser"  # which accounts know it
BROWSER_COOKIE_AGE = 180 * 24 * 3600  # seconds
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXY_COUNT

# Sign-in with an organisation's identity provider by OpenID Connect, such as Entra ID. OIDC is empty without one.
_issuer = os.environ.get("OIDC_ISSUER", "").rstrip("/")
OIDC: dict[str, Any] = {}
if _issuer:
    OIDC = {
        "issuer": _issuer,
        "client_id": os.environ.get("OIDC_CLIENT_ID", ""),
        "client_secret": env_secret("OIDC_CLIENT_SECRET", ""),
        "name": os.environ.get("OIDC_NAME", "Microsoft"),
        # Which group over there has which role here, and the claim that names a person's groups.
        "roles": dict(each.rpartition("=")[::2] for each in env_list("OIDC_ROLES")),
        "roles_claim": os.environ.get("OIDC_ROLES_CLAIM", "groups"),
        "email_domains": env_list("OIDC_EMAIL_DOMAINS"),  # whose addresses need no confirmation
        "sign_up": env_bool("OIDC_SIGN_UP", default=True),  # whether who comes for the first time gets an account
        "asks_second_factor": env_bool("OIDC_ASKS_SECOND_FACTOR", default=False),
    }
    _provider = urlsplit(_issuer)
    if _provider.scheme != "https" and _provider.hostname not in {"127.0.0.1", "localhost"}:
        raise ImproperlyConfigured(f"OIDC_ISSUER must be an https address, not {_issuer!r}.")
    if {"common", "organizations", "consumers"} & set(_provider.path.split("/")):
        raise ImproperlyConfigured("OIDC_ISSUER must name your own tenant; this one lets every Microsoft account in.")
    if not OIDC["client_id"] or not OIDC["client_secret"]:
        raise ImproperlyConfigured("With OIDC_ISSUER, set OIDC_CLIENT_ID and OIDC_CLIENT_SECRET too.")
    if unknown := sorted(set(OIDC["roles"].values()) - {"viewer", "operator", "admin"}):
        raise ImproperlyConfigured(
            f"OIDC_ROLES must be such as 7f3c…=admin,9ab2…=viewer; {', '.join(map(repr, unknown))} is no role."
        )
SOCIALACCOUNT_ADAPTER = "webapp.accounts.oidc.adapter.CompanyAdapter"
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"provider_class": "webapp.accounts.oidc.provider.CompanyProvider"}}
SOCIALACCOUNT_STORE_TOKENS = False  # nothing is done over there in anybody's name
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5  # seconds

MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Scorepod"
MFA_TOTP_TOLERANCE = 1  # the code before and after counts too: phones' clocks differ
MFA_RECOVERY_CODES_SHOW_ONCE = True
# Whether those who may change what serves need a second factor.
ADMIN_MFA_REQUIRED = env_bool("ADMIN_MFA_REQUIRED", default=not DEBUG)
ADMIN_MFA_AGE = env_int("ADMIN_MFA_HOURS", 12) * 3600  # seconds that a code typed opens the admin for

# The security log. The database itself keeps the last 90 days.
AUDIT_KEPT_DAYS = env_int("AUDIT_KEPT_DAYS", 400)
if AUDIT_KEPT_DAYS < AUDIT_KEPT_AT_LEAST:
    raise ImproperlyConfigured(f"AUDIT_KEPT_DAYS must be {AUDIT_KEPT_AT_LEAST} or more, not {AUDIT_KEPT_DAYS}.")

# Whom `manage.py ensure_users` makes, once.
FIRST_USERS = {
    "demo": {
        "name": "Demo",
        "email": os.environ.get("DEMO_EMAIL", "demo@example.com"),
        "password": env_secret("DEMO_PASSWORD", ""),
    },
    "admin": {
        "name": "Administrator",
        "email": os.environ.get("ADMIN_EMAIL", "admin@example.com"),
        "password": env_secret("ADMIN_PASSWORD", ""),
    },
}

# API ------------------------------------------------------------------------------------------------------------------

API_KEY_HMAC_SECRET = env_secret("API_KEY_HMAC_SECRET")
# A minute: all requests; of what is scored the rows, questions and pictures; of the rest the requests. A person's limit
# counts the pages and all keys together.
RATE_LIMITS_PER_KEY = {
    "requests": env_int("RATE_LIMIT_REQUESTS_PER_KEY", 1200),
    "faq": env_int("RATE_LIMIT_FAQ_PER_KEY", 600),
    "images": env_int("RATE_LIMIT_IMAGES_PER_KEY", 240),
    "other": env_int("RATE_LIMIT_OTHER_PER_KEY", 300),
}
RATE_LIMITS_PER_USER = {
    "requests": env_int("RATE_LIMIT_REQUESTS_PER_USER", 2400),
    "faq": env_int("RATE_LIMIT_FAQ_PER_USER", 1200),
    "images": env_int("RATE_LIMIT_IMAGES_PER_USER", 480),
    "other": env_int("RATE_LIMIT_OTHER_PER_USER", 600),
}
RATE_LIMIT_BAD_KEYS = env_int("RATE_LIMIT_BAD_KEYS", 30)  # a minute and network address
# A minute and network address: questions of people who have not signed in. Each pause in typing asks one.
RATE_LIMIT_VISITORS = env_int("RATE_LIMIT_VISITORS", 120)

# Of a calendar month; 0: no quota. Requests that score, and the questions and pictures (rows) in them and in batches.
MONTH_QUOTAS_PER_KEY = {
    "requests": env_int("MONTH_REQUESTS_PER_KEY", 0),
    "rows": env_int("MONTH_ROWS_PER_KEY", 0),
}
MONTH_QUOTAS_PER_USER = {
    "requests": env_int("MONTH_REQUESTS_PER_USER", 0),
    "rows": env_int("MONTH_ROWS_PER_USER", 0),
}
# What the batch jobs of one person may come to.
BATCH_OPEN_JOBS = env_int("BATCH_OPEN_JOBS", 10)
BATCH_ROWS = env_int("BATCH_ROWS", 1_000_000)  # of one job
BATCH_BYTES = env_int("BATCH_BYTES", 20_000_000_000)  # stored in all

# Which pages of other sites may call the API from a browser: with a key that their visitor brings, never by cookies.
_origins = env_list("CORS_ALLOWED_ORIGINS")
CORS_ALLOW_ALL_ORIGINS = _origins == ["*"]
CORS_ALLOWED_ORIGINS = [] if CORS_ALLOW_ALL_ORIGINS else _origins
CORS_URLS_REGEX = r"^(/api/v1/.*|/score)$"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CORS_ALLOW_HEADERS = [
    *("accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "prefer"),
    *("x-api-key", "x-request-id"),
]
CORS_EXPOSE_HEADERS = [
    *("Content-Disposition", "Deprecation", "ETag", "Idempotency-Replayed", "Link", "Location", "Preference-Applied"),
    *("RateLimit", "RateLimit-Policy", "Retry-After", "Sunset", "X-Model", "X-Model-Version", "X-Request-ID"),
]
CORS_PREFLIGHT_MAX_AGE = 3600  # seconds

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "webapp.keys.authentication.KeyAuthentication",
        "webapp.keys.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["webapp.keys.authentication.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["webapp.keys.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "webapp.openapi.ApiSchema",
    "EXCEPTION_HANDLER": "webapp.problems.answer_api_error",
    "DEFAULT_METADATA_CLASS": None,
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Scorepod API",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": PUBLIC_URL}],
    "DESCRIPTION": (
        "Match questions with a FAQ and classify pictures. Sign in with an API key: `Authorization: Bearer sp_…`. "
        "Errors are problems as RFC 9457 has them; every answer has an `X-Request-ID`."
    ),
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/v[0-9]",
    # Fields of one name with other choices each.
    "ENUM_NAME_OVERRIDES": {
        "BatchKind": "webapp.batch.models.Job.Kind",
        "DeliveryState": "webapp.webhooks.models.Delivery.State",
        "EntryState": "webapp.faq.models.Entry.State",
        "EventKind": "webapp.registry.models.Event.Kind",
    },
}

# Webhooks -------------------------------------------------------------------------------------------------------------

# Under which the secrets of endpoints are encrypted: the first encrypts, each may decrypt. None: API_KEY_HMAC_SECRET.
WEBHOOK_KEYS = [key for key in map(str.strip, env_secret("WEBHOOK_KEYS", "").split(",")) if key]
# Whether events may go to plain http and to addresses of this machine and its network.
WEBHOOK_ALLOW_PRIVATE = env_bool("WEBHOOK_ALLOW_PRIVATE", default=False)

# Static files ---------------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT", VAR_DIR / "static"))
STATICFILES_DIRS = [(name, BASE_DIR / "frontend" / name) for name in ("css", "js", "img")]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "webapp.static.HashedStaticFiles"},
}

# Safety ---------------------------------------------------------------------------------------------------------------

MIB = 1024 * 1024
MAX_IMAGES = 8  # in one request
MAX_IMAGE_BYTES = 10_000_000  # as much as the pods read
MAX_IMAGE_PIXELS = 50_000_000
MAX_BODY_BYTES = MIB  # of a request that brings no pictures; a question of 10,000 characters fits however it is escaped
MAX_UPLOAD_BYTES = MAX_IMAGES * MAX_IMAGE_BYTES + MIB  # the last part leaves room for the parts' headers
UPLOAD_PATHS = ("/images/", "/api/v1/images/", "/score")
MAX_ARTIFACT_UPLOAD_BYTES = 1_000_000_000  # a version as a zip, or an evaluation set
MAX_ARTIFACT_BYTES = 4_000_000_000  # the same, unpacked
ARTIFACT_UPLOAD_PATHS = re.compile(r"/admin/models/[^/]+/(upload|evaluation-set)")
BATCH_UPLOAD_BYTES = env_int("BATCH_UPLOAD_BYTES", 6_000_000_000)  # of one batch, straight to the disk
FAQ_IMPORT_BYTES = env_int("FAQ_IMPORT_BYTES", 200_000_000)  # of one file of entries
FAQ_IMPORT_LINES = env_int("FAQ_IMPORT_LINES", 200_000)  # of one
FAQ_IMPORT_PATHS = re.compile(r"/faq/[^/]+/imports/")
BATCH_PATHS = ("/batches/", "/api/v1/batches")
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100
MAX_FORM_FILES = 50  # that wait in memory or temporary files
DATA_UPLOAD_MAX_NUMBER_FILES = 5000  # of a batch; there they take no memory
FILE_UPLOAD_HANDLERS = [
    "webapp.bodies.FewFiles",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_IMAGE_BYTES + MIB  # of the whole body; a larger one waits in temporary files

CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],  # data: the QR code of two-factor sign-in; blob: previews before upload
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        # The provider's own page, too: browsers check where the form that leads there is redirected to.
        "form-action": [SELF, *([f"{_provider.scheme}://{_provider.netloc}"] if OIDC else [])],
        "base-uri": [NONE],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
        "upgrade-insecure-requests": HTTPS,
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = env_int("HSTS_SECONDS", 365 * 24 * 3600) if HTTPS else 0
# Both bind the whole domain, the second for months after it is taken back: its owner asks for them, or nobody does.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env_bool("HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env_bool("HSTS_PRELOAD", default=False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # which ask for the two
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_NAME = "__Host-session" if HTTPS else "session"
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_NAME = "__Host-csrf" if HTTPS else "csrf"
CSRF_COOKIE_HTTPONLY = True  # scripts read the token from the page
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "webapp.problems.csrf_failure"

# Metrics, traces ------------------------------------------------------------------------------------------------------

METRICS_BIND = env_bind("METRICS_BIND")  # where this process tells Prometheus what it has counted; empty: nowhere

# Where spans go, such as http://collector:4318; empty: traces are off.
TRACES_ENDPOINT = env_address("OTEL_EXPORTER_OTLP_ENDPOINT")

# Logs -----------------------------------------------------------------------------------------------------------------

LOG_FORMAT = env_choice("LOG_FORMAT", "json", ("json", "console"))
LOG_LEVEL = env_choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = logging_config(form=LOG_FORMAT, level=LOG_LEVEL)
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # RequestIdMiddleware has let only well-formed ones through
DJANGO_STRUCTLOG_TRUST_UPSTREAM_CORRELATION_ID = False  # it would go into each line, whatever it says
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = 10  # debug: the line at the end of a request says it all
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = 20  # info: the client's mistake is not our warning
DJANGO_STRUCTLOG_STATUS_5XX_LOG_LEVEL = 30  # warning: something is away; an error of our own has a line of its own
