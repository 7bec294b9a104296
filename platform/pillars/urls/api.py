"""The API's addresses, the same on every host. Flat, because every request walks this list."""

from django.urls import URLPattern

from mapping.api.urls import urlpatterns as mapping
from reporting.api.urls import urlpatterns as reporting

urlpatterns: list[URLPattern] = [*mapping, *reporting]
