"""Accounts, namespaces, identities and rights: who may do what, and the record of each change."""
