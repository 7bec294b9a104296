"""WSGI entry point: `granian --interface wsgi pillars.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

from pillars.observability.logging import guard_process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pillars.settings")
application = get_wsgi_application()
guard_process()
