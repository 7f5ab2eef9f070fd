"""Settings are refused in one line that says what to do; the key shows itself nowhere."""

import traceback
from pathlib import Path
from typing import Any

import pytest

from producer.settings import ProducerSettings, Secret, read_api_key
from schemas.errors import UsageError

KEY = "k3y/with+odd=characters"


def settings(**more: Any) -> ProducerSettings:
    return ProducerSettings(**{"bootstrap": "127.0.0.1:9092", "url": "ws://localhost:1/ws", **more})


def test_a_secret_shows_itself_in_no_usual_way():
    secret = Secret(KEY)
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr(settings(api_key=secret)),
        repr([secret]),
    ):
        assert KEY not in shown


def test_a_secret_is_scrubbed_as_it_is_and_as_it_stands_in_an_address():
    secret = Secret(KEY)
    assert secret.scrub(f"a {KEY} b k3y%2Fwith%2Bodd%3Dcharacters") == "a *** b ***"


def test_the_key_joins_the_address_and_an_existing_query_stays():
    secret = Secret("a b&c")
    assert settings(api_key=secret).address() == "ws://localhost:1/ws?cg-api-key=a%20b%26c"
    with_query = settings(api_key=secret, url="ws://localhost:1/ws?x=1")
    assert with_query.address() == "ws://localhost:1/ws?x=1&cg-api-key=a%20b%26c"
    assert settings().address() == "ws://localhost:1/ws"


def test_the_place_for_messages_has_neither_query_nor_user():
    assert settings(url="ws://me:pw@localhost:1/ws?token=t").place == "ws://localhost:1/ws"


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"url": "http://localhost"}, "write ws://"),
        ({"url": "ws://"}, "write ws://"),
        ({"url": "ws://localhost:99999/"}, "write ws://"),
        ({"url": "ws://[::1/"}, "write ws://"),
        ({"url": "ws://localhost/a b"}, "write ws://"),
        ({"url": "wss://open-ws.coinglass.com/ws-api"}, "set COINGLASS_API_KEY or COINGLASS_API_KEY_FILE"),
        ({"url": "ws://open-ws.coinglass.com/ws-api", "api_key": Secret(KEY)}, "use wss://"),
        ({"url": "ws://localhost/?CG-API-KEY=abc"}, "set COINGLASS_API_KEY"),
        ({"channels": ()}, "--channel"),
        ({"channels": ("nonsense",)}, "use liquidationOrders or futures_trades@"),
        ({"channels": ("liquidationOrders", "liquidationOrders")}, "twice"),
        ({"channels": ("liquidationOrders", "liquidation_orders")}, "twice"),
        ({"redundant_group": ""}, "--redundant-group"),
        ({"redundant_group": "x" * 65}, "--redundant-group"),
        ({"redundant_group": "a\nb"}, "--redundant-group"),
        ({"mark_every_ms": 0}, "--mark-every"),
        ({"buffer_bytes_max": 0}, "at least"),
        ({"spool_bytes_max": 1_000}, "0 for none"),
    ],
)
def test_what_cannot_work_is_refused_with_its_remedy(changes: dict[str, Any], remedy: str):
    with pytest.raises(UsageError) as caught:
        settings(**changes)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_key_comes_from_the_environment_or_a_file(tmp_path: Path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    for environment in ({"COINGLASS_API_KEY": KEY}, {"COINGLASS_API_KEY_FILE": str(file), "COINGLASS_API_KEY": ""}):
        secret = read_api_key(environment)
        assert secret is not None
        assert secret.reveal() == KEY
    assert read_api_key({}) is None


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two words", b"two\nlines", b"\xff"])
def test_a_file_without_a_key_is_refused_without_showing_what_it_holds(tmp_path: Path, content: bytes | None):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_api_key({"COINGLASS_API_KEY_FILE": str(file)})
    shown = "".join(traceback.format_exception(caught.value))
    assert "two" not in str(caught.value)
    assert str(file) in shown


def test_two_keys_at_once_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="unset one"):
        read_api_key({"COINGLASS_API_KEY": KEY, "COINGLASS_API_KEY_FILE": str(tmp_path)})
