"""For staff: look, search, delete. No list asks the bucket; a deleted row's objects follow by the triggers."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from procrastinate.contrib.django.models import ProcrastinateJob

from . import retries
from .models import ApiKey, Image, PendingDeletion, Quota, SignInLink, Upload, UploadQuerySet, Usage


class LookOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows are made by the service and never by hand. To delete one is safe."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Image)
class ImageAdmin(LookOnly):
    list_display = [
        "name",
        "owner",
        "content_type",
        "width",
        "height",
        "size",
        "date",
        "trashed_at",
        "damaged_at",
    ]
    list_filter = [
        "content_type",
        ("trashed_at", admin.EmptyFieldListFilter),
        ("damaged_at", admin.EmptyFieldListFilter),
        "date",
    ]
    list_select_related = ["owner"]
    search_fields = ["=id", "name", "owner__username", "=sha256"]
    ordering = ["-date"]


@admin.register(Upload)
class UploadAdmin(LookOnly):
    list_display = [
        "name",
        "owner",
        "state",
        "size",
        "attempts",
        "crashes",
        "error_code",
        "created_at",
    ]
    list_filter = ["state", "error_code", "created_at"]
    list_select_related = ["owner"]
    search_fields = ["=id", "name", "owner__username"]
    ordering = ["-created_at"]
    actions = ["try_again"]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        user = cast(User, request.user)
        return user.has_perm("media_api.change_upload")

    @admin.action(description="Try again what is set aside", permissions=["retry"])
    def try_again(self, request: HttpRequest, uploads: UploadQuerySet) -> None:
        count = retries.retry(list(uploads.values_list("id", flat=True)))
        self.message_user(request, f"Uploads that are tried again: {count}.")


@admin.register(PendingDeletion)
class PendingDeletionAdmin(LookOnly):
    list_display = ["id", "due_at", "removed_at"]
    list_filter = [("removed_at", admin.EmptyFieldListFilter)]
    search_fields = ["=id"]

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # its objects would be left over


@admin.register(ApiKey)
class ApiKeyAdmin(LookOnly):
    list_display = ["prefix", "owner", "name", "scopes", "created_at", "expires_at", "last_used_at"]
    list_filter = ["created_at"]
    list_select_related = ["owner"]
    search_fields = ["prefix", "name", "owner__username"]
    exclude = ["digest"]


@admin.register(SignInLink)
class SignInLinkAdmin(LookOnly):
    list_display = ["owner", "expires_at"]
    list_select_related = ["owner"]
    search_fields = ["owner__username"]
    exclude = ["digest"]


class UsageInline(admin.TabularInline):  # type: ignore[type-arg]
    """Counted by triggers."""

    model = Usage
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class QuotaInline(admin.TabularInline):  # type: ignore[type-arg]
    """Deleted, the account has OWNER_QUOTA again."""

    model = Quota


class OwnerAdmin(UserAdmin):  # type: ignore[type-arg]
    inlines = [UsageInline, QuotaInline]


admin.site.unregister(User)
admin.site.register(User, OwnerAdmin)


def sign_in(request: HttpRequest, extra_context: Any = None) -> HttpResponse:
    """There is one door, with one rule for wrong passwords. Who came in by it and is not staff finds nothing here."""
    if admin.site.has_permission(request):
        return redirect("admin:index")
    if request.user.is_authenticated:
        raise Http404
    return redirect_to_login(request.GET.get("next", "/admin/"))


def change_password(request: HttpRequest, extra_context: Any = None) -> Any:
    return redirect("web:password")


admin.site.login = sign_in  # type: ignore[method-assign]
admin.site.password_change = change_password  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "Shoebox"
if admin.site.is_registered(ProcrastinateJob):
    admin.site.unregister(ProcrastinateJob)  # its list has 497 inline styles, which our CSP forbids
