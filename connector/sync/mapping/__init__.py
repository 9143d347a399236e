"""The mapping file: read, checked, refused with line and reason, laid over the built-in one (default.yaml)."""

from connector.sync.mapping.loading import built_in, default_text, load_mapping

__all__ = ["built_in", "default_text", "load_mapping"]
