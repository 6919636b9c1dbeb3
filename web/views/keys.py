from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from media_api.models import ApiKey
from media_api.uploads import owner_is_there
from web.forms import KeyForm
from web.requests import SignedIn


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def keys_page(request: SignedIn) -> HttpResponse:
    """The answer to the form is the only page that ever has the secret, so it does not redirect."""
    form = KeyForm(request.POST or None)
    secret = ""
    if form.is_valid():
        with owner_is_there(request.user):
            _, secret = ApiKey.objects.mint(request.user, **form.cleaned_data)
        form = KeyForm()
    context = {"form": form, "secret": secret, "keys": ApiKey.objects.of(request.user)}
    return render(request, "web/keys.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: SignedIn, key_id: int) -> HttpResponse:
    key = get_object_or_404(ApiKey.objects.of(request.user), id=key_id)
    if request.method == "POST":
        key.delete()
        messages.success(request, f"The key {key} was revoked. It does not work any more.")
        return redirect("web:keys")
    return render(request, "web/revoke.html", {"key": key})
