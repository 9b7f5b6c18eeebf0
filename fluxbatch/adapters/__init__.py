"""The world behind the ports: SQLite, files, HTTP, the clock."""
