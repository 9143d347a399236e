"""Files of messages: noted from the log, fetched from WhatsApp within their life, kept, and shown by signed links."""
