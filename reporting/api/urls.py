"""Addresses of the reports API."""

from django.urls import path

from reporting.api import views

urlpatterns = [
    path("reports", views.ReportsView.as_view(), name="reports"),
    path("reports/<uuid:report_id>", views.ReportDetailView.as_view(), name="report"),
    path(
        "reports/<uuid:report_id>/<str:file_format>",
        views.ReportFileDownloadView.as_view(),
        name="report-file",
    ),
]
