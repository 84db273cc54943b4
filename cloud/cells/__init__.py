"""Cells: what runs the workflows of the namespaces placed on it, behind one interface."""
