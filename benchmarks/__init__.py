"""What fluxbatch costs beside its peers, in one run on one machine: ``python -m benchmarks``.

A peer is a script in ``peers/`` and a line in ``contestants.py``; a workload is a line in ``workloads.py``, with how
much is measured of the rest: start-up, ledger, lag of the event loop, planning, growth of memory. ``probes/`` holds
what looks at fluxbatch from within. All traffic stays on loopback, and the server is a process of its own.
"""
