"""From what people write (manifests, folders of photos, Python mappings) to jobs that are ready to be sent."""
