"""The limit for a producer: a bare websocket-client that reads and does nothing else.

    python -m tests.benchmarks.read_loop URL COUNT

Says when it had read them all, in monotonic seconds, and the CPU that it used.
"""

import json
import sys
import time

import websocket


def main():
    """Subscribe, read so many messages, and say so."""
    url, count = sys.argv[1], int(sys.argv[2])
    feed = websocket.create_connection(url, skip_utf8_validation=True)  # with validation, in Python, it is slower
    feed.send('{"method":"subscribe","channels":["liquidationOrders"]}')
    recv = feed.recv
    for _ in range(count):
        recv()
    print(json.dumps({"ended": time.monotonic(), "cpu": time.process_time()}))


if __name__ == "__main__":
    main()
