"""The endpoints, one family a file: each has a table ROUTES."""
