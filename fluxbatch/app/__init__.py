"""Where engine and adapters meet: the only place that knows both."""
