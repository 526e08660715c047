"""The WSGI application that the web server runs."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

application = get_wsgi_application()

from django.conf import settings  # noqa: E402  # they are there only now

from webapp import tracing  # noqa: E402
from webapp.keys import month_use  # noqa: E402  # their models can be imported only now
from webapp.usage import ledger, traffic  # noqa: E402

tracing.start(settings.TRACES_ENDPOINT, "scorepod-web")
month_use.write_in_background()
traffic.write_in_background()
ledger.write_in_background()
