from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from media_api.models import ApiKey


class Command(BaseCommand):
    help = "Make an API key: apikey create USER --scope read --scope write [--name LABEL]"

    def add_arguments(self, parser: CommandParser) -> None:
        create = parser.add_subparsers(required=True).add_parser("create")
        create.add_argument("user")
        create.add_argument(
            "--scope", action="append", choices=ApiKey.Scope.values, required=True, dest="scopes"
        )
        create.add_argument("--name", default="")

    def handle(self, *args: Any, user: str, scopes: list[str], name: str, **options: Any) -> None:
        owner = User.objects.filter(username=user, is_active=True).first()
        if owner is None:
            raise CommandError(f"There is no account {user}: manage.py user {user} makes it.")
        try:
            ApiKey(name=name, scopes=scopes).clean_fields(exclude=["owner", "prefix", "digest"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        _, text = ApiKey.objects.mint(owner, scopes=scopes, name=name)
        self.stdout.write(text)
