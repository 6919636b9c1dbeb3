from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from media_api.models import SignInLink


class Command(BaseCommand):
    help = "Create an account if it is new, and print a one-time sign-in link for it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--staff", action="store_true", help="may use the admin")

    def handle(self, *args: Any, name: str, staff: bool, **options: Any) -> None:
        try:
            User(username=name).clean_fields(exclude=["password"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        user, _ = User.objects.get_or_create(username=name)
        if not user.is_active:
            raise CommandError(f"The account {name} is switched off.")
        if staff:
            user.is_staff = user.is_superuser = True
        user.set_unusable_password() if not user.password else None
        user.save()
        token = SignInLink.objects.mint(user)
        self.stdout.write(f"{settings.PUBLIC_URL}/login/{token}/")
