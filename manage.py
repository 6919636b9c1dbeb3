#!/usr/bin/env python
import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] == ["serve"]:
        from project.management.commands.serve import Command

        Command().run_from_argv(sys.argv)  # without django.setup(): see there
    else:
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
