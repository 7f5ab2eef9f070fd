"""The compose file against the command line: no engine runs it here, but every command in it must be one of ours."""

from pathlib import Path

import click
import pytest
import yaml

from coinglass_streams.cli import root

COMPOSE = yaml.safe_load((Path(__file__).parents[3] / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "coinglass-streams"}


@pytest.mark.parametrize("name", OURS)
def test_every_service_runs_a_command_that_the_command_line_takes(name, monkeypatch):
    for variable, value in OURS[name].get("environment", {}).items():
        monkeypatch.setenv(variable, value)
    subcommand, *arguments = OURS[name]["command"]
    with click.Context(root) as ctx:
        command = root.get_command(ctx, subcommand)
        assert command is not None
        parsed = command.make_context(subcommand, arguments, parent=ctx)
    if "broker" in parsed.params:
        assert parsed.params["broker"] == "kafka:19092"


def test_the_services_are_those_that_are_promised():
    assert {"kafka", "topics", "worker", "producer", "simulator"} <= COMPOSE["services"].keys()
    assert COMPOSE["services"]["simulator"]["profiles"] == ["simulated"]
    assert COMPOSE["services"]["kafka"]["image"].startswith("apache/kafka:")


def test_no_key_stands_in_the_file_and_none_is_passed_as_a_flag():
    assert COMPOSE["services"]["producer"]["environment"]["COINGLASS_API_KEY_FILE"].startswith("/run/secrets/")
    assert COMPOSE["secrets"] == {"coinglass_api_key": {"environment": "COINGLASS_API_KEY"}}
