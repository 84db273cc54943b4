"""The built-in plans, one TOML file each; the format is described in :mod:`billing.plan`."""
