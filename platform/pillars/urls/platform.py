"""Addresses on the platform's own host names."""

from django.urls import path
from django.views.generic import RedirectView

from pillars import health
from pillars.sites import platform_site
from pillars.urls.common import (
    handler400,
    handler403,
    handler404,
    handler500,
)
from pillars.urls.common import urlpatterns as common

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

urlpatterns = [
    *common,
    path("metrics", health.metrics_view, name="metrics"),
    path("admin/", platform_site.urls),
    path("", RedirectView.as_view(url="/admin/"), name="home"),
]
