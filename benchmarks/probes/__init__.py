"""Programs that look at fluxbatch from within; each runs in a process of its own."""
