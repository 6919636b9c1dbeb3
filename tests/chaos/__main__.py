"""`make chaos MINUTES=20 STORE=minio SEED=...`: disturb a service under load in every way, and count what it survived.

A round has a deployment of its own, twenty disturbances, then rest and the nine questions of the checker. The seed of a
round, which is printed, makes the same choices again: `make chaos ROUND=SEED/3`.
"""

import argparse
import os
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice, product
from pathlib import Path
from typing import get_args

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from media_api.faults import ACTIONS, Point
from tests.chaos.checker import COLUMNS
from tests.chaos.disturbances import DISTURBANCES
from tests.chaos.run import COMMANDS, Plan, Run

PER_ROUND = 20
HITS = (1, 2, 3)
Card = Plan | str


def deck(seed: str) -> Iterator[Card]:
    """Every point once, with some action at some hit, and whatever comes from outside, in some order; then every point
    with another action or hit; and so on."""
    dice = random.Random(seed)
    points = [point for point in get_args(Point) if point not in COMMANDS]
    choices = [
        dice.sample(list(product([point], ACTIONS, HITS)), len(ACTIONS) * len(HITS))
        for point in points
    ]
    while True:
        for turn in zip(*choices, strict=True):
            cards: list[Card] = [*(Plan(*choice) for choice in turn), *DISTURBANCES]
            yield from dice.sample(cards, len(cards))


def cards(seed: str, number: int) -> Iterator[Card]:
    """Those of one round, which are numbered from 1."""
    return islice(deck(seed), PER_ROUND * (number - 1), PER_ROUND * number)


class Campaign:
    def __init__(self, store: str) -> None:
        self.store = store
        self.survived: Counter[tuple[str, str]] = Counter()
        self.not_reached: Counter[str] = Counter()
        self.columns: Counter[str] = Counter()
        self.pictures = self.requests = self.rounds = 0

    def round(self, seed: str, number: int) -> None:
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        print(f"\n{self.store}, round {seed}/{number}, in {folder}", flush=True)
        run = Run(folder, self.store, seed=f"{seed}/{number}")
        try:
            with run.load():
                for card in cards(seed, number):
                    self.play(run, card)
            say("peace")
            run.settle()
            say("all has come to its end")
            found = run.found()
        finally:
            run.close()
        self.note(run, found)

    def play(self, run: Run, card: Card) -> None:
        if isinstance(card, str):
            DISTURBANCES[card](run.deployment, run.dice)
            self.survived[card, ""] += 1
        elif run.inject(card):
            self.survived[card.point, card.action] += 1
        else:
            self.not_reached[card.point] += 1
        say(card)

    def note(self, run: Run, found: list[str]) -> None:
        self.rounds += 1
        self.pictures += len(run.history.pictures)
        self.requests += len(run.history.events)
        self.columns.update(finding.partition(":")[0] for finding in found)
        for finding in found:
            say(finding)
        say(f"{len(run.history.pictures)} pictures, {len(found)} findings")

    def tell(self) -> None:
        """As docs/reliability.md has it."""
        print(f"\n{self.rounds} rounds on {self.store}, {self.pictures:,} pictures,", end=" ")
        print(f"{self.requests:,} requests, {self.survived.total():,} disturbances\n")
        print("| what happened | times |", "|---|---:|", sep="\n")
        for what in sorted({what for what, _ in self.survived}):
            each = {action: self.survived[what, action] for action in ("", *ACTIONS)}
            said = ", ".join(f"{action} {times}".strip() for action, times in each.items() if times)
            print(f"| {what.replace('_', ' ')} | {said} |")
        print("\n| | found | times |", "|---|---|---:|", sep="\n")
        for column, what in COLUMNS.items():
            print(f"| {column} | {what} | {self.columns[column]} |")
        if self.not_reached:
            print(f"\nNot reached in time: {dict(self.not_reached)}")


def say(what: object) -> None:
    print(f"  {time.strftime('%X')} {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--store", choices=["rclone", "minio"], default="rclone")
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--round", help="only this one: SEED/3")
    options = parser.parse_args()
    campaign = Campaign(options.store)
    end = time.monotonic() + 60 * options.minutes
    seed, _, only = (options.round or options.seed).partition("/")
    for number in [int(only)] if only else count(1):
        campaign.round(seed, number)
        if time.monotonic() > end:
            break
    campaign.tell()
    return 1 if campaign.columns else 0


if __name__ == "__main__":
    sys.exit(main())
