from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.views.decorators.http import require_POST, require_safe

from media_api.accounts import account_of, sign_out
from web.forms import PasswordForm
from web.requests import SignedIn


@require_safe
def account_page(request: SignedIn) -> HttpResponse:
    return render(request, "web/account.html", {"account": account_of(request.user)})


class Password(PasswordChangeView):
    """Change the password, or set the first one: who came by a link has none to be asked for."""

    template_name = "web/password.html"
    success_url = reverse_lazy("web:account")
    http_method_names = ["get", "head", "post", "options"]

    request: SignedIn

    def get_form_class(self) -> Any:
        has_one = self.request.user.has_usable_password()
        return partial(PasswordForm, request=self.request) if has_one else SetPasswordForm

    def form_valid(self, form: Any) -> HttpResponse:
        answer = super().form_valid(form)
        sign_out(self.request.user, but=self.request.session.session_key)
        messages.success(self.request, "The new password is set. Other devices were signed out.")
        return answer


@require_POST
def sign_out_others(request: SignedIn) -> HttpResponse:
    sign_out(request.user, but=request.session.session_key)
    messages.success(request, "Every other device was signed out.")
    return redirect("web:account")
