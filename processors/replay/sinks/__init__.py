"""Where results of a replay go: lines, Parquet files, topics."""
