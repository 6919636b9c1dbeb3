#!/usr/bin/env python
import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import OperationalError

from project import embedded
from project.management.commands import serve


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] == ["serve"]:
        serve.Command().run_from_argv(sys.argv)  # without django.setup(): see there
        return
    try:
        execute_from_command_line(sys.argv)
    except OperationalError:
        if not settings.EMBEDDED or embedded.is_running(settings.DATA):
            raise
        sys.exit("The database is not running. Start it with `make run`, then try again.")


if __name__ == "__main__":
    main()
