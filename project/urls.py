from django.contrib import admin
from django.urls import include, path

from . import health

urlpatterns = [
    path("livez", health.livez),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("api/v1/", include("media_api.urls")),
    path("admin/", admin.site.urls),
    path("", include("web.urls")),
]

handler400 = "project.errors.bad_request"
handler403 = "project.errors.forbidden"
handler404 = "project.errors.not_found"
handler500 = "project.errors.fault"
