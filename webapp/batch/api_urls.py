"""Batches, and the two scoring calls, which may be answered by one."""

from django.urls import path

from webapp.batch import api

urlpatterns = [
    path("faq/match", api.MatchOrLaterView.as_view(), name="faq-match"),
    path("images/classify", api.ClassifyOrLaterView.as_view(), name="images-classify"),
    path("batches", api.BatchesView.as_view(), name="batches"),
    path("batches/<uuid:batch_id>", api.BatchView.as_view(), name="batch"),
    path("batches/<uuid:batch_id>/cancel", api.CancelView.as_view(), name="batch-cancel"),
    path("batches/<uuid:batch_id>/retry", api.RetryView.as_view(), name="batch-retry"),
    path("batches/<uuid:batch_id>/results", api.ResultsView.as_view(), name="batch-results"),
    path("batches/<uuid:batch_id>/errors", api.ErrorsView.as_view(), name="batch-errors"),
]
