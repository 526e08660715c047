"""One include per app, and the few pages that belong to none."""

from django.contrib import admin
from django.urls import include, path

from webapp import guide, pages
from webapp.apidocs import SchemaView
from webapp.faq.report_views import privacy

urlpatterns = [
    path("", pages.home, name="home"),
    path("faq/", include("webapp.faq.urls")),
    path("privacy/", privacy, name="privacy"),
    path("images/", include("webapp.images.urls")),
    path("batches/", include("webapp.batch.urls")),
    path("keys/", include("webapp.keys.urls")),
    path("webhooks/", include("webapp.webhooks.urls")),
    path("account/", include("webapp.accounts.urls")),
    path("", include("webapp.usage.urls")),
    path("", include("webapp.registry.urls")),
    path("accounts/", include("allauth.urls")),
    *(
        path(f"api/docs/{page.slug}".rstrip("/"), pages.api_docs, {"page": page}, name=page.url_name)
        for page in guide.PAGES
    ),
    path("api/v1/schema", SchemaView.as_view(), name="api-schema"),
    path("api/v1/", include("webapp.api_urls")),
    path("", include("webapp.reference.urls")),
    path("problems/<slug:slug>", pages.problem, name="problem"),
    path("admin/models/", include("webapp.registry.admin_urls")),
    path("admin/", admin.site.urls),
]

handler400 = "webapp.problems.bad_request"
handler403 = "webapp.problems.permission_denied"
handler404 = "webapp.problems.page_not_found"
handler429 = "webapp.problems.too_many_requests"  # allauth looks for it
handler500 = "webapp.problems.server_error"
