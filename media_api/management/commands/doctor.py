import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from media_api.doctor import Finding, State, examine


class Command(BaseCommand):
    help = "Look at settings, machine, database and bucket, and say what is wrong and what to do. Exit code 1 if so."
    requires_system_checks = []  # it tells of them itself

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="a list of objects")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for name, finding in examine():
            findings.append({"name": name, **asdict(finding)})
            if not options["json"]:
                self._say(name, finding)
        states = Counter(finding["state"] for finding in findings)
        is_well = states.keys() <= {State.OK, State.NOTE}
        if options["json"]:
            self.stdout.write(json.dumps(findings, indent=2))
        else:
            self.stdout.write("All is well." if is_well else _summary(states))
        if not is_well:
            raise SystemExit(1)

    def _say(self, name: str, finding: Finding) -> None:
        colour = {
            State.OK: self.style.SUCCESS,
            State.WARN: self.style.WARNING,
            State.FAIL: self.style.ERROR,
        }.get(finding.state, str)
        self.stdout.write(f"{colour(f'{finding.state:8}')}{name:16} {finding.sentence}")
        if finding.remedy:
            self.stdout.write(f"{'':24} {finding.remedy}")
        self.stdout.flush()


def _summary(states: Counter[State]) -> str:
    return f"{states[State.FAIL]} failed, {states[State.WARN]} warned of, {states[State.SKIPPED]} not looked at."
