"""Env: BROKER, SOURCE, APP_ID, STATE_DIR. Faust as its documentation writes it: `faust -A naive_faust worker`."""

import json
import os

import faust

app = faust.App(
    os.environ["APP_ID"],
    broker=f"kafka://{os.environ['BROKER']}",
    store="memory://",
    topic_partitions=4,
    web_port=int(os.environ.get("WEB_PORT", "6099")),
    datadir=os.environ["STATE_DIR"],
    consumer_auto_offset_reset="earliest",
)
frames = app.topic(os.environ["SOURCE"], value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")
volume = app.Table("volume", default=float, partitions=4).tumbling(60.0, expires=3600.0)


@app.agent(frames)
async def aggregate(stream):
    async for value in stream:
        frame = json.loads(value)
        liquidation = frame["channel"] == "liquidationOrders"
        for record in frame["data"]:
            name = record["baseAsset"] if liquidation else frame["channel"]
            volume[f"{name}@{record['side']}"] += record["volUsd"]
