"""What takes its time: latency, what an idle service costs, full tables, partitions: `python -m bench.long`."""
