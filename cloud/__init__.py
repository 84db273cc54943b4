"""The hosted side of Tacit: engine, cells, gateway, control plane, and the command line that runs them."""
