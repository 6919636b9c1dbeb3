from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from media_api.models import ApiKey, database_now


class Command(BaseCommand):
    help = "Make, list and revoke API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(required=True)
        create = commands.add_parser("create", help="prints the key, which is not shown again")
        create.add_argument("user")
        create.add_argument(
            "--scope", action="append", choices=ApiKey.Scope.values, required=True, dest="scopes"
        )
        create.add_argument("--name", default="")
        create.add_argument("--days", type=int, help="how long it works; for ever, if not given")
        create.set_defaults(do=self.create)
        found = commands.add_parser("list", help="prints prefix, scopes, end, last use and name")
        found.add_argument("user")
        found.set_defaults(do=self.list)
        revoke = commands.add_parser("revoke", help="the key stops working at once")
        revoke.add_argument("prefix", help="the 8 characters after sbx_")
        revoke.set_defaults(do=self.revoke)

    def handle(self, *args: Any, do: Any, **options: Any) -> None:
        do(**options)

    def create(
        self, *, user: str, scopes: list[str], name: str, days: int | None, **_: Any
    ) -> None:
        owner = account(user)
        try:
            ApiKey(name=name, scopes=scopes).clean_fields(exclude=["owner", "prefix", "digest"])
            expires_at = None if days is None else database_now() + timedelta(days=days)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except OverflowError as error:
            raise CommandError("--days is too large.") from error
        if days is not None and days < 1:
            raise CommandError("--days is at least 1.")
        _key, text = ApiKey.objects.mint(owner, scopes=scopes, name=name, expires_at=expires_at)
        self.stdout.write(text)

    def list(self, *, user: str, **_: Any) -> None:
        for key in ApiKey.objects.of(account(user)):
            end = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
            used = f"{key.last_used_at:%Y-%m-%d}" if key.last_used_at else "never"
            self.stdout.write(
                f"{key.prefix}  {','.join(key.scopes):<10}  ends {end:<10}  used {used:<10}  {key.name}"
            )

    def revoke(self, *, prefix: str, **_: Any) -> None:
        deleted, _rows = ApiKey.objects.filter(prefix=prefix).delete()
        if not deleted:
            raise CommandError(f"There is no key sbx_{prefix}_...")


def account(name: str) -> User:
    owner = User.objects.filter(username=name, is_active=True).first()
    if owner is None:
        raise CommandError(f"There is no account {name}: manage.py user {name} makes it.")
    return owner
