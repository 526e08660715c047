"""The WSGI application that the web server runs."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

application = get_wsgi_application()

# Only now: settings and models are there once Django is set up.
from django.conf import settings

from webapp import tracing
from webapp.faq import asked
from webapp.keys import month_use
from webapp.usage import ledger, traffic

tracing.start(settings.TRACES_ENDPOINT, "scorepod-web")
month_use.write_in_background()
traffic.write_in_background()
ledger.write_in_background()
asked.write_in_background()
