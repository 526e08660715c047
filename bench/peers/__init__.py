"""The workloads that other servers are measured with, as scoring scripts of ours: `python -m bench.peers.pack`."""
