"""End-to-end tests; see harness.py."""
