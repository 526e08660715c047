"""The site: everything a person or an API client talks to."""

from webapp.celery import app as celery_app

__all__ = ["celery_app"]  # Celery's shared_task belongs to the app that is there when it is called
