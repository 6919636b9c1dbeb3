"""`.env.example` has every variable that the settings read, in their order."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPOSE_ONLY = "# --- for docker-compose.yml only ---"


def test_env_example_has_every_setting_in_order() -> None:
    read = re.findall(
        r"""(?:env|env\.\w+|required)\(\s*"(\w+)\"""", (ROOT / "project/settings.py").read_text()
    )
    written = re.findall(r"^#?(\w+)=", example().split(COMPOSE_ONLY)[0], re.M)
    assert written == list(dict.fromkeys(read))


def test_env_example_has_every_variable_of_the_compose_file() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    names = set(re.findall(r"(?<!\$)\$\{(\w+)", compose))
    assert names <= set(re.findall(r"^#?(\w+)=", example(), re.M))


def example() -> str:
    return (ROOT / ".env.example").read_text()
