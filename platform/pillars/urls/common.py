"""What every host serves: the API at / and at /api/v1/, its documentation, liveness."""

from typing import Any

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from pillars import health
from pillars.urls.api import urlpatterns as api

_documented: list[URLPattern | URLResolver] = [
    *api,
    path("health/live", health.LiveView.as_view(), name="health-live"),
    path("health/ready", health.ReadyView.as_view(), name="health-ready"),
]


def _docs(name: str) -> list[URLPattern | URLResolver]:
    public: dict[str, Any] = {
        "authentication_classes": [],
        "permission_classes": [],
        "throttle_classes": [],
    }
    return [
        path("openapi.json", SpectacularJSONAPIView.as_view(**public), name=f"{name}-openapi"),
        path(
            "docs",
            SpectacularSwaggerView.as_view(
                url_name=f"{name}-openapi",
                renderer_classes=[health.HtmlRenderer],
                **public,
            ),
            name=f"{name}-docs",
        ),
    ]


urlpatterns: list[URLPattern | URLResolver] = [
    *_documented,
    *_docs("root"),
    path("api/v1/", include((_documented, "v1"))),
    path("api/v1/", include(_docs("v1"))),
]
handler400 = "pillars.errors.bad_request"
handler403 = "pillars.errors.forbidden"
handler404 = "pillars.errors.not_found"
handler500 = "pillars.errors.server_error"
