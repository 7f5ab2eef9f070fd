"""A feed under attack: what was sent while connected stands once and in order, marks are right, and it goes on.

No Kafka here: what counts is what goes into the buffer.
"""

import asyncio
import json
import os
import re
import ssl
import struct
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from structlog.testing import capture_logs

from processors.coverage import Coverage
from producer.settings import Secret, Timing
from sandbox.simulate.faults import parse_faults
from sandbox.simulate.server import FeedSettings, SimulatedFeed
from schemas.errors import OperationError
from tests.integration.hostile import (
    BINARY,
    CLOSE,
    LIQUIDATIONS,
    PING,
    HostileServer,
    Peer,
    Scene,
    Script,
    frame,
    scene,
    until,
    well_behaved,
    wire,
)

#: Finds a dead connection quickly; on a busy machine also one that lives, so only for tests that need it.
IMPATIENT = Timing(ping_every_ms=200, pong_timeout_ms=400, probe_every_ms=30)
KEY = "s3cret-of-this+test/0123456789"
TRADES = "futures_trades@Gate_BTC_USDT@10000"
#: Self-signed, for `localhost` alone, and for nothing but these tests.

FIRST, AFTER = [frame(n) for n in range(10)], [frame(n) for n in range(10, 20)]


def sending(*payloads: bytes) -> Script:
    """A good connection that begins with these messages."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.hear_subscription()
        peer.send(*payloads)
        await peer.behave()

    return script


# What the other side does in the middle of a connection


async def cut_mid_frame(peer: Peer) -> None:
    peer.writer.write(wire(frame(99))[:20])
    await peer.writer.drain()
    await asyncio.sleep(0.1)
    peer.writer.transport.abort()


async def end_without_a_close(peer: Peer) -> None:
    peer.writer.close()


async def fall_silent(peer: Peer) -> None:
    await asyncio.sleep(60)


async def drip_for_ever(peer: Peer) -> None:
    for byte in wire(b" " * 60_000):
        peer.writer.write(bytes([byte]))
        await asyncio.sleep(0.01)


async def withhold_the_pong(peer: Peer) -> None:
    """Answer WebSocket pings and nothing else."""
    while True:
        opcode, payload = await peer.hear()
        if payload != b"ping":
            peer.answer(opcode, payload)


async def send_without_end(peer: Peer) -> None:
    peer.writer.write(struct.pack("!BBQ", 0x81, 127, 1 << 40))
    while True:
        peer.writer.write(b" " * 10_000)
        await peer.writer.drain()


async def send_pieces_without_end(peer: Peer) -> None:
    peer.writer.write(wire(b"{", fin=False))
    while True:
        peer.writer.write(wire(b"", 0, fin=False) * 1_000)
        await peer.writer.drain()
        await asyncio.sleep(0)


def saying(*wires: bytes) -> Script:
    async def script(peer: Peer) -> None:
        for each in wires:
            peer.writer.write(each)
        await peer.behave()

    return script


def closing(code: int, reason: str) -> Script:
    return saying(wire(code.to_bytes(2, "big") + reason.encode(), CLOSE))


ATTACKS: list[tuple[Script, str]] = [
    (cut_mid_frame, "Connection reset by peer|ended without a close"),
    (end_without_a_close, "ended without a close"),
    (fall_silent, "no pong came within 0.4 s of a ping"),
    (drip_for_ever, "no pong came"),
    (withhold_the_pong, "no pong came"),
    (send_without_end, "a message of more than 50000 bytes"),
    (send_pieces_without_end, "a message in more than 4096 pieces"),
    (saying(wire(b"\xaaV*-\x00", rsv1=True)), "not WebSocket's protocol"),  # permessage-deflate, not agreed on
    (saying(wire(b"?", 5)), "not WebSocket's protocol"),
    (saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\n" * 9), "not WebSocket's protocol"),
    (saying(wire(b"", 0)), "pieces in disorder"),
    (saying(wire(b"{", fin=False), wire(b"}")), "pieces in disorder"),
    (saying(wire(b"x" * 126, PING)), "a control frame that is cut or too long"),
    (saying(wire(b"\x03", CLOSE)), "not WebSocket's protocol"),
    (saying(wire(b"", CLOSE)), r"the feed closed the connection \(without a code\)"),
    (closing(1001, "going away"), r"the feed closed the connection \(1001 going away\)"),
    (closing(4000, f"key {KEY} is odd\n"), r"the feed closed the connection \(4000 key \*\*\* is odd \)"),
]


@pytest.mark.parametrize(("attack", "why"), ATTACKS, ids=lambda value: getattr(value, "__name__", ""))
async def test_what_was_sent_before_an_attack_stands_and_it_is_a_gap_until_the_next_connection(
    attack: Script, why: str
):
    attacked_at_ms = 0

    async def attacked(peer: Peer) -> None:
        nonlocal attacked_at_ms
        await peer.accept()
        await peer.hear_subscription()
        peer.send(*FIRST)
        await until(lambda: heard.stats.frames == len(FIRST))
        attacked_at_ms = now_ms()
        await attack(peer)

    timing = IMPATIENT if "pong" in why else Timing(probe_every_ms=30)
    given = {"message_bytes_max": 50_000, "api_key": Secret(KEY), "timing": timing}
    async with scene(attacked, sending(*AFTER), **given) as heard:
        await until(lambda: heard.stats.frames == 20)
        assert heard.frames == FIRST + AFTER
        assert kinds(heard) == ["up", "down", "up"]
        up, down, again = (mark for mark in heard.marks if mark["kind"] != "alive")
        assert up["connection"] == down["connection"] != again["connection"]
        assert re.search(why, down["why"]), down["why"]
        if attack is not withhold_the_pong:  # it is heard until we give it up
            assert down["heard_at_ms"] <= attacked_at_ms + 60
            start_ms, end_ms = up["at_ms"], again["at_ms"]
            gap_ms = end_ms - min(down["heard_at_ms"], attacked_at_ms)
            assert coverage(heard).share(LIQUIDATIONS, start_ms, end_ms) == pytest.approx(
                1 - gap_ms / (end_ms - start_ms), abs=60 / (end_ms - start_ms)
            )
        assert heard.stats.reconnects == 1
        assert not heard.ended.is_set()
    assert heard.letters == []


async def test_a_message_in_pieces_with_pings_between_is_one_and_a_slow_one_holds_nothing_up():
    whole = frame(1) + b" " * 300
    before, within, behind = wire(whole[:9], fin=False), wire(b"", 0, fin=False), wire(whole[9:], 0)

    async def slow(peer: Peer) -> None:
        await peer.accept(behind=wire(frame(0)))  # in one piece with the answer
        await peer.hear_subscription()
        answering = asyncio.create_task(peer.behave())
        for byte in before + wire(b"?", PING) + within + behind[:-40]:
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        in_part = len(heard.marks)
        await until(lambda: len(heard.marks) >= in_part + 3)  # it goes on marking while the message is in part
        peer.writer.write(behind[-40:])
        peer.send(frame(2))
        await answering

    timing = Timing(ping_every_ms=60_000, probe_every_ms=60_000)
    async with scene(slow, timing=timing) as heard:
        await until(lambda: heard.stats.frames == 3)
        assert heard.frames == [frame(0), whole, frame(2)]
    assert kinds(heard) == ["up", "down"]


async def test_a_flood_is_kept_in_order_and_what_does_not_fit_is_a_gap():
    flood = [frame(n) for n in range(20_000)]
    async with scene(sending(*flood), buffer_bytes=1_000_000, timing=Timing()) as heard:
        await until(lambda: heard.stats.frames == len(flood))
        kept = heard.frames
        assert kept == [*flood[: len(kept)]]
        assert len(kept) + heard.stats.dropped["buffer-full"] == len(flood)
        assert heard.downs[0]["why"] == "the buffer was full"
        await until(lambda: len(kinds(heard)) == 3)  # there is room again
    assert kinds(heard) == ["up", "down", "up", "down"]
    assert heard.stats.connections == 1


async def test_binary_frames_are_frames_and_garbage_is_a_dead_letter_and_neither_ends_anything():
    garbage = [b"undefined", b"<html>", b"\xff\xfe", b'{"channel":"x","data":[]}']
    async with scene(sending(frame(0), *garbage)) as heard:
        await until(lambda: heard.stats.frames == 5)
        heard.server.peers[0].writer.write(wire(frame(1), BINARY) + wire(b"\x1f\x8b\x08", BINARY))
        await until(lambda: heard.stats.frames == 7)
        assert heard.frames == [frame(0), frame(1)]
        assert heard.letters == [*garbage, b"\x1f\x8b\x08"]
        assert heard.stats.connections == 1


# What the other side does instead of an answer


async def drip_an_answer(peer: Peer) -> None:
    await peer.request()
    for byte in b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 1_000:
        peer.writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def answer_without_end(peer: Peer) -> None:
    await peer.request()
    while True:
        peer.writer.write(b"X: y\r\n" * 1_000)
        await peer.writer.drain()


async def say_nothing(peer: Peer) -> None:
    await asyncio.sleep(60)


NO_ANSWER = "it was not connected within 0.3 s|no answer came in time"


def answering(status: str, headers: str = "") -> Script:
    return lambda peer: peer.refuse(status, headers)


def replying(text: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(text)

    return script


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (drip_an_answer, NO_ANSWER),
        (say_nothing, NO_ANSWER),
        (answer_without_end, "not HTTP|more than 16384 bytes of headers"),
        (replying(b""), "it closed the connection without an answer"),
        (replying(b"HTTP/1.1\r\n\r\n"), "not HTTP"),
        (replying(b"HTTP/1.1 101\r\nSet-Cookie: \x01\r\n\r\n"), "headers cannot be read"),
        (replying(b"HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\n\r\n"), "Invalid WebSocket Header"),
        (answering("302 Found", "Location: ws://127.0.0.1:1/?cg-api-key=stolen\r\n"), r"a redirect \(302\)"),
        (answering("503 Busy"), "status 503"),
        (answering("500 No", "Content-Length: 99999999999\r\n"), "status 500"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_an_answer_that_is_none_is_trouble_with_a_line_and_tried_again(answer: Script, why: str):
    limit = {"connect_timeout_ms": 300} if why == NO_ANSWER else {}
    with capture_logs() as logs:
        async with scene(answer, sending(*FIRST), api_key=Secret(KEY), **limit) as heard:
            await until(lambda: heard.stats.frames == 10)
            assert heard.server.times[1] - heard.server.times[0] < 1.5
    (line, *more) = [line for line in logs if line["event"] == "feed.unreachable"]
    assert limit or not more  # a time limit that is short enough to wait for can be too short for a good answer
    assert re.search(why, line["error"]), line
    assert line["log_level"] == "warning"
    assert heard.frames == FIRST


@pytest.mark.parametrize(
    ("status", "key", "remedy"),
    [
        ("401 No", KEY, "refused the API key (401): check the key"),
        ("403 No", KEY, "see that it has WebSocket channels"),
        ("401 No", None, "wants an API key (401): set COINGLASS_API_KEY"),
    ],
)
async def test_a_refused_key_is_the_one_end_and_says_what_to_do(status: str, key: str | None, remedy: str):
    async def be_refused() -> None:
        async with scene(answering(status), api_key=Secret(key) if key else None) as heard:
            await asyncio.wait_for(heard.ended.wait(), 10)
            await asyncio.sleep(0.2)
            assert len(heard.server.peers) == 1

    with pytest.raises(OperationError) as caught:
        await be_refused()
    assert remedy in str(caught.value)
    assert KEY not in str(caught.value)


async def test_too_many_requests_is_waited_for_as_long_as_was_asked():
    async with scene(answering("429 Slow Down", "Retry-After: 1\r\n"), sending(*FIRST)) as heard:
        await until(lambda: heard.stats.frames == 10)
        first, second = heard.server.times
        assert 1.0 <= second - first < 2.0


@pytest.mark.parametrize(("code", "reason"), [(1008, "policy"), (4401, "key"), (4403, "plan"), (4429, "slow down")])
async def test_a_close_that_means_refusal_is_an_error_and_no_hammering(code: int, reason: str):
    async def refused(peer: Peer) -> None:
        await peer.accept()
        await peer.hear_subscription()
        await closing(code, reason)(peer)

    with capture_logs() as logs:
        async with scene(refused, sending(*FIRST), refused_pause_ms=500) as heard:
            await until(lambda: heard.stats.frames == 10)
            first, second = heard.server.times
            assert 0.5 <= second - first < 1.5
    (line,) = [line for line in logs if line["event"] == "feed.lost"]
    assert (line["log_level"], line["error"]) == ("error", f"the feed closed the connection ({code} {reason})")


async def test_a_connection_that_only_hangs_open_does_not_shorten_the_pauses(monkeypatch: pytest.MonkeyPatch):
    async def deaf(peer: Peer) -> None:
        await peer.accept()
        await fall_silent(peer)

    monkeypatch.setattr("random.random", lambda: 1.0)
    timing = Timing(ping_every_ms=150, pong_timeout_ms=100)  # so each lasts 250 ms
    with capture_logs() as logs:
        async with scene(deaf, timing=timing, healthy_after_ms=200, backoff_first_ms=1, backoff_ms_max=10**6) as heard:
            await until(lambda: heard.stats.connections == 4)
    assert [line["retry_in_ms"] for line in logs if line["event"] == "feed.lost"] == [1, 2, 4]


async def test_a_certificate_of_another_name_is_trouble_and_the_right_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path
):
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("localhost").configure_cert(tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with capture_logs() as logs:
        async with scene(well_behaved, tls=tls, host="127.0.0.1") as heard:
            await until(lambda: heard.stats.attempts >= 3)
            assert heard.stats.connections == 0
    lines = [line["error"] for line in logs if line["event"] == "feed.unreachable"]
    assert len(lines) >= 2
    assert all("certificate is not to be trusted" in line and "127.0.0.1" in line for line in lines)
    async with scene(sending(*FIRST), tls=tls, host="localhost") as heard:
        await until(lambda: heard.stats.frames == 10)
    assert heard.frames == FIRST


async def test_tls_that_never_ends_its_handshake_is_given_up():
    async def drip_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"\x16\x03\x03\x40\x00" + b"\x00" * 10_000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
            if writer.transport.is_closing():
                break
        writer.close()

    server = await asyncio.start_server(drip_tls, "127.0.0.1", 0)
    url = f"wss://localhost:{server.sockets[0].getsockname()[1]}/"
    with capture_logs() as logs:
        async with server, scene(well_behaved, url=url, connect_timeout_ms=300) as heard:
            await until(lambda: heard.stats.attempts >= 2, 5)
    (line, *_) = [line for line in logs if line["event"] == "feed.unreachable"]
    assert line["error"] == "no answer came in time"


# What is said beside frames


async def test_a_refused_channel_is_not_claimed_until_it_is_heard_and_asked_for_again():
    refusal = json.dumps({"event": "error", "message": f"no such channel: {TRADES}", "key": KEY}).encode()
    with capture_logs() as logs:
        timing = Timing(probe_every_ms=30, ask_again_every_ms=300)
        script = sending(frame(0), refusal)
        async with scene(script, channels=(LIQUIDATIONS, TRADES), timing=timing, api_key=Secret(KEY)) as heard:
            await until(lambda: heard.marks and heard.marks[-1]["channels"] == [LIQUIDATIONS])
            peer = heard.server.peers[0]
            asked_again = json.dumps({"method": "subscribe", "channels": [TRADES]}, separators=(",", ":"))
            await until(lambda: peer.said.count(asked_again) >= 2)
            assert heard.marks[-1]["channels"] == [LIQUIDATIONS]
            peer.send(frame(1, TRADES))
            await until(lambda: heard.marks[-1]["channels"] == [LIQUIDATIONS, TRADES])
            assert heard.stats.connections == 1
    (line,) = [line for line in logs if line["event"] == "feed.subscription_refused"]
    assert (line["log_level"], line["channels"]) == ("error", TRADES)
    assert KEY not in str(logs)
    assert kinds(heard) == ["up", "down"]


async def test_a_refusal_that_names_nothing_means_what_was_never_heard():
    async with scene(
        sending(frame(0), b'{"code":"40001","msg":"your plan"}'), channels=(LIQUIDATIONS, TRADES)
    ) as heard:
        await until(lambda: heard.marks and heard.marks[-1]["channels"] == [LIQUIDATIONS])
        await until(lambda: heard.stats.parts[0].refused_channels == 1)


async def test_a_channel_that_stops_is_a_warning_and_no_reconnect():
    with capture_logs() as logs:
        async with scene(sending(frame(0)), quiet_after_ms=100) as heard:
            await until(lambda: heard.stats.parts and heard.stats.parts[0].quiet_channels == 1)
            assert heard.stats.parts[0].silences_ms[LIQUIDATIONS] > 100
            # Again and again until that is seen: one frame alone may have been silent for longer than ever by then.
            feed = heard.server.peers[0]
            await until(lambda: feed.send(frame(1)) or heard.stats.parts[0].quiet_channels == 0)
            assert heard.stats.attempts == 1
    events = [(line["event"], line["log_level"], line["channels"]) for line in logs if "channels_" in line["event"]]
    assert events[:2] == [
        ("feed.channels_quiet", "warning", LIQUIDATIONS),
        ("feed.channels_heard_again", "info", LIQUIDATIONS),
    ]


@asynccontextmanager
async def listening_to_the_simulated_feed(fault: str, **more: Any) -> AsyncIterator[Scene]:
    feed = SimulatedFeed(FeedSettings(port=0, rate_per_s=500, faults=parse_faults([f"{fault}:300ms"])))
    async with feed, scene(well_behaved, url=feed.url, **more) as heard:
        yield heard


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("disconnect", "Connection reset by peer|ended without a close"),
        ("cut", "Connection reset by peer|ended without a close"),
        ("close", r"\(1001 going away\)"),
        ("no-pong", "no pong came"),
        ("half-open", "no pong came"),
        ("compressed", "not WebSocket's protocol"),
    ],
)
async def test_a_fault_of_the_simulated_feed_ends_a_connection_and_not_the_listening(fault: str, why: str):
    timing = IMPATIENT if "pong" in why else Timing()
    async with listening_to_the_simulated_feed(fault, channels=("liquidation_orders",), timing=timing) as heard:
        await until(lambda: heard.stats.reconnects == 1)
        frames = heard.stats.frames
        await until(lambda: heard.stats.frames > frames)
    assert re.search(why, heard.downs[0]["why"]), heard.downs[0]
    assert {mark["channels"][0] for mark in heard.marks} == {LIQUIDATIONS}


async def test_a_refusal_of_the_simulated_feed_is_one_until_the_channel_is_asked_for_again():
    timing = Timing(probe_every_ms=30, ask_again_every_ms=100)
    async with listening_to_the_simulated_feed("refusal", timing=timing) as heard:
        await until(lambda: [] in (claims := [mark["channels"] for mark in heard.marks]) and claims[-1])
        assert heard.stats.connections == 1


# Channels that change


async def test_channels_change_on_the_living_connection_and_a_mark_says_so_at_once():
    other = "futures_trades@OKX_BTC-USDT-SWAP@0"
    async with scene(well_behaved, channels=(LIQUIDATIONS, TRADES), mark_every_ms=60_000) as heard:
        await until(lambda: heard.server.subscribed and heard.marks)
        before = len(heard.marks)
        heard.feed.follow([other, LIQUIDATIONS])
        (peer,) = heard.server.peers
        await until(lambda: peer.subscribed == [LIQUIDATIONS, other])
        await until(lambda: len(heard.marks) > before)
        (mark,) = heard.marks[before:]
        assert (mark["kind"], mark["channels"]) == ("alive", [LIQUIDATIONS, other])
        start_ms = mark["at_ms"]
        await until(lambda: now_ms() > start_ms + 100)
        peer.send(frame(0))
        await until(lambda: heard.stats.frames == 1)
    assert len(heard.server.peers) == 1
    assert coverage(heard).share(other, start_ms, start_ms + 100) == 1.0
    assert coverage(heard).share(TRADES, start_ms, start_ms + 100) == 0.0


async def test_many_channels_are_on_several_connections_none_moves_and_an_empty_one_closes():
    names = [f"futures_trades@Gate_BTC_USDT@{n}" for n in range(6)]
    async with scene(well_behaved, channels=tuple(names[:5]), channels_per_connection=2) as heard:
        server = heard.server
        await until(lambda: sorted(map(len, (peer.subscribed for peer in server.peers))) == [1, 2, 2])
        where = {name: peer for peer in server.peers for name in peer.subscribed}
        for name in names[:5]:
            where[name].send(frame(7, name))
        await until(lambda: heard.stats.frames == 5)
        heard.feed.follow([names[0], names[1], names[4], names[5]])
        await until(lambda: where[names[4]].subscribed == [names[4], names[5]])
        await until(lambda: not where[names[2]].subscribed)
        assert where[names[0]].subscribed == names[:2]
        await until(lambda: heard.stats.connected == 2)
        assert heard.downs[0]["why"] == "no channel was left to the connection"
        (closed,) = {mark["connection"] for mark in heard.downs}
        heard.feed.follow([LIQUIDATIONS])  # takes the room of what is taken back
        await until(lambda: heard.stats.connected == 1)
        heard.feed.follow([LIQUIDATIONS, *names])
        await until(lambda: heard.stats.connected == 4)
        assert len(server.peers) == 6
        assert len(heard.stats.parts) == 4  # those of closed connections are used again
    assert sorted(json.loads(payload)["channel"] for payload in heard.frames) == names[:5]
    assert heard.stats.reconnects == 0
    for mark in heard.marks:
        assert len(mark["channels"]) <= 2
        assert closed != mark["connection"] or set(mark["channels"]) == set(names[2:4])


async def test_a_clock_that_is_set_ends_the_connection_and_says_so(monkeypatch: pytest.MonkeyPatch):
    async with scene(well_behaved) as heard:
        await until(lambda: heard.server.subscribed)
        real = time.time
        monkeypatch.setattr("time.time", lambda: real() + 3_600)
        await until(lambda: heard.stats.reconnects == 1)
    assert heard.downs[0]["why"] == "this machine's clock was set by 3600 s"


async def test_a_proxy_of_the_environment_is_used_and_its_refusal_is_trouble(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if len(asked) == 1:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await tunnelled.serve(reader, writer)
        writer.close()

    tunnelled = HostileServer(sending(*FIRST))
    monkeypatch.setattr("os.environ", {})  # no no_proxy either
    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    os.environ["http_proxy"] = f"http://me:p%40ss@127.0.0.1:{port}"
    with capture_logs() as logs:
        async with server, scene(well_behaved, url="ws://feed.example:81/ws", api_key=Secret(KEY)) as heard:
            await until(lambda: heard.stats.frames == 10)
    assert heard.frames == FIRST
    assert asked[1].splitlines()[0] == "CONNECT feed.example:81 HTTP/1.1"
    assert f"Proxy-Authorization: Basic {b64encode(b'me:p@ss').decode()}" in asked[1]
    assert KEY not in asked[1]
    assert next(line["error"] for line in logs if "error" in line) == "the proxy answered with status 407"
    assert tunnelled.peers[0].path == f"/ws?cg-api-key={quote(KEY, safe='')}"


async def test_a_stop_does_not_wait_for_an_attempt_or_a_pause():
    async with scene(say_nothing) as heard:
        await until(lambda: heard.server.peers)
        began_s = time.monotonic()
    async with scene(answering("429 Slow Down")) as heard:
        await until(lambda: heard.server.peers)
    assert time.monotonic() - began_s < 2


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def kinds(heard: Scene) -> list[str]:
    return [mark["kind"] for mark in heard.marks if mark["kind"] != "alive"]


def coverage(heard: Scene) -> Coverage:
    """Return what the worker makes of the marks."""
    found = Coverage()
    for mark in heard.marks:
        found.add(SimpleNamespace(**mark))
    return found
