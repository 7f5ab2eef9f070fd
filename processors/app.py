"""The Faust app of a worker: raw topics, the pipeline over their partitions, tables, and web views."""

import faust
from faust.types import TP

from processors.engine.engine import Engine
from processors.engine.seams import exact_app_options
from processors.pipeline import PartitionPipeline, PipelineSettings
from processors.settings import WorkerSettings
from processors.views.routes import add_routes
from schemas.topics import Topics


def tables_by_topic(topics: Topics) -> dict[str, str]:
    """Return the raw topics, each with the name of the table that its state is kept in."""
    return {topics.raw_liquidations: "liquidations", topics.raw_trades: "trades"}


def create_app(settings: WorkerSettings, pipeline: PipelineSettings, raw_partitions: dict[str, int]) -> Engine:
    """Return the engine of a new Faust app (`engine.app`); `raw_partitions` says how many each raw topic has."""
    app = faust.App(
        settings.app_id,
        broker=[f"kafka://{address.strip()}" for address in settings.bootstrap.split(",")],
        datadir=str(settings.state_dir),
        topic_partitions=max(raw_partitions.values()),
        consumer_group_instance_id=settings.member,
        web_bind=settings.web_host,
        web_host=settings.web_host,
        web_port=settings.web_port,
        **exact_app_options,
    )

    def new_step(tp: TP) -> PartitionPipeline:
        return PartitionPipeline(pipeline, tp.topic, tp.partition)

    engine = Engine(app, settings.bootstrap, new_step)
    for topic, table in tables_by_topic(settings.topics).items():
        engine.add_source(topic, table=table, partitions=raw_partitions[topic])
    add_routes(engine, settings)
    return engine
