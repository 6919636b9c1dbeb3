"""In by password or by a one-time link, and out. Signing in gives the session a new key (django.contrib.auth.login)."""

from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView, LogoutView, RedirectURLMixin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from media_api.models import SignInLink
from media_api.throttles import count_dead_link
from web.forms import SignInForm


class PasswordSignIn(LoginView):
    template_name = "web/login.html"
    form_class = SignInForm
    http_method_names = ["get", "head", "post", "options"]
    redirect_authenticated_user = True


@method_decorator([login_not_required, never_cache], name="dispatch")
class LinkSignIn(RedirectURLMixin, View):
    """Opening the link shows a button; pressing it uses the link up. So the preview of a chat program does not."""

    next_page = "web:gallery"

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        is_alive = SignInLink.objects.alive(token).exists()
        return self.page(is_alive=is_alive)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        user = SignInLink.objects.redeem(token)
        if user is None:
            return self.page(is_alive=False)
        login(request, user)
        return HttpResponseRedirect(self.get_success_url())

    def page(self, *, is_alive: bool) -> HttpResponse:
        if not is_alive:
            count_dead_link(self.request)
        context = {"is_alive": is_alive, "next": self.get_redirect_url()}
        return render(
            self.request, "web/sign_in_link.html", context, status=200 if is_alive else 410
        )


@method_decorator(login_not_required, name="dispatch")
class SignOut(LogoutView):
    """POST only; also for who is not signed in any more."""
