"""Addresses of the mapping API."""

from django.urls import path

from mapping.api import views

urlpatterns = [
    path("map", views.MapView.as_view(), name="map"),
    path("map/batch", views.MapBatchView.as_view(), name="map-batch"),
    path("versions", views.VersionsView.as_view(), name="versions"),
    path("events", views.EventsView.as_view(), name="events"),
]
