"""What fluxbatch costs beside its peers, in one run on one machine: ``python -m benchmarks``.

A peer is a script in ``peers/`` and a line in ``contestants.py``; a workload is a line in ``workloads.py``.
"""
