"""The API's addresses, the same on every host; also what the OpenAPI document describes."""

from django.urls import include, path

urlpatterns = [
    path("", include("mapping.api.urls")),
    path("", include("reporting.api.urls")),
]
