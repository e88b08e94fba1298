"""Malformed requests: how they are made, sent and judged."""
