"""The control plane: Temporal Cloud's CloudService over tenancy, signup, and what both ask of the cells.

Nothing is re-exported here, so that a command that only needs a method's name loads no database code.
"""
