"""Composition: the only place that wires parts together, one module per way to run the service."""
