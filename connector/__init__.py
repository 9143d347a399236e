"""WhatsApp ⇄ CRM sync on Kafka."""

__version__ = "0.1.0"
