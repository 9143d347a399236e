"""The REST API's endpoints, one family a file."""
