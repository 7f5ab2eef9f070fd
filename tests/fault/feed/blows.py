"""What a hostile feed does to its producers."""

import asyncio
import time
from collections.abc import Callable, Coroutine

from websockets.frames import Frame, Opcode

from tests.fault.blows import Deal, Dealer
from tests.fault.feed.link import Link, now_ms, wire
from tests.fault.feed.prints import OVERSIZED_BYTES
from tests.fault.feed.server import Admission, HostileFeed, Refusal
from tests.fault.plan import Blow

FLOOD_TICKS = 4_000
RSV1 = 0x40
CLOSE_CODES = (1000, 1001, 1006, 1011, 1012, 1013, 4000)
#: What a blow to a connection waits for: the producer must have noticed by then, or the check says so.
GONE_SECONDS_MAX = 60.0
RETRY_AFTER_SECONDS = (1, 3)


class FeedBlows:
    """Teaches a dealer the blows that come from the feed. `key` is told in messages: no log may show it."""

    def __init__(self, dealer: Dealer, feed: HostileFeed, key: str) -> None:
        self._dealer, self._feed, self._key = dealer, feed, key
        self._refusing = asyncio.Lock()
        dealer.learn(
            {
                "cut": self._to_link(self._cut),
                "half-open": self._to_link(self._half_open),
                "no-pong": self._to_link(self._no_pong),
                "flood": self._to_link(self._flood),
                "drip": self._to_link(self._drip),
                "lull": self._to_link(self._lull),
                "odd": self._to_link(self._odd),
                "pieces": self._to_link(self._pieces),
                "too-long": self._to_link(self._too_long),
                "oversized": self._to_link(self._oversized),
                "compressed": self._to_link(self._compressed),
                "close": self._to_link(self._close),
                "refuse": self._refuse,
                "feed-restart": self._restart,
            }
        )

    def _to_link(self, hit: Callable[[Link, Blow], Coroutine[None, None, None]]) -> Deal:
        async def deal(blow: Blow) -> bool:
            links = self._feed.calm()
            if not links:
                return False
            link = links[int(blow.chance * len(links))]
            link.connection.blows.append(blow.kind)
            self._dealer.tell(f"  hits connection {link.connection.number} of producer {link.connection.slot}")
            await hit(link, blow)
            return True

        return deal

    async def _cut(self, link: Link, blow: Blow) -> None:
        """Cut in the middle of a message, or with a reset; what was sent before is partly on its way."""
        (message,) = self._feed.market.tick(now_ms()).messages(cut_up=False)
        data = wire(message.payload, Opcode.TEXT)
        how = int(blow.chance * 1_000) % 3
        link.cut(half=data[: len(data) // 2] if how else b"", reset=how == 2)
        await _gone(link)

    async def _half_open(self, link: Link, blow: Blow) -> None:
        link.fall_silent()
        await _gone(link)

    async def _no_pong(self, link: Link, blow: Blow) -> None:
        link.withhold_pongs()
        await _gone(link)

    async def _flood(self, link: Link, blow: Blow) -> None:
        self._feed.flood(link, FLOOD_TICKS)

    async def _drip(self, link: Link, blow: Blow) -> None:
        (message,) = self._feed.market.tick(now_ms()).messages(cut_up=False)
        await link.drip(message, blow.seconds)

    async def _lull(self, link: Link, blow: Blow) -> None:
        link.lull = True
        await asyncio.sleep(blow.seconds)
        link.lull = False

    async def _odd(self, link: Link, blow: Blow) -> None:
        for message in self._feed.market.odd(now_ms()):
            link.send(message)
        notice = f'{{"event":"error","msg":"bad request /ws-api?cg-api-key={self._key} of {self._key}"}}'
        link.write(wire(notice.encode(), Opcode.TEXT))

    async def _pieces(self, link: Link, blow: Blow) -> None:
        (message,) = self._feed.market.tick(now_ms()).messages(cut_up=False)
        link.send_in_pieces(message)

    async def _too_long(self, link: Link, blow: Blow) -> None:
        link.send(self._feed.market.long(now_ms()))

    async def _oversized(self, link: Link, blow: Blow) -> None:
        link.stop_sending(wire(b" " * OVERSIZED_BYTES, Opcode.TEXT))
        await _gone(link)

    async def _compressed(self, link: Link, blow: Blow) -> None:
        (message,) = self._feed.market.tick(now_ms()).messages(cut_up=False)
        data = bytearray(wire(message.payload, Opcode.TEXT))
        data[0] |= RSV1  # compressed, says this bit; it was not agreed on
        link.stop_sending(bytes(data))
        await _gone(link)

    async def _close(self, link: Link, blow: Blow) -> None:
        code = CLOSE_CODES[int(blow.chance * 1_000) % len(CLOSE_CODES)]
        payload = code.to_bytes(2, "big") + f"key {self._key}".encode()
        link.stop_sending(Frame(Opcode.CLOSE, payload).serialize(mask=False))
        await _gone(link)

    async def _refuse(self, blow: Blow) -> bool:
        """Cut everybody, and turn them away for a while."""
        if self._refusing.locked():
            return False
        async with self._refusing:
            refusal = [*Refusal][int(blow.chance * len(Refusal))]
            self._dealer.tell(f"  with {refusal.value}")
            retry_after = RETRY_AFTER_SECONDS[int(blow.chance * 1_000) % len(RETRY_AFTER_SECONDS)]
            self._feed.admission = Admission(refusal, min(blow.seconds, 1.0), retry_after)
            try:
                for link in [*self._feed.links]:
                    link.cut()
                await asyncio.sleep(blow.seconds)
            finally:
                self._feed.admission = Admission()
        return True

    async def _restart(self, blow: Blow) -> bool:
        if self._refusing.locked():
            return False
        async with self._refusing:
            await self._feed.restart(blow.seconds)
        return True


async def _gone(link: Link) -> None:
    """Wait for the end of the connection; where it does not come, the check finds out."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while not link.gone.is_set() and time.monotonic() < deadline:  # noqa: ASYNC110 - a bound that is no error
        await asyncio.sleep(0.05)
