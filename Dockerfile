FROM python:3.13-slim AS build
WORKDIR /app
RUN pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml uv.lock README.md ./
COPY broker broker
COPY coinglass_streams coinglass_streams
COPY processors processors
COPY producer producer
COPY sandbox sandbox
COPY schemas schemas
RUN uv sync --frozen --no-dev --no-editable --compile-bytecode

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 streams && install -d -o streams /home/streams/data /home/streams/data/spool
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
USER streams
WORKDIR /home/streams
ENTRYPOINT ["coinglass-streams"]
